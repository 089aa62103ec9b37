"""BM25 scores of chosen rows, without a search."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.windows import seek
from ragkit.kernels.signatures import F32, READ_F32, READ_F64, READ_I32, READ_I64


@nb.njit(nb.void(READ_I64, READ_F64, nb.float64, READ_I64, READ_I32, READ_F32, READ_I64, F32), cache=True, nogil=True)
def score_rows(
    numbers: NDArray[np.int64],
    weights: NDArray[np.float64],
    constant: float,
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    impacts: NDArray[np.float32],
    wanted: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Score some rows of a part for one question, its terms added up in order; -inf for a row that holds none of them.

    numbers, weights, constant, indptr, rows, impacts   as in `ragkit.indexes.kernels.search.search_part`
    wanted  int64 (n,)     rows of the part
    out     float32 (n,)
    """
    for i in range(len(wanted)):
        total, held = 0.0, False
        for z in range(len(numbers)):
            if numbers[z] >= 0:
                end = indptr[numbers[z] + 1]
                j = seek(rows, indptr[numbers[z]], end, wanted[i])
                if j < end and rows[j] == wanted[i]:
                    total += weights[z] * impacts[j]
                    held = True
        out[i] = np.float32(total + constant) if held else np.float32(-np.inf)
