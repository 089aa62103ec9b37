"""Scores of a scan's candidates summed anew, and whether any row that is not among them could belong to the best."""

from __future__ import annotations

from math import sqrt

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.dot import dot_rows
from ragkit.indexes.kernels.ties import order_ties

_ROUNDING = 4e-6
"""How far a float32 sum of products may be off, in lengths of both vectors."""

_IN_F32 = nb.types.Array(nb.float32, 2, "C", readonly=True)
_F32 = nb.types.Array(nb.float32, 2, "C")
_I64 = nb.types.Array(nb.int64, 2, "C")
_BOOL = nb.types.Array(nb.bool_, 1, "C")


@nb.njit(nb.int64(_IN_F32, _IN_F32, nb.int64, _I64, _F32, _F32, _BOOL), cache=True, nogil=True)
def settle(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    rows: NDArray[np.int64],
    rough: NDArray[np.float32],
    exact: NDArray[np.float32],
    open_: NDArray[np.bool_],
) -> int:
    """Score candidates exactly and put them in order; returns how many queries stay open.

    Whatever is not among a query's candidates scores at most their last rough score, give or take rounding.

    queries  float32 (Q, D)
    vectors  float32 (N, D)
    k        how many are wanted, at most K
    rows     int64 (Q, K)     candidates, the best first
    rough    float32 (Q, K)   their scores in float32
    exact    float32 (Q, K)   output: their scores, in order as the rows then are
    open_    bool (Q,)        output: whether a row that is no candidate could be among the k best
    """
    dot_rows(queries, vectors, rows, exact)
    n = 0
    for q in range(len(queries)):
        of_query, of_row, best = 0.0, 0.0, rows[q, 0]  # with unit vectors both lengths are 1
        for i in range(queries.shape[1]):
            of_query += np.float64(queries[q, i]) * np.float64(queries[q, i])
            of_row += np.float64(vectors[best, i]) * np.float64(vectors[best, i])
        open_[q] = False
        last = rough[q, rough.shape[1] - 1] + _ROUNDING * sqrt(of_query) * max(1.0, sqrt(of_row))
        above = 0
        for j in range(rows.shape[1]):
            above += exact[q, j] > last
        if above < k:
            open_[q] = True
            n += 1
    order_ties(exact, rows)
    return n
