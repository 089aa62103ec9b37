"""Adding up posting lists a window of rows at a time, so that the totals stay in the processor's cache."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.impacts import BLOCK, BLOCK_BITS

WINDOW = 16384  # rows: 128 KiB of totals
BLOCKS = WINDOW // BLOCK
_STRIDE = 8  # postings


class Postings(NamedTuple):
    """All lists of a part, as `Postings` of ragkit.indexes.bm25 has them, with impacts float32 (P,)."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    impacts: NDArray[np.float32]


class Lists(NamedTuple):
    """The lists of one question that are walked through: where each stands, where it ends, its weight, and where it starts."""

    at: NDArray[np.int64]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]


class Window(NamedTuple):
    """Totals of a window's rows, and which blocks and rows the lists hold; zeros between windows."""

    totals: NDArray[np.float64]
    touched: NDArray[np.bool_]
    seen: NDArray[np.bool_]


@nb.njit(cache=True, nogil=True)
def next_window(lists: Lists, n: int, rows: NDArray[np.int32], n_rows: int) -> int:
    """Start of the window that holds the first row of n lists; n_rows where none is before it."""
    first = n_rows
    for i in range(n):
        if lists.at[i] < lists.ends[i]:
            first = min(first, int(rows[lists.at[i]]))
    return first // WINDOW * WINDOW if first < n_rows else n_rows


@nb.njit(cache=True, nogil=True)
def seek(rows: NDArray[np.int32], j: int, last: int, row: int) -> int:
    """First of the postings j to last whose row is not below a row, by steps that double and then by halves."""
    step = 1
    while j + step < last and rows[j + step] < row:
        j += step
        step *= 2
    high = min(j + step, last)
    while j < high:
        middle = (j + high) >> 1
        if rows[middle] < row:
            j = middle + 1
        else:
            high = middle
    return j


@nb.njit(cache=True, nogil=True)
def add_lists(lists: Lists, n: int, postings: Postings, start: int, end: int, window: Window) -> None:
    """Add the postings of n lists in rows start to end to the totals, mark their blocks, and move the lists on."""
    rows, impacts, totals, touched = postings.rows, postings.impacts, window.totals, window.touched
    for i in range(n):
        j, last, weight = lists.at[i], lists.ends[i], lists.weights[i]
        while j < last:
            more = _STRIDE if j + _STRIDE <= last and rows[np.uint64(j + _STRIDE - 1)] < end else 1  # one question for many postings
            if more == 1 and rows[np.uint64(j)] >= end:
                break
            for step in range(more):
                # unsigned indices spare the question whether an index counts from the end
                place = np.uint64(rows[np.uint64(j + step)] - start)
                totals[place] += weight * impacts[np.uint64(j + step)]
                touched[place >> np.uint64(BLOCK_BITS)] = True
            j += more
        lists.at[i] = j


@nb.njit(cache=True, nogil=True)
def mark_rows(lists: Lists, n: int, rows: NDArray[np.int32], start: int, end: int, seen: NDArray[np.bool_]) -> None:
    """Mark which rows from start to end n lists hold: a total can't say it where weights are 0 or below."""
    for i in range(n):
        for j in range(lists.at[i], seek(rows, lists.at[i], lists.ends[i], end)):
            seen[rows[j] - start] = True
