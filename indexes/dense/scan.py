"""Exact search by a scan of all vectors, or of the allowed ones.

faiss finds the candidates; their scores are then summed anew in float64, so that a hit's score does not
depend on how many queries were asked together, and equal vectors get equal scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.dot import dot_rows
from ragkit.indexes.kernels.ties import order_ties
from ragkit.protocols import Bitmap

_GATHER = 0.05
"""Share of allowed rows below which they are copied together before the scan."""

_ROUNDING = 4e-6
"""How far a float32 sum of products may be off, in lengths of both vectors."""


def scan(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, allow: Bitmap | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(scores, rows), both (Q, k): the k rows of highest inner product, exact, by the law of order.

    queries  (Q, D)
    vectors  (N, D)
    k        at most the number of allowed rows
    allow    (N,) or None for all
    cost     O(Q N D)
    """
    queries = np.ascontiguousarray(queries, np.float32)
    if allow is not None:
        count = int(np.count_nonzero(allow))
        if count < _GATHER * len(vectors):
            rows_of = np.flatnonzero(allow)
            scores, rows = scan(queries, np.ascontiguousarray(vectors[rows_of]), k, None)
            return scores, rows_of[rows]
    allowed = len(vectors) if allow is None else count
    bits = None if allow is None else np.packbits(allow, bitorder="little")
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    open_, fetched = np.arange(len(queries)), min(k + 1, allowed)
    while len(open_):
        asked = queries[open_]
        rough, found = _knn(asked, vectors, fetched, bits)
        exact = np.empty_like(rough)
        dot_rows(asked, vectors, found, exact)
        order_ties(exact, found)
        # whatever was not fetched scores at most the last rough score, give or take rounding
        margin = _ROUNDING * np.linalg.norm(asked, axis=1) * _longest(vectors, found)
        done = (fetched == allowed) | (rough[:, -1] + margin < exact[:, k - 1])
        scores[open_[done]], rows[open_[done]] = exact[done, :k], found[done, :k]
        open_, fetched = open_[~done], min(2 * fetched, allowed)
    return scores, rows


def _longest(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(Q,) length of the longest found vector: with unit vectors that is 1."""
    return np.asarray(np.linalg.norm(vectors[rows[:, 0]], axis=1).clip(min=1.0), np.float32)


def _knn(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, bits: NDArray[np.uint8] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import faiss

    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    at = faiss.swig_ptr
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    faiss.knn_inner_product(at(queries), at(vectors), queries.shape[1], len(queries), len(vectors), k, at(scores), at(rows), selector)
    return scores, rows
