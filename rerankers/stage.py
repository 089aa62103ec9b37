"""What all LLM rerankers share: candidates in, a permutation out, with costs, failures and the result cache.

A reranker defines `rank`, from candidates to rankings. The base takes care of depth, of texts, of the cache,
of putting the order back into the run, and of the report:

counts of the report   queries "reranked", "partly" (a judgement failed, and the prior order stood in for it), "empty" (no hits)
                       and "cached" (the result was remembered); judgements "failed", prompts "shortened"; and each reranker's own
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeVar

from ragkit.errors import InputError
from ragkit.generation import llm
from ragkit.protocols import LanguageModel
from ragkit.rerankers.asking import Asking
from ragkit.rerankers.cache import ResultCache, result_key
from ragkit.rerankers.passages import passage_text
from ragkit.rerankers.prompts import with_instruction
from ragkit.rerankers.reorder import Ranking, reordered
from ragkit.rerankers.scrub import scrub
from ragkit.run import Run, StageReport
from ragkit.stage import Stage, check_k

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Candidates:
    """One query's first hits as a model is to see them.

    query, instruction   as the user gave them
    texts, keys          scrubbed passages in their prior order; document id and offsets of each
    """

    query: str
    instruction: str
    texts: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def asked(self) -> str:
        """Query and instruction in one text."""
        return with_instruction(self.query, self.instruction)


@dataclass(frozen=True, kw_only=True)
class LLMReranker(Stage):
    """Base of the rerankers that ask a language model; a subclass is a frozen dataclass that defines `rank`.

    model      a name (see `ragkit.llm`) or a language model
    depth      hits of each query that are reordered; those behind them follow as they were
    on_error   "keep": where a judgement fails the prior order stands in for it, and the report says so; "raise": it is raised
    cache      remembers results; None does not
    """

    model: str | LanguageModel = field(kw_only=False)
    depth: int = 100
    on_error: Literal["keep", "raise"] = "keep"
    cache: ResultCache | None = field(default=None, repr=False, compare=False)

    reports: ClassVar[bool] = False  # `apply` reports for itself: it knows costs and failures
    scale: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        check_k(self.depth, "depth")
        if self.on_error not in ("keep", "raise"):
            raise InputError(f'on_error is "keep" or "raise", got {self.on_error!r}')

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """The ranking of each query's candidates; no query is without candidates."""
        raise TypeError(f"{type(self).__name__} is no reranker: it defines no rank(asking, candidates)")

    def rerank(self, run: Run) -> Run:
        """The same as calling the stage."""
        return self(run)

    def apply(self, run: Run, /) -> Run:
        """The run with each query's first hits reordered; a query without hits costs nothing."""
        start = time.perf_counter()
        rankings, asking = self._rankings(candidates_of(run.cut(self.depth)))
        out = reordered(run, rankings, self.scale)
        counts = dict(sorted(asking.counts.items())) if asking else {}
        seen = StageReport(repr(self), time.perf_counter() - start, len(out), len(out.rows), counts)
        if asking is not None:
            seen = replace(seen, usage=asking.usage, notes=tuple(asking.notes))
        return replace(out, report=(*run.report, seen))

    def _rankings(self, candidates: Sequence[Candidates]) -> tuple[list[Ranking], Asking | None]:
        rankings = [Ranking(tuple(range(len(c.texts)))) for c in candidates]
        todo = [n for n, c in enumerate(candidates) if c.texts]
        if not todo:
            return rankings, None
        asking = Asking(llm(self.model), self.on_error)
        keys = {n: self._key(asking, candidates[n]) for n in todo} if self.cache is not None else {}
        if self.cache is not None:
            known = self._remembered(asking, lambda cache: cache.get(list(keys.values()))) or {}
            for n in todo:
                if keys[n] in known and sorted(known[keys[n]].order) == list(range(len(candidates[n].texts))):
                    rankings[n] = known[keys[n]]
                    asking.counts["cached"] += 1
            todo = [n for n in todo if rankings[n] is not known.get(keys[n])]
        if todo:
            done = self.rank(asking, [candidates[n] for n in todo])
            for n, ranking in zip(todo, done, strict=True):
                rankings[n] = ranking
            if self.cache is not None:
                self._remembered(asking, lambda cache: cache.put({keys[n]: rankings[n] for n in todo if rankings[n].whole}))
        for n in todo:
            asking.counts["reranked" if rankings[n].whole else "partly"] += 1
        if empty := sum(not c.texts for c in candidates):
            asking.counts["empty"] += empty
        return rankings, asking

    def _key(self, asking: Asking, c: Candidates) -> str:
        return result_key(self, asking.model.fingerprint, c.query, c.instruction, c.keys, c.texts)

    def _remembered(self, asking: Asking, use: Callable[[ResultCache], _Found]) -> _Found | None:
        """What the cache answers; None and a note where it can't be used: what a model was paid for is never lost for that."""
        try:
            return use(self.cache) if self.cache is not None else None
        except InputError as exc:
            asking.notes.append(str(exc))
            return None


def candidates_of(run: Run) -> list[Candidates]:
    """Each query's hits as candidates; raises InputError for hits without a source of texts."""
    passages = run.passages() if len(run.rows) else []
    texts = [scrub(passage_text(p)) for p in passages]
    keys = [f"{p.document}:{p.start}:{p.end}" for p in passages]
    return [
        Candidates(query.text, query.instruction, tuple(texts[run.hits_of(q)]), tuple(keys[run.hits_of(q)]))
        for q, query in enumerate(run.queries)
    ]
