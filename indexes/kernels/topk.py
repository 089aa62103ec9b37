"""The k best of many scores by the law of order: score descending, then row ascending."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import F32, F32_2D, I64, I64_2D, READ_F32, READ_I64


@nb.njit(cache=True, nogil=True)
def _worse(score_a: np.float32, row_a: int, score_b: np.float32, row_b: int) -> bool:
    """True if hit a comes after hit b."""
    return bool(score_a < score_b or (score_a == score_b and row_a > row_b))


@nb.njit(cache=True, nogil=True)
def _sift_down(scores: NDArray[np.float32], rows: NDArray[np.int64], at: int, size: int) -> None:
    """Restore the heap whose root is its worst hit, from position `at` down."""
    score, row = scores[at], rows[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores[child + 1], rows[child + 1], scores[child], rows[child]):
            child += 1
        if not _worse(scores[child], rows[child], score, row):
            break
        scores[at], rows[at] = scores[child], rows[child]
        at = child
    scores[at], rows[at] = score, row


@nb.njit(cache=True, nogil=True)
def offer(scores: NDArray[np.float32], rows: NDArray[np.int64], size: int, score: np.float32, row: int) -> int:
    """Take a hit into a heap that holds the best `size` so far; returns the new size.

    scores, rows  (k,)   the heap, its worst hit first
    """
    if size == len(scores):
        if size and _worse(scores[0], rows[0], score, row):
            scores[0], rows[0] = score, row
            _sift_down(scores, rows, 0, size)
        return size
    at = size
    while at:
        above = (at - 1) >> 1
        if not _worse(score, row, scores[above], rows[above]):
            break
        scores[at], rows[at] = scores[above], rows[above]
        at = above
    scores[at], rows[at] = score, row
    return size + 1


@nb.njit(cache=True, nogil=True)
def _sort_heap(scores: NDArray[np.float32], rows: NDArray[np.int64], size: int) -> None:
    for end in range(size - 1, 0, -1):  # heap sort: the worst goes last
        scores[0], scores[end] = scores[end], scores[0]
        rows[0], rows[end] = rows[end], rows[0]
        _sift_down(scores, rows, 0, end)


@nb.njit(nb.void(F32_2D, I64_2D, READ_I64), cache=True, nogil=True)
def sort_heaps(scores: NDArray[np.float32], rows: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """Bring each query's heap into the order of its hits, in place.

    scores, rows  (Q, k)
    sizes         int64 (Q,)   hits of each query
    """
    for q in range(len(sizes)):
        _sort_heap(scores[q], rows[q], sizes[q])


@nb.njit(nb.int64(READ_F32, READ_I64, nb.int64, F32, I64), cache=True, nogil=True)
def top_k(
    scores: NDArray[np.float32], rows: NDArray[np.int64], n: int, out_scores: NDArray[np.float32], out_rows: NDArray[np.int64]
) -> int:
    """Fill out with the best of the first n candidates, in order; returns how many.

    scores      float32 (>= n,)   candidates' scores
    rows        int64   (>= n,)   candidates' rows, all different
    out_scores  float32 (k,)
    out_rows    int64   (k,)
    cost        O(n log k)
    """
    size = 0
    for i in range(n):
        size = offer(out_scores, out_rows, size, scores[i], rows[i])
    _sort_heap(out_scores, out_rows, size)
    return size


@nb.njit(cache=True, nogil=True)
def kth_largest(values: NDArray[np.float32], n: int, k: int) -> np.float32:
    """The k-th largest of the first n values (1 <= k <= n), by quickselect; the values change places."""
    low, high, at = 0, n - 1, k - 1
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if at <= j:
            high = j
        elif at >= i:
            low = i
        else:
            break
    return np.float32(values[at])
