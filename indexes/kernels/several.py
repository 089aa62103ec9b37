"""The best rows for several queries in one pass over the vectors, so that a batch costs little more than one query.

Four queries share each row while it is in the processor's registers, and groups of four share a block of rows while it is in
its cache. Scores are summed in float32 in any order: rough ones, which `settle` makes exact.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.topk import offer
from ragkit.kernels.signatures import F32_2D, I64_2D, READ_BOOL, READ_F32_2D

_TOGETHER = 4
_BLOCK_BYTES = 1 << 18  # of rows that are read once for all queries


@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # no flag that would let NaN or infinity go unseen
def _products(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    d: NDArray[np.float32],
    vectors: NDArray[np.float32],
    start: int,
    stop: int,
    out: NDArray[np.float32],
) -> None:
    """Inner products of four queries (D,) with the rows from start to stop, into float32 (4, block)."""
    for row in range(start, stop):
        of_a = of_b = of_c = of_d = np.float32(0)
        for i in range(vectors.shape[1]):
            value = vectors[row, i]
            of_a += value * a[i]
            of_b += value * b[i]
            of_c += value * c[i]
            of_d += value * d[i]
        out[0, row - start], out[1, row - start], out[2, row - start], out[3, row - start] = of_a, of_b, of_c, of_d


@nb.njit(nb.void(READ_F32_2D, READ_F32_2D, READ_BOOL, F32_2D, I64_2D), cache=True, nogil=True)
def best_of_several(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    allow: NDArray[np.bool_],
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> None:
    """Fill in the k rows of highest inner product for each query, as heaps, for `sort_heaps`.

    queries  float32 (Q, D)
    vectors  float32 (N, D)
    allow    bool (N,), or (0,) for all; at least k rows
    scores   float32 (Q, k)   output
    rows     int64 (Q, k)     output
    cost     O(Q N D); the vectors are read from memory once
    """
    n_rows, last, k = len(vectors), len(queries) - 1, scores.shape[1]
    block = max(1, _BLOCK_BYTES // (4 * max(1, vectors.shape[1])))
    sizes, products = np.zeros(len(queries), np.int64), np.empty((_TOGETHER, block), np.float32)
    for start in range(0, n_rows, block):
        stop = min(start + block, n_rows)
        for first in range(0, last + 1, _TOGETHER):
            second, third, fourth = min(first + 1, last), min(first + 2, last), min(first + 3, last)
            _products(queries[first], queries[second], queries[third], queries[fourth], vectors, start, stop, products)
            for q in range(first, min(first + _TOGETHER, last + 1)):
                of_query = products[q - first]
                for row in range(start, stop):
                    score = of_query[row - start]
                    if (sizes[q] < k or score > scores[q, 0]) and (len(allow) == 0 or allow[row]):  # later rows lose ties
                        sizes[q] = offer(scores[q], rows[q], sizes[q], score, row)
