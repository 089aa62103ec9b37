"""Where passages come from: an index whose rows can be scored one by one, or for the plain loop any pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.bound import Bound
from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.filters import Filter
from ragkit.pipelines.iterative.cache import NOTHING, best_row
from ragkit.protocols import Encoder, RowScorer
from ragkit.run import Source
from ragkit.stage import Cut, Retrieve, Stage
from ragkit.types import Query

_ROUNDING = 1e-6
"""Scores that differ by less, in relation, may be in another order than those of `RowScorer.score_rows`."""


class Passages(Protocol):
    """Finds passages in one version of a collection."""

    @property
    def source(self) -> Source:
        """What resolves rows."""
        ...

    def ask(self, text: str) -> Query:
        """The query of a text, ready to be searched."""
        ...

    def search(self, queries: Sequence[Query]) -> list[tuple[int, NDArray[np.int64]]]:
        """(best row or NOTHING, rows worth keeping in a cache) of each query."""
        ...


class Pipeline:
    """Any pipeline of stages: its first hit."""

    def __init__(self, retriever: Bound, where: Filter | None) -> None:
        self._retriever, self._where = retriever, where
        self.source: Source = retriever.collection.version

    def ask(self, text: str) -> Query:
        return Query("0", text, where=self._where)

    def search(self, queries: Sequence[Query]) -> list[tuple[int, NDArray[np.int64]]]:
        run = self._retriever([replace(q, id=str(n)) for n, q in enumerate(queries)])
        if run.source is not None:
            self.source = run.source
        hits = [run.rows[run.hits_of(q)] for q in range(len(run))]
        return [(int(rows[0]) if len(rows) else NOTHING, rows) for rows in hits]


class Index:
    """An exact index of a snapshot whose rows can be scored: its best row is that of `RowScorer.score_rows`, to the last tie.

    prefetch  rows of each search that are worth keeping
    encoder   makes a query's vector, where the index is over given ones
    """

    def __init__(self, snapshot: Snapshot, index: str, *, prefetch: int, where: Filter | None, encoder: Encoder | None) -> None:
        searcher = snapshot.searcher(index)
        if not isinstance(searcher, RowScorer):
            raise InputError(f"the index {index!r} can't score single passages, which speculation needs; use BM25 or an exact Dense index")
        if not searcher.exact:
            raise InputError(
                f"the index {index!r} is approximate, and the same text as without speculation can't be promised; "
                "use an exact one, such as Dense(factory='exact') or BM25, or speculate=False"
            )
        self.source, self.searcher = snapshot, searcher
        self._snapshot, self._index, self._prefetch, self._where, self._encoder = snapshot, index, prefetch, where, encoder
        self._name = getattr(snapshot.spec(index), "vectors", "") or index  # of the vectors that a query brings along

    def ask(self, text: str) -> Query:
        query = Query("0", text, where=self._where)
        if self._encoder is not None:
            blank = not text.strip()  # a vector of zeros finds nothing
            vector = np.zeros(self._encoder.dim, np.float32) if blank else self._encoder.encode_query([query])[0]
            query = replace(query, vectors={self._name: vector})
        return self.searcher.resolve(query)

    def search(self, queries: Sequence[Query]) -> list[tuple[int, NDArray[np.int64]]]:
        k, open_ = max(2, self._prefetch), list(range(len(queries)))  # of a single hit nobody knows whether it ties with another
        out: list[tuple[int, NDArray[np.int64]]] = [(NOTHING, np.zeros(0, np.int64))] * len(queries)
        while open_:  # once, but where k rows score nearly the same
            _, (indptr, rows, scores) = self._snapshot.search_index(self._index, [queries[q] for q in open_], k=k)
            unsettled = []
            for n, q in enumerate(open_):
                at = slice(int(indptr[n]), int(indptr[n + 1]))
                best, settled = self._best(queries[q], rows[at], scores[at], k)
                out[q] = best, rows[at][: self._prefetch]
                if not settled:
                    unsettled.append(q)
            open_, k = unsettled, 2 * k
        return out

    def _best(self, query: Query, rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> tuple[int, bool]:
        """(the best of a query's k hits, whether no row beyond them can be better)."""
        if not len(rows):
            return NOTHING, True
        if self.searcher.same_bits:
            return int(rows[0]), True
        near = scores >= scores[0] - _ROUNDING * (abs(scores[0]) + _ROUNDING)
        best = int(rows[0]) if near.sum() == 1 else best_row(self.searcher, query, np.sort(rows[near]))
        return best, len(rows) < k or not near[-1]


def index_of(retriever: Bound) -> str | None:
    """The index that a pipeline consists of; None where it is made of more."""
    stage: Stage = retriever.stage
    while isinstance(stage, Cut):
        stage = stage.stage
    return stage.index if isinstance(stage, Retrieve) else None
