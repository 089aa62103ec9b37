"""Inner products of queries with chosen rows, summed in float64."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

_IN_F32 = nb.types.Array(nb.float32, 2, "C", readonly=True)
_IN_I64 = nb.types.Array(nb.int64, 2, "C", readonly=True)
_OUT_F32 = nb.types.Array(nb.float32, 2, "C")


@nb.njit(nb.void(_IN_F32, _IN_F32, _IN_I64, _OUT_F32), cache=True, nogil=True)
def dot_rows(queries: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """out[q, j] = queries[q] · vectors[rows[q, j]], -inf where the row is -1.

    queries  float32 (Q, D)
    vectors  float32 (N, D)
    rows     int64 (Q, K)
    out      float32 (Q, K)
    """
    for q in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            row = rows[q, j]
            if row < 0:
                out[q, j] = -np.inf
                continue
            a = b = c = d = 0.0  # four sums at once: one would wait for each addition
            whole = queries.shape[1] // 4 * 4
            for i in range(0, whole, 4):
                a += np.float64(queries[q, i]) * np.float64(vectors[row, i])
                b += np.float64(queries[q, i + 1]) * np.float64(vectors[row, i + 1])
                c += np.float64(queries[q, i + 2]) * np.float64(vectors[row, i + 2])
                d += np.float64(queries[q, i + 3]) * np.float64(vectors[row, i + 3])
            for i in range(whole, queries.shape[1]):
                a += np.float64(queries[q, i]) * np.float64(vectors[row, i])
            out[q, j] = (a + b) + (c + d)
