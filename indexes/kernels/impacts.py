"""Impacts: BM25's term weights of the postings of a list, and for frequent terms the same as a column over all rows.

An impact holds all of a term's score but its idf and its count in the question, so it depends on the statistics through
the mean length alone. A column spends one byte a row: impacts in 255 steps of the list's largest, rounded up, so that
what it says is never less than the impact.
"""

from __future__ import annotations

from math import ceil

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.topk import kth_largest
from ragkit.kernels.signatures import F32, F32_2D, READ_F32, READ_I32, READ_I64, U8, U64_2D

PLAIN, SCALED, SHIFTED_L, SHIFTED_PLUS = 0, 1, 2, 3
"""Term weights: tf/(tf+k1 L); the same times k1+1; BM25L; BM25+, the last two less their value at tf = 0."""

BLOCK_BITS = 6
BLOCK = 1 << BLOCK_BITS  # rows of a block of a column
STEPS = 255
RANKS = (10, 30, 100, 300, 1000)
"""Which of a list's largest impacts are noted: k rows score at least what the first rank from k on says."""


@nb.njit(
    nb.void(READ_I64, READ_I64, READ_I32, READ_I32, READ_I32, nb.float64, nb.float64, nb.float64, nb.int64, nb.float64, F32, F32_2D),
    cache=True,
    nogil=True,
)
def weigh(
    lists: NDArray[np.int64],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    tfs: NDArray[np.int32],
    lengths: NDArray[np.int32],
    avgdl: float,
    k1: float,
    b: float,
    kind: int,
    delta: float,
    impacts: NDArray[np.float32],
    ranked: NDArray[np.float32],
) -> None:
    """Compute the impacts of some posting lists.

    lists    int64 (t,)     which
    lengths  int32 (N,)     tokens of each row
    kind     PLAIN, SCALED, SHIFTED_L or SHIFTED_PLUS
    impacts  float32 (P,)   output, at the places of the lists' postings
    ranked   float32 (V, len(RANKS))   output: the list's impact at each rank, 0 where the list is shorter
    """
    longest = 0
    for n in lists:
        longest = max(longest, indptr[n + 1] - indptr[n])
    order = np.empty(longest, np.float32)
    for n in lists:
        for j in range(indptr[n], indptr[n + 1]):
            tf = float(tfs[j])
            norm = 1.0 - b + b * lengths[rows[j]] / avgdl
            if kind == PLAIN:
                impacts[j] = tf / (tf + k1 * norm)
            elif kind == SHIFTED_L:
                ctd = tf / norm
                impacts[j] = (k1 + 1.0) * ((ctd + delta) / (k1 + ctd + delta) - delta / (k1 + delta))
            else:
                impacts[j] = tf * (k1 + 1.0) / (tf + k1 * norm)
        left = indptr[n + 1] - indptr[n]
        order[:left] = impacts[indptr[n] : indptr[n + 1]]
        for r in range(len(RANKS) - 1, -1, -1):  # what is above one rank comes to lie in front
            if left >= RANKS[r]:
                ranked[n, r] = kth_largest(order, left, RANKS[r])
                left = RANKS[r]


@nb.njit(nb.float32(nb.int64, nb.int64, READ_I32, READ_F32, U8, U8, U64_2D), cache=True, nogil=True)
def fill_column(
    start: int,
    end: int,
    rows: NDArray[np.int32],
    impacts: NDArray[np.float32],
    column: NDArray[np.uint8],
    block_tops: NDArray[np.uint8],
    held: NDArray[np.uint64],
) -> np.float32:
    """Lay one list out over all rows; returns its largest impact.

    start, end    where the list lies; every impact above 0
    column        uint8 (N rounded up to blocks,)   zeros on entry; steps, 0 where the row lacks the term
    block_tops    uint8 (blocks,)                   zeros on entry; the largest step in each block of rows
    held          uint64 (blocks, 2)                zeros on entry; a bit for each row of the block that holds the term, and the
                                                    first posting of these, counted from start
    """
    top = np.float32(0)
    for j in range(start, end):
        top = max(top, impacts[j])
    for j in range(start, end):
        step = min(STEPS, max(1, ceil(np.float64(impacts[j]) / np.float64(top) * STEPS)))
        at = rows[j] >> BLOCK_BITS
        if block_tops[at] == 0:
            held[at, 1] = j - start
        held[at, 0] |= np.uint64(1) << np.uint64(rows[j] & (BLOCK - 1))
        column[rows[j]] = step
        block_tops[at] = max(block_tops[at], step)
    return top
