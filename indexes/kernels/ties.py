"""Puts hits that are nearly sorted into the law of order: score descending, then row ascending."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

_F32 = nb.types.Array(nb.float32, 2, "C")
_I64 = nb.types.Array(nb.int64, 2, "C")


@nb.njit(nb.int64(_F32, _I64), cache=True, nogil=True)
def order_ties(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> int:
    """Sort each query's hits in place, by insertion, padding (row -1) last; returns how many queries have padding.

    scores  float32 (Q, K)
    rows    int64 (Q, K)
    cost    O(Q K) where only ties are out of order
    """
    short = 0
    for q in range(scores.shape[0]):
        for j in range(1, scores.shape[1]):
            score, row = scores[q, j], rows[q, j]
            i = j - 1
            while i >= 0 and row >= 0 and (rows[q, i] < 0 or scores[q, i] < score or (scores[q, i] == score and rows[q, i] > row)):
                scores[q, i + 1], rows[q, i + 1] = scores[q, i], rows[q, i]
                i -= 1
            scores[q, i + 1], rows[q, i + 1] = score, row
        short += rows[q, scores.shape[1] - 1] < 0
    return short
