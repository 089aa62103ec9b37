"""Dense search over parts: faiss where a part has an index, an exact scan of its vectors where not.

min(k, allowed) hits always come back: where a faiss index finds fewer, or few rows are allowed, the allowed
rows are scanned exactly. Hits are in the law of order, and an exact part is exact to the last tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ShapeError
from ragkit.indexes.dense import files
from ragkit.indexes.dense.scan import scan
from ragkit.indexes.kernels.dot import dot_rows
from ragkit.indexes.kernels.ties import order_ties
from ragkit.indexes.kernels.unit import SPARE, prepare
from ragkit.protocols import Bitmap
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.dense.spec import Dense

_NARROW = 0.02
"""Share of allowed rows below which they are scanned: a graph or inverted file would mostly meet rows it must skip."""


@dataclass(frozen=True)
class VectorPart:
    """One segment: its vectors (N, dim), and its faiss index if it has one."""

    vectors: NDArray[np.float32]
    index: Any


class DenseSearcher:
    """An open dense index; safe to share between threads."""

    same_bits = True

    def __init__(self, spec: Dense, parts: Sequence[VectorPart]) -> None:
        self.spec, self._parts = spec, list(parts)
        self.exact = all(p.index is None for p in self._parts)
        self.scale: str = spec.similarity
        self._name, self._cosine, self._rescores = spec.vectors or spec.name, spec.similarity == "cosine", spec.rescores
        self.dim = self._parts[0].vectors.shape[1] if parts else 0
        self._bases = np.concatenate(([0], np.cumsum([len(p.vectors) for p in self._parts]))).astype(np.int64)
        self._plain = [None if p.index is None else files.parameters(p.index, None, spec.refine, k=1) for p in self._parts]

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. A blank question, or one whose vector is all zeros, has no hits."""
        vectors, asked, n_asked = self.encode(queries)
        scores, rows = self.search_vectors(vectors if n_asked == len(queries) else vectors[asked], k=k, allow=allow)
        if rows.size and n_asked == len(queries):
            indptr = np.arange(0, rows.size + 1, rows.shape[1])
        else:
            indptr = np.concatenate(([0], np.cumsum(np.where(asked, rows.shape[1], 0)))).astype(np.int64)
        return indptr, rows.reshape(-1), scores.reshape(-1)

    def resolve(self, query: Query) -> Query:
        """See `ragkit.protocols.RowScorer`: the query with its vector, encoded by itself."""
        if self._name in query.vectors or not query.text.strip():
            return query
        return replace(query, vectors={**query.vectors, self._name: self._encoded(self._name, [query])[0]})

    def score_rows(self, query: Query, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `ragkit.protocols.RowScorer`. cost: O(n D)"""
        vectors, _, n_asked = self.encode([query])
        out = np.full(len(rows), -np.inf, np.float32)
        if n_asked:
            parts = np.searchsorted(self._bases, rows, side="right") - 1
            for n in np.unique(parts).tolist():
                at = np.flatnonzero(parts == n)
                scores = np.empty((1, len(at)), np.float32)
                dot_rows(vectors, self._parts[n].vectors, (rows[at] - self._bases[n])[None], scores)
                out[at] = scores[0]
        return out

    def encode(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], Bitmap, int]:
        """(vectors (Q, dim), which are to be searched, how many); a query's own vectors, where a stage has set them, are used."""
        name = self._name
        if not self._parts or not queries:
            return np.zeros((len(queries), self.dim), np.float32), np.zeros(len(queries), np.bool_), 0
        try:
            if len(queries) == 1:  # spared a copy
                vectors = np.ascontiguousarray(queries[0].vectors[name], np.float32)[None]
            else:
                vectors = np.array([q.vectors[name] for q in queries], np.float32)
        except KeyError:
            vectors = self._encoded(name, queries)
        except ValueError as exc:
            raise ShapeError(f"the queries' vectors {name!r} differ in shape; give each {self.dim} dimensions") from exc
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ShapeError(f"query vectors {name!r} have the shape {vectors.shape[1:]} where the index holds {self.dim} dimensions")
        room, asked = np.empty(vectors.size + SPARE, np.float32), np.empty(len(queries), np.bool_)
        place, n_asked = prepare(vectors, self._cosine, room, asked)
        if n_asked < 0:
            raise InputError(f"the vector {name!r} of the query {queries[-1 - n_asked].text!r} holds NaN or infinity; give finite numbers")
        return room[place : place + vectors.size].reshape(vectors.shape), asked, n_asked

    def _encoded(self, name: str, queries: Sequence[Query]) -> NDArray[np.float32]:
        """(Q, dim) vectors of questions, some of which come without; zeros for blank ones."""
        encoder = self.spec.encoder()
        if encoder is None:
            lacking = next(q for q in queries if name not in q.vectors)
            raise InputError(f"the query {lacking.text!r} has no vector {name!r}; give it as Query(…, vectors={{{name!r}: vector}})")
        vectors = np.zeros((len(queries), self.dim), np.float32)
        for i, q in enumerate(queries):
            if name in q.vectors:
                vectors[i] = q.vectors[name]
        to_encode = [i for i, q in enumerate(queries) if name not in q.vectors and q.text.strip()]
        if to_encode:
            vectors[to_encode] = encoder.encode_query([queries[i] for i in to_encode])
        return vectors

    def search_vectors(
        self, vectors: NDArray[np.float32], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(scores, rows), both (Q, k') with k' = min(k, allowed rows): hits in order; vectors (Q, dim) are ready to compare."""
        if len(self._parts) == 1:
            return self._search_part(0, vectors, k, allow[0])
        found = [self._search_part(n, vectors, k, allow[n]) for n in range(len(self._parts))]
        if not found:
            return np.zeros((len(vectors), 0), np.float32), np.zeros((len(vectors), 0), np.int64)
        scores = np.concatenate([s for s, _ in found], axis=1)
        rows = np.concatenate([r + self._bases[n] for n, (_, r) in enumerate(found)], axis=1)
        best = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)

    def _search_part(
        self, n: int, vectors: NDArray[np.float32], k: int, allow: Bitmap | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        part = self._parts[n]
        allowed = len(part.vectors) if allow is None else int(np.count_nonzero(allow))
        k = min(k, allowed)
        if not k or not len(vectors):
            return np.zeros((len(vectors), k), np.float32), np.zeros((len(vectors), k), np.int64)
        if part.index is None or allowed < _NARROW * len(part.vectors):
            return scan(vectors, part.vectors, k, allow)
        wanted = min(k * self.spec.refine, allowed) if self._rescores else k
        parameters = self._plain[n] if allow is None and wanted <= self.spec.ef_search else self._parameters(part.index, allow, wanted)
        try:
            scores, rows = files.search(part.index, vectors, wanted, parameters)
        except RuntimeError as exc:
            if "not supported" not in str(exc):
                raise
            if allow is not None:  # a kind that can't leave rows out
                return scan(vectors, part.vectors, k, allow)
            scores, rows = files.search(part.index, vectors, wanted, None)
        if self._rescores:
            dot_rows(vectors, part.vectors, rows, scores)
        padded = order_ties(scores, rows)
        if wanted > k:
            scores, rows = np.ascontiguousarray(scores[:, :k]), np.ascontiguousarray(rows[:, :k])
        if padded:
            short = np.flatnonzero(rows[:, -1] < 0)
            scores[short], rows[short] = scan(vectors[short], part.vectors, k, allow)
        return scores, rows

    def _parameters(self, index: Any, allow: Bitmap | None, k: int) -> Any:
        if allow is None:
            return files.parameters(index, None, self.spec.refine, k=k)
        import faiss

        selector = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        return files.parameters(index, selector, self.spec.refine, k=k)
