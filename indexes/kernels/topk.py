"""The k best of many scores by the law of order: score descending, then row ascending."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.signatures import F32, I64, READ_F32, READ_I64


@nb.njit(cache=True, nogil=True)
def _worse(score_a: float, row_a: int, score_b: float, row_b: int) -> bool:
    """True if hit a comes after hit b."""
    return score_a < score_b or (score_a == score_b and row_a > row_b)


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
    k = min(n, len(out_scores))
    for i in range(k):
        out_scores[i], out_rows[i] = scores[i], rows[i]
    for i in range(k // 2 - 1, -1, -1):
        _sift_down(out_scores, out_rows, i, k)
    if k:
        for i in range(k, n):
            if _worse(out_scores[0], out_rows[0], scores[i], rows[i]):
                out_scores[0], out_rows[0] = scores[i], rows[i]
                _sift_down(out_scores, out_rows, 0, k)
    for end in range(k - 1, 0, -1):  # heap sort: the worst goes last
        out_scores[0], out_scores[end] = out_scores[end], out_scores[0]
        out_rows[0], out_rows[end] = out_rows[end], out_rows[0]
        _sift_down(out_scores, out_rows, 0, end)
    return k
