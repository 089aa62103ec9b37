"""The nearest rows of float16 by squared Euclidean distance, for several queries in one pass over the rows.

Four queries share each row while it is in the processor's registers, and groups of four share a block of rows while it is in its cache.
These distances are rough ones, summed in float32 in any order; those of the candidates are then summed anew in float64 and in one order,
so that they do not depend on how many queries are asked together.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.topk import offer
from ragkit.kernels.signatures import F32_2D, F64_2D, I64_2D, READ_F32_2D, READ_I16_2D, READ_I64_2D

_TOGETHER = 4
_BLOCK_BYTES = 1 << 17  # of rows that are read once for all queries
_BITS = np.int32(np.uint32(0x8FFFE000).view(np.int32))
_STEP = np.float32(2.0**112)
"""A float16 whose sign is extended to 32 bits, moved up by 13, and masked by `_BITS`, is a float32 that is too small by this factor: the
exponents' offsets are 112 apart. Infinity and NaN would become large numbers."""


@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # no flag that would let NaN or infinity go unseen
def _to_one(a: NDArray[np.float32], halves: NDArray[np.int16], start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Squared distances of a query (D,) to the rows from start to stop, negated, into float32 (4, block)."""
    for row in range(start, stop):
        of_a = np.float32(0)
        for i in range(halves.shape[1]):
            to_a = np.int32((np.int32(halves[row, i]) << np.int32(13)) & _BITS).view(np.float32) * _STEP - a[i]
            of_a += to_a * to_a
        out[0, row - start] = -of_a


@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _to_four(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    d: NDArray[np.float32],
    halves: NDArray[np.int16],
    start: int,
    stop: int,
    out: NDArray[np.float32],
) -> None:
    """The same of four queries."""
    for row in range(start, stop):
        of_a = of_b = of_c = of_d = np.float32(0)
        for i in range(halves.shape[1]):
            value = np.int32((np.int32(halves[row, i]) << np.int32(13)) & _BITS).view(np.float32) * _STEP
            to_a, to_b, to_c, to_d = value - a[i], value - b[i], value - c[i], value - d[i]
            of_a += to_a * to_a
            of_b += to_b * to_b
            of_c += to_c * to_c
            of_d += to_d * to_d
        out[0, row - start], out[1, row - start], out[2, row - start], out[3, row - start] = -of_a, -of_b, -of_c, -of_d


@nb.njit(nb.void(READ_F32_2D, READ_I16_2D, F32_2D, I64_2D), cache=True, nogil=True)
def nearest_halves(queries: NDArray[np.float32], halves: NDArray[np.int16], scores: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
    """Fill in the k nearest rows of each query by rough distances, as heaps, for `sort_heaps`.

    queries  float32 (Q, D)
    halves   int16 (N, D)     the bits of float16, N >= k, all finite
    scores   float32 (Q, k)   output: squared distances, negated
    rows     int64 (Q, k)     output
    cost     O(Q N D); the rows are read from memory once
    """
    n_rows, last = len(halves), len(queries) - 1
    block = max(1, _BLOCK_BYTES // (2 * max(1, halves.shape[1])))
    sizes, found = np.zeros(len(queries), np.int64), np.empty((_TOGETHER, block), np.float32)
    for start in range(0, n_rows, block):
        stop = min(start + block, n_rows)
        for first in range(0, last + 1, _TOGETHER):
            if first == last:
                _to_one(queries[first], halves, start, stop, found)
            else:
                second, third, fourth = first + 1, min(first + 2, last), min(first + 3, last)
                _to_four(queries[first], queries[second], queries[third], queries[fourth], halves, start, stop, found)
            for q in range(first, min(first + _TOGETHER, last + 1)):
                of_query, size, worst = found[q - first], sizes[q], scores[q]
                for row in range(start, stop):
                    score = of_query[row - start]
                    if size < scores.shape[1] or score > worst[0]:  # later rows lose ties
                        size = offer(worst, rows[q], size, score, row)
                sizes[q] = size


@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # the same order of sums whatever the row and the query
def _apart(query: NDArray[np.float32], half: NDArray[np.int16]) -> float:
    summed = 0.0
    for i in range(len(query)):
        value = np.int32((np.int32(half[i]) << np.int32(13)) & _BITS).view(np.float32) * _STEP
        to = np.float64(value) - np.float64(query[i])
        summed += to * to
    return summed


@nb.njit(nb.void(READ_F32_2D, READ_I16_2D, READ_I64_2D, F64_2D), cache=True, nogil=True)
def distances_to_halves(queries: NDArray[np.float32], halves: NDArray[np.int16], rows: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """out[q, j] = the squared distance of queries[q] to halves[rows[q, j]], infinite where the row is -1.

    queries  float32 (Q, D)
    halves   int16 (N, D)   the bits of float16, all finite
    rows     int64 (Q, K)
    out      float64 (Q, K)
    """
    for q in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            row = rows[q, j]
            out[q, j] = _apart(queries[q], halves[row]) if row >= 0 else np.inf
