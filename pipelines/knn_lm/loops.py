"""The two loops: one search a token, and speculation, which writes the same text with fewer and larger searches.

A round of speculation chooses each token by the neighbours that the local cache holds for the nearest, while the language model reads
token by token as ever. Then the true neighbours of all of the round's contexts are searched for at once, and each token is chosen
again, by these and by the same random number. Tokens are kept up to the first that is another now, which is written in its place. So
what is compared is the tokens, not the neighbours, of which hundreds may differ and leave the token as it is.

source  Zhang et al., Accelerating Retrieval-Augmented Language Model Serving with Speculation, ICML 2024 (RaLMSpec), section 5.3
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import GenerationError
from ragkit.pipelines.iterative.result import Round
from ragkit.pipelines.iterative.scheduler import Scheduler
from ragkit.pipelines.knn_lm.cache import EntryCache
from ragkit.pipelines.knn_lm.datastore import TokenDatastore
from ragkit.pipelines.knn_lm.interpolation import Interpolation
from ragkit.pipelines.knn_lm.neighbours import Neighbours
from ragkit.pipelines.knn_lm.writing import Text

_GUESSED_BY = 256
"""Neighbours in the cache, at most, that a guess is made by: the nearest decide, and to rank all costs more than a guess is worth."""


@dataclass
class Times:
    """Seconds by part: asking the cache and choosing tokens, the model, the datastore."""

    asking: float = 0.0
    writing: float = 0.0
    searching: float = 0.0


@dataclass
class Request:
    """One prompt and what is written after it.

    k          neighbours
    searches   of the datastore; retrievals: contexts in all of them
    discarded  tokens that were taken back
    cached     entries in the local cache
    """

    text: Text
    datastore: TokenDatastore
    how: Interpolation
    k: int
    times: Times = field(default_factory=Times)
    searches: int = 0
    retrievals: int = 0
    discarded: int = 0
    cached: int = 0
    rounds: list[Round] = field(default_factory=list)

    def look(self) -> tuple[Any, NDArray[np.float32]]:
        """See `Text.look`."""
        start = perf_counter()
        try:
            return self.text.look()
        finally:
            self.times.writing += perf_counter() - start

    def search(self, keys: NDArray[np.float32]) -> Neighbours:
        """The true neighbours of some contexts (Q, D); none where they don't count."""
        if self.how.weight == 0:
            return self.datastore.search(keys, 0)
        start = perf_counter()
        found = self.datastore.search(keys, self.k)
        self.times.searching += perf_counter() - start
        self.searches, self.retrievals = self.searches + 1, self.retrievals + len(keys)
        return found

    def choose(self, logits: Any, found: Neighbours, number: int, place: int) -> int:
        """The token at a place of the text, by the neighbours of that number."""
        tokens = self.datastore.values[found.entries[number]]
        return self.text.choose(self.how.mix(logits, found.distances[number], tokens), place)


def plain(request: Request) -> Iterator[None]:
    """One search a token; yields after each."""
    text, times = request.text, request.times
    while text.finish is None:
        logits, key = request.look()
        found = request.search(key)
        start = perf_counter()
        text.write(request.choose(logits, found, 0, len(text.tokens)))
        times.asking += perf_counter() - start
        yield


def speculative(request: Request, cache: EntryCache, scheduler: Scheduler) -> Iterator[None]:
    """Rounds of speculation; yields when more of the text is verified."""
    text, times = request.text, request.times
    logits, key = request.look()
    found = request.search(key)
    scheduler.search(times.searching)
    start = perf_counter()
    cache.add(found.entries)
    text.write(request.choose(logits, found, 0, 0))
    times.asking += perf_counter() - start
    yield
    while text.finish is None:
        steps, _ = scheduler.plan()
        done = _round(request, cache, steps)
        request.rounds.append(done)
        request.discarded += done.written - done.matches
        request.cached = len(cache)
        scheduler.observe(done.measured)
        yield


def _round(request: Request, cache: EntryCache, steps: int) -> Round:
    """Guess some tokens, verify them, and keep what is right and one more where something is not."""
    text, times = request.text, request.times
    base, before = len(text.tokens), Times(times.asking, times.writing, times.searching)
    looked: list[tuple[Any, NDArray[np.float32]]] = []
    guesses: list[int] = []
    while text.finish is None and len(guesses) < steps:
        try:
            looked.append(request.look())
        except GenerationError:
            if not looked:
                raise
            break  # it may have failed for a wrong token; if not, the next round fails
        start = perf_counter()
        guesses.append(request.choose(looked[-1][0], cache.search(looked[-1][1], min(request.k, _GUESSED_BY)), 0, base + len(guesses)))
        text.write(guesses[-1])
        times.asking += perf_counter() - start
    found = request.search(np.concatenate([key for _, key in looked]))
    start = perf_counter()
    matches, token = 0, -1
    for number, (logits, _) in enumerate(looked):
        token = request.choose(logits, found, number, base + number)
        if token != guesses[number]:
            text.back_to(base + matches)
            break
        matches += 1
    text.settle()
    if matches < len(guesses):
        text.write(token)
    cache.add(found.entries[: matches + 1])
    times.asking += perf_counter() - start
    searching = times.searching - before.searching
    return Round(
        steps, len(guesses), min(len(guesses), matches + 1), len(guesses), matches, matches < len(guesses), False,
        times.asking - before.asking, times.writing - before.writing, None, searching, searching,
    )  # fmt: skip
