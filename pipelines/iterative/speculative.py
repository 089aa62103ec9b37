"""The two loops: one search a stride, and speculation, which writes the same text with fewer and larger searches.

A round of speculation begins with a stride whose passage is known to be right. The next ones are written with the passages that
the local cache holds for the best; then all queries, that of the next stride too, are searched for at once. Strides are kept up to
the first whose passage was wrong, and the next round begins there with the right one. So a text has no stride of a passage
that was not verified.

source  Zhang et al., Accelerating Retrieval-Augmented Language Model Serving with Speculation, ICML 2024. The k-th guess of a
        round, about the stride behind it, is compared too, so that gamma is also learnt from rounds of one stride.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, RagkitError
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.pipelines.iterative.cache import NOTHING, PassageCache
from ragkit.pipelines.iterative.passages import Index, Passages
from ragkit.pipelines.iterative.prompt import PassagePrompt
from ragkit.pipelines.iterative.result import Round
from ragkit.pipelines.iterative.scheduler import Scheduler
from ragkit.pipelines.iterative.writing import Abandoned, Text
from ragkit.types import Query

_Found = list[tuple[int, NDArray[np.int64]]]


@dataclass
class Times:
    """Seconds by part, of a round or of a whole text."""

    asking: float = 0.0
    writing: float = 0.0
    searching: float = 0.0
    waiting: float = 0.0


@dataclass
class Request:
    """One prompt and what is written after it; query_tokens: of the end of both that a query is made of."""

    model: TransformersModel
    passages: Passages
    prompt: PassagePrompt
    text: Text
    query_tokens: int
    times: Times = field(default_factory=Times)
    searches: int = 0
    retrievals: int = 0
    discarded: int = 0
    cached: int = 0
    rounds: list[Round] = field(default_factory=list)
    _prompts: dict[int, tuple[list[int], str]] = field(default_factory=dict)

    def ask(self) -> Query:
        """The query of the next stride."""
        last = [*self.prompt.own, *self.text.tokens][-self.query_tokens :]
        spelled = self.model.tokens.tokenizer.decode(last, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return self.passages.ask(str(spelled).strip())

    def search(self, queries: Sequence[Query]) -> tuple[_Found, float]:
        """What the index has for some queries, and in how many seconds."""
        start = perf_counter()
        found = self.passages.search(queries)
        return found, perf_counter() - start

    def first(self, query: Query) -> _Found:
        """The first search of a text; raises InputError where it finds nothing."""
        found, seconds = self.search([query])
        self.count(1, seconds)
        if found[0][0] == NOTHING:
            raise InputError(
                f"no passage was found for {query.text[:60]!r}, the end of the prompt; ask with words that the collection holds"
            )
        return found

    def count(self, queries: int, seconds: float) -> None:
        """Note a search."""
        self.searches, self.retrievals = self.searches + 1, self.retrievals + queries
        self.times.searching += seconds

    def write(self, row: int, wrong: Callable[[], bool] = lambda: False) -> None:
        """One stride with the passage of a row, or with none; raises as `Text.write`."""
        if row not in self._prompts:
            passage = None if row == NOTHING else self.passages.source.passages(np.array([row], np.int64))[0]
            name = "no passage" if passage is None else f"a passage of {passage.document!r}"
            self._prompts[row] = (self.prompt.around(None if passage is None else passage.text), name)
        prompt, name = self._prompts[row]
        self.text.write(row, prompt, name, wrong)

    def add(self, done: Round) -> None:
        """Note a round."""
        self.rounds.append(done)
        self.discarded += done.written - done.kept
        self.times.asking += done.asking
        self.times.writing += done.writing
        self.times.waiting += done.waiting
        if done.queries:
            self.count(done.queries, done.searching)


def plain(request: Request) -> Generator[None]:
    """One search a stride; yields after each."""
    text, times = request.text, request.times
    while text.finish is None:
        start = perf_counter()
        query = request.ask()
        asked = perf_counter()
        if len(text):
            found, seconds = request.search([query])
            request.count(1, seconds)
        else:
            found = request.first(query)
        searched = perf_counter()
        request.write(found[0][0])
        text.commit()
        times.asking += asked - start
        times.waiting += searched - asked
        times.writing += perf_counter() - searched
        yield


def speculative(request: Request, index: Index, scheduler: Scheduler) -> Generator[None]:
    """Rounds of speculation; yields when more of the text is verified. Closing it waits for a search that is under way."""
    start = perf_counter()
    query = request.ask()
    request.times.asking += perf_counter() - start
    found = request.first(query)
    request.times.waiting += request.times.searching
    scheduler.search(request.times.searching)
    cache = PassageCache(index.searcher)
    cache.add(found[0][1])
    row, ahead = found[0][0], False
    with ThreadPoolExecutor(1, "ragkit-search", _as_many_threads(), ()) as pool:
        while True:
            steps, beside = scheduler.plan()
            going = _Going(request, cache, steps, pool if beside else None)
            going.begin(row, ahead)
            if request.text.finish is None:
                yield
            row, ahead = going.verify(*going.speculate())
            request.cached = len(cache.rows)
            request.add(going.done())
            scheduler.observe(request.rounds[-1].measured)
            request.text.commit()
            yield
            if request.text.finish is not None:
                return


def _as_many_threads() -> Callable[[], None]:
    """Makes faiss use as many threads in another thread as it does in this one: OpenMP counts them for each apart."""
    faiss = sys.modules.get("faiss")
    if faiss is None:
        return lambda: None
    return partial(faiss.omp_set_num_threads, faiss.omp_get_max_threads())


class _Going:
    """A round that is under way."""

    def __init__(self, request: Request, cache: PassageCache, steps: int, pool: ThreadPoolExecutor | None) -> None:
        self._request, self._text, self._cache, self._steps, self._pool = request, request.text, cache, steps, pool
        self._times = Times()
        self._beside = False
        self._ahead: float | None = None
        self._written = self._queries = self._matches = 0
        self._first = self._base = len(request.text)

    def begin(self, row: int, ahead: bool) -> None:
        """The first stride, whose passage is right; where it was written ahead, nothing."""
        if ahead:
            self._base -= 1
        else:
            self._write(row)

    def speculate(self) -> tuple[list[Query], list[int]]:
        """Write strides with the cache's passages; (the queries of all but the first, and of the next one, the rows for them).

        What fails on the way may have failed for a wrong passage: then the round ends there, and what was right fails again.
        """
        queries: list[Query] = []
        rows: list[int] = []
        while self._text.finish is None:
            try:
                query, row = self._guess()
            except RagkitError:
                if not queries:
                    raise
                self._text.back_to(len(self._text) - 1)
                self._written -= 1
                self._request.discarded += 1
                break
            queries.append(query)
            rows.append(row)
            if len(queries) == self._steps or not self._try(row):
                break
        return queries, rows

    def verify(self, queries: list[Query], rows: list[int]) -> tuple[int, bool]:
        """Search, and take back what was written with wrong passages; (the next stride's row, whether it is written already)."""
        self._queries = len(queries)
        if not queries:
            return NOTHING, False
        start, before, ahead = perf_counter(), self._times.writing, False
        if self._pool is None or self._text.finish is not None:
            found, self._times.searching = self._request.search(queries)
        else:
            self._beside = True
            context = contextvars.copy_context()
            searching: Future[tuple[_Found, float]] = self._pool.submit(context.run, self._request.search, queries)
            ahead = self._try(rows[-1], lambda: searching.done() and _matches(rows, searching.result()[0]) < len(rows))
            self._ahead = self._times.writing - before if ahead else None
            found, self._times.searching = searching.result()
        self._times.waiting = perf_counter() - start - (self._times.writing - before)
        for _, more in found:
            self._cache.add(more)
        self._matches = _matches(rows, found)
        if self._matches < len(rows):
            self._text.back_to(min(len(self._text), self._base + 1 + self._matches))
            return found[self._matches][0], False
        return found[-1][0], ahead

    def done(self) -> Round:
        """What the round was."""
        kept = len(self._text) - self._first
        return Round(
            self._steps, self._written, kept, self._queries, self._matches, self._matches < self._queries, self._beside,
            self._times.asking, self._times.writing, self._ahead, self._times.searching, self._times.waiting,
        )  # fmt: skip

    def _guess(self) -> tuple[Query, int]:
        start = perf_counter()
        try:
            query = self._request.ask()
            return query, self._cache.best(query)
        finally:
            self._times.asking += perf_counter() - start

    def _write(self, row: int, wrong: Callable[[], bool] = lambda: False) -> None:
        start = perf_counter()
        self._request.write(row, wrong)
        self._written += 1
        self._times.writing += perf_counter() - start

    def _try(self, row: int, wrong: Callable[[], bool] = lambda: False) -> bool:
        """Write a stride that may be wrong; False where that fails, or turns out to be in vain."""
        try:
            self._write(row, wrong)
        except (RagkitError, Abandoned):
            return False
        return True


def _matches(rows: Sequence[int], found: _Found) -> int:
    """How many guesses were right, before the first that was not."""
    return next((n for n, (row, (best, _)) in enumerate(zip(rows, found, strict=True)) if row != best), len(rows))
