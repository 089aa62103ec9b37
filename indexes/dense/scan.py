"""Exact search by a scan of all vectors, or of the allowed ones.

faiss finds the candidates, or where it would read all vectors once a query, a kernel that reads them once for several; their
scores are then summed anew in float64, so that a hit's score does not depend on how many queries were asked together, and equal
vectors get equal scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.settle import settle
from ragkit.indexes.kernels.several import best_of_several
from ragkit.indexes.kernels.topk import sort_heaps
from ragkit.protocols import Bitmap

_GATHER = 0.05
"""Share of allowed rows below which they are copied together before the scan."""
_BLAS_FROM = 20
"""Queries from which on faiss multiplies matrices."""
_ALL: Bitmap = np.zeros(0, np.bool_)


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
    fetched = min(k + 1, allowed)
    scores, rows, open_ = _best(queries, vectors, k, fetched, allowed, allow)
    while len(open_):  # rarely: where more than k rows score nearly the same
        fetched = min(2 * fetched, allowed)
        scores[open_], rows[open_], still = _best(queries[open_], vectors, k, fetched, allowed, allow)
        open_ = open_[still]
    return scores, rows


def _best(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, fetched: int, allowed: int, allow: Bitmap | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.intp]]:
    """(scores, rows, which queries are not settled): the k best among so many fetched candidates."""
    rough, found = _knn(queries, vectors, fetched, allow)
    exact, open_ = np.empty_like(rough), np.empty(len(queries), np.bool_)
    n_open = settle(queries, vectors, k, found, rough, exact, open_)
    settled = fetched == allowed or not n_open
    unsettled = np.zeros(0, np.intp) if settled else np.flatnonzero(open_)
    if fetched == k:
        return exact, found, unsettled
    return np.ascontiguousarray(exact[:, :k]), np.ascontiguousarray(found[:, :k]), unsettled


def _knn(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, allow: Bitmap | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    import faiss

    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    if _together(len(queries), faiss.omp_get_max_threads()):
        best_of_several(queries, vectors, _ALL if allow is None else allow, scores, rows)
        sort_heaps(scores, rows, np.full(len(queries), k, np.int64))
        return scores, rows
    at = faiss.swig_ptr
    bits = None if allow is None else np.packbits(allow, bitorder="little")
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    faiss.knn_inner_product(at(queries), at(vectors), queries.shape[1], len(queries), len(vectors), k, at(scores), at(rows), selector)
    return scores, rows


def _together(n: int, threads: int) -> bool:
    """Whether one pass for n queries in one thread is quicker than faiss, each of whose threads reads all vectors once for each of its own.

    One pass costs an eighth of a scan more for each query, as measured for 256 to 768 dimensions.

    >>> [n for n in range(30) if _together(n, 1)] == list(range(2, 20)), _together(2, 2), _together(3, 2), _together(8, 16)
    (True, False, True, False)
    """
    return 2 <= n < _BLAS_FROM and -(-n // threads) > 1 + n / 8
