"""The reranker as feedback at query time: the query vector is fitted to the reranker's judgement, and retrieves again.

A reranker only reorders what the retriever found. Here its judgement of the first hits moves the query vector until the
retriever agrees with it, and the moved vector finds what neither had seen (ReFIT: Reddy et al., Inference-time Re-ranker
Relevance Feedback, 2023; FIRST: Reddy et al., 2024). The stage is `RerankFeedback`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.join import join, query_of
from ragkit.pipelines.feedback.descent import Floats, descend, kl_gradient, onto, ranknet_gradient
from ragkit.pipelines.reorder.keep import check_number
from ragkit.run import Run, StageReport
from ragkit.stage import Retrieve, Stage, check_k
from ragkit.types import Query

LEG = "feedback"
"""The leg of a run in which the second retrieval's scores stand, NaN where it did not return the hit."""

_STEPS = {"kl": 100, "ranknet": 20}
_RATES = {"kl": 0.005, "ranknet": 0.001}
_COMBINE = ("rerank_first", "retrieved")


class VectorSpec(Protocol):
    """Of the spec of an index over vectors: the name of given vectors, "" where a model makes them, and the index's own."""

    vectors: str
    name: str


@runtime_checkable
class VectorSearcher(Protocol):
    """An open index over vectors: it uses a query's own vector, `query.vectors[name]`, and encodes the others."""

    scale: str

    @property
    def spec(self) -> VectorSpec: ...
    def encode(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]: ...


class VectorSource(Protocol):
    """A source with such an index: a snapshot of a collection."""

    def searcher(self, index: str) -> object: ...
    def vectors(self, index: str, rows: NDArray[np.int64]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class RerankFeedback(Stage):
    """Reranks the first `depth` hits, moves each query's vector towards the reranker's judgement of them, and retrieves again.

    reranker       a stage that permutes each query's hits
    index          an index over vectors: its vectors of the hits teach the query, and it retrieves again
    depth          hits of each query that are reranked and learnt from
    k              hits of the second retrieval
    loss           "kl": KL(softmax(reranker's scores) ‖ softmax(q·D/temperature)), the scores min-maxed onto the range of q·D/temperature
                   first; "ranknet": for all pairs of hits log(1 + exp(difference)) / (sum of ranks), which takes an order;
                   "auto": "ranknet" where the reranker gives positions (scale "rank"), else "kl"
    steps          of Adam; None: 100 with "kl", 20 with "ranknet"; with 0 the vector stays
    learning_rate  None: 0.005 with "kl", 0.001 with "ranknet"
    temperature    divides q·D; the lower, the more the top of the reranker's order counts
    combine        "rerank_first": the reranked hits, then what the second retrieval found besides, then the hits behind `depth` that it
                   did not find again, so that no hit is lost; scale "rank". "retrieved": the second retrieval alone, on the index's scale
    raises         InputError for a setting out of range, a source or index without vectors, a stage that does not permute,
                   infinite scores with "kl", or a descent that leaves the range of numbers
    cost           for each query the reranker, one encoding unless the query brings its vector, steps · 2 · depth · dimension
                   multiply-adds ("ranknet": steps · depth² exponentials more), and one search of the index

    Stored: each query that was searched again gets `vectors[name]`, its new vector (float32, of length 1 where the index compares by
    cosine), under the name by which the index takes a query's own vector ("dense", or the name of given vectors), so that following
    stages search with it; and `original`, the query as the user asked it (an `original` that is there already stays). Its text stays.
    The leg "feedback" holds the second retrieval's scores. A query without hits is passed on as it is. One whose vector is all zeros
    is not searched again: it keeps its hits with "rerank_first" and has none with "retrieved".

    The default steps and rates are FIRST's, which scales scores to the reranker's range instead; here both ranges are the retriever's,
    so that a reranker that agrees leaves the vector where it is, at every temperature. Adam moves each coordinate by about
    `learning_rate` a step whatever the loss, so that 100 steps of 0.005 carry a vector of length 1 far off: try fewer or shorter ones.

    counts of the report, behind the reranker's own: "moved", queries whose vector changed; "new", hits that the run did not have

    >>> from ragkit import Identity, Retrieve
    >>> Retrieve("dense", 100) >> RerankFeedback(Identity()) # doctest: +ELLIPSIS
    (Retrieve('dense', k=100) >> RerankFeedback(reranker=Identity(), index='dense', depth=100, k=1000, loss='auto', ...))
    """

    reranker: Stage
    index: str = "dense"
    depth: int = 100
    k: int = 1000
    loss: Literal["kl", "ranknet", "auto"] = "auto"
    steps: int | None = None
    learning_rate: float | None = None
    temperature: float = 1.0
    combine: Literal["rerank_first", "retrieved"] = "rerank_first"

    reports: ClassVar[bool] = False  # `apply` reports for itself: it has counts
    tunable: ClassVar[tuple[str, ...]] = ("steps", "learning_rate", "temperature")

    def __post_init__(self) -> None:
        if not isinstance(self.reranker, Stage):
            raise InputError(f"RerankFeedback needs a stage that reranks, got {type(self.reranker).__name__}")
        check_k(self.depth, "depth")
        check_k(self.k)
        if self.loss not in (*_STEPS, "auto"):
            raise InputError(f'loss of RerankFeedback is "kl", "ranknet" or "auto", got {self.loss!r}')
        if self.combine not in _COMBINE:
            raise InputError(f'combine of RerankFeedback is "rerank_first" or "retrieved", got {self.combine!r}')
        if self.steps is not None and (isinstance(self.steps, bool) or not isinstance(self.steps, int | np.integer) or self.steps < 0):
            raise InputError(f"steps of RerankFeedback must be a whole number of at least 0, got {self.steps!r}")
        if self.learning_rate is not None:
            check_number("RerankFeedback", "learning_rate", self.learning_rate, 0.0, above=True)
        check_number("RerankFeedback", "temperature", self.temperature, 0.0, above=True)

    def apply(self, run: Run, /) -> Run:
        first = run.cut(self.depth)
        reranked = self.reranker(first)
        _check_permuted(first, reranked)
        start = time.perf_counter()
        queries, searched, moved = self._moved(reranked)
        again = self._retrieved(replace(reranked, queries=queries), searched)
        both = join(run, again)
        counts = {"moved": moved, "new": int((~both.found(0)).sum())}
        out = again if self.combine == "retrieved" else _in_turn(reranked, again, run)
        seen = StageReport(repr(self), time.perf_counter() - start, len(out), len(out.rows), counts)
        return replace(out, queries=queries, report=(*reranked.report, seen))

    def _moved(self, run: Run) -> tuple[tuple[Query, ...], NDArray[np.int64], int]:
        """The queries, with their new vectors; the numbers of those to be searched again; and how many vectors changed."""
        filled = np.flatnonzero(np.diff(run.indptr))
        source, searcher = self._source(run)
        name, cosine = searcher.spec.vectors or searcher.spec.name, searcher.scale == "cosine"
        vectors, asked, _ = searcher.encode([run.queries[q] for q in filled])
        queries, moved = list(run.queries), 0
        for q, vector in zip(filled[asked], vectors[asked], strict=True):
            at, query = run.hits_of(q), run.queries[q]
            hits = source.vectors(self.index, run.rows[at]).astype(np.float64)
            made = self._fitted(vector, _unit(hits) if cosine else hits, run, at, cosine)
            if not np.isfinite(made).all() or not made.any():
                raise InputError(
                    f"the vector of the query {query.id!r} left the range of numbers; give RerankFeedback a lower learning_rate or a "
                    "higher temperature"
                )
            moved += not np.array_equal(made, vector)
            queries[q] = replace(query, vectors={**query.vectors, name: made}, original=query.original or query)
        return tuple(queries), filled[asked], moved

    def _source(self, run: Run) -> tuple[VectorSource, VectorSearcher]:
        if not hasattr(run.source, "searcher") or not hasattr(run.source, "vectors"):
            raise InputError("RerankFeedback needs a collection with an index over vectors; bind the pipeline with .on(collection)")
        source: VectorSource = run.source  # type: ignore[assignment]
        searcher = source.searcher(self.index)
        if not isinstance(searcher, VectorSearcher):
            raise InputError(f"the index {self.index!r} has no vectors to move a query by; name one that has, such as 'dense'")
        return source, searcher

    def _fitted(self, vector: NDArray[np.float32], hits: Floats, run: Run, at: slice, cosine: bool) -> NDArray[np.float32]:
        """(D,) the moved vector of one query whose hits, in the reranker's order, have the vectors (n, D)."""
        loss = ("ranknet" if run.scale == "rank" else "kl") if self.loss == "auto" else self.loss
        steps = _STEPS[loss] if self.steps is None else int(self.steps)
        rate = _RATES[loss] if self.learning_rate is None else self.learning_rate
        judged, query = run.scores[at].astype(np.float64), vector.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what comes of it is looked at by the caller
            scaled = hits / self.temperature
            if loss == "kl":
                if not np.isfinite(judged).all():
                    raise InputError('the loss "kl" needs finite scores, and the reranker gave an infinite one; take loss="ranknet"')
                gradient = kl_gradient(onto(judged, scaled @ query))
            else:
                gradient = ranknet_gradient(judged)
            made = descend(query, scaled, gradient, steps=steps, learning_rate=rate)
            if np.array_equal(made, query):
                return vector
            return np.asarray(made / np.linalg.norm(made) if cosine else made, np.float32)

    def _retrieved(self, run: Run, searched: NDArray[np.int64]) -> Run:
        """The hits of the second retrieval; none for the queries that are not searched."""
        asked = Run.of([run.queries[q] for q in searched], run.source)
        found = Retrieve(self.index, self.k).apply(asked)
        counts = np.zeros(len(run), np.int64)
        counts[searched] = np.diff(found.indptr)
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return run.fill(indptr, found.rows, found.scores, scale=found.scale, leg=LEG)


def _check_permuted(before: Run, after: Run) -> None:
    before.same_source(after)
    same = np.array_equal(before.indptr, after.indptr)
    if same:
        query = query_of(before)
        same = np.array_equal(before.rows[np.lexsort((before.rows, query))], after.rows[np.lexsort((after.rows, query))])
    if not same:
        raise InputError("the reranker of RerankFeedback must permute each query's hits, and it added or dropped some; put it outside")


def _in_turn(reranked: Run, again: Run, before: Run) -> Run:
    """The runs' hits one after the other, each where it comes first; scores are positions."""
    legs = {name: values for name, values in reranked.legs.items() if name != LEG}  # an earlier round's
    old = {name: values for name, values in before.legs.items() if name != LEG}
    joined = join(replace(reranked, legs=legs), again, replace(before, legs=old))
    side = (joined.at >= 0).argmax(axis=0)
    by = np.lexsort((joined.at[side, np.arange(len(side))], side, joined.query))
    counts = np.bincount(joined.query, minlength=len(before))
    scores = np.empty(len(by), np.float32)
    scores[by] = -(np.arange(len(by)) - np.repeat(np.cumsum(counts) - counts, counts))
    return joined.run(scores, scale="rank", floor=None, before=before)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))
