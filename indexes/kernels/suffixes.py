"""Kernels over a sorted list of suffixes: its transform and samples, and the plain binary search in it.

A text of n bytes has n + 1 rows: row 0 is the empty suffix, row r the suffix at suffixes[r - 1].
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import I64, READ_I32, READ_I64, READ_U8, U8, U16, U32
from ragkit.kernels.signed import signed


@nb.njit(nb.int64(READ_U8, READ_I32, U8), cache=True, nogil=True)
def transform(text: NDArray[np.uint8], suffixes: NDArray[np.int32], out: NDArray[np.uint8]) -> int:
    """The Burrows-Wheeler transform, the byte before each row's suffix, without the row of the whole text; that row.

    text      uint8 (n,), n >= 1
    suffixes  int32 (n,)
    out       uint8 (n,)   output
    """
    out[0] = text[len(text) - 1]
    at, whole = 1, 0
    for i in range(len(suffixes)):
        if suffixes[i] == 0:
            whole = i + 1
        else:
            out[at] = text[suffixes[i] - 1]
            at += 1
    return whole


@nb.njit(nb.void(READ_I32, nb.int64, nb.int64, I64, U16, U32, U32), cache=True, nogil=True)
def sample(
    suffixes: NDArray[np.int32],
    every: int,
    every_row: int,
    groups: NDArray[np.int64],
    marks: NDArray[np.uint16],
    positions: NDArray[np.uint32],
    rows: NDArray[np.uint32],
) -> None:
    """Rows of some positions, and positions of some rows.

    suffixes   int32 (n,)
    every      a row is sampled where its position is a multiple of it; every_row: likewise the position
    groups     int64 (G+1,)   output: rows 65,536 g to 65,536 (g + 1) - 1 have marks[groups[g]:groups[g + 1]]
    marks      uint16 (M,)    output: sampled rows, less the first row of their group
    positions  uint32 (M,)    output: their positions, divided by `every`
    rows       uint32 (any,)  output: row of each multiple of `every_row` below n
    """
    at, group = 0, 0
    groups[0] = 0
    for i in range(len(suffixes)):
        row, position = i + 1, signed(suffixes[i])
        while row >> 16 > group:
            group += 1
            groups[group] = at
        if position % every == 0:
            marks[at], positions[at] = row & 65535, position // every
            at += 1
        if position % every_row == 0:
            rows[position // every_row] = row
    groups[group + 1 :] = at


@nb.njit(cache=True, nogil=True)
def _compare(text: NDArray[np.uint8], position: int, pattern: NDArray[np.uint8]) -> int:
    """-1, 0 or 1 where the suffix is before, begins with, or is behind the pattern."""
    length = min(len(pattern), len(text) - position)
    for k in range(length):
        if text[position + k] != pattern[k]:
            return -1 if text[position + k] < pattern[k] else 1
    return 0 if length == len(pattern) else -1


@nb.njit(cache=True, nogil=True)
def suffix_range(text: NDArray[np.uint8], suffixes: NDArray[np.int32], pattern: NDArray[np.uint8]) -> tuple[int, int]:
    """The suffixes that begin with a pattern. source: Manber & Myers 1993, without the longest common prefixes"""
    low, high = 0, len(suffixes)
    while low < high:
        middle = (low + high) >> 1
        if _compare(text, suffixes[middle], pattern) < 0:
            low = middle + 1
        else:
            high = middle
    first, high = low, len(suffixes)
    while low < high:
        middle = (low + high) >> 1
        if _compare(text, suffixes[middle], pattern) <= 0:
            low = middle + 1
        else:
            high = middle
    return first, low


@nb.njit(nb.void(READ_U8, READ_I32, READ_U8, READ_I64, I64, I64), cache=True, nogil=True)
def suffix_ranges(
    text: NDArray[np.uint8],
    suffixes: NDArray[np.int32],
    patterns: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lows: NDArray[np.int64],
    highs: NDArray[np.int64],
) -> None:
    """`suffix_range` of many patterns, end to end: pattern q is patterns[starts[q]:starts[q + 1]]. cost O(length log n) each"""
    for q in range(len(lows)):
        lows[q], highs[q] = suffix_range(text, suffixes, patterns[starts[q] : starts[q + 1]])
