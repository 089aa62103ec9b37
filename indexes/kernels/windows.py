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
_FEW = 6 * BLOCKS  # postings of a window


class Postings(NamedTuple):
    """All lists of a part, as `Postings` of ragkit.indexes.bm25 has them, with impacts float32 (P,)."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    impacts: NDArray[np.float32]


class Lists(NamedTuple):
    """The lists of one question: where each stands, where it stood before the window, ends and starts, and its weight."""

    at: NDArray[np.int64]
    before: NDArray[np.int64]
    ends: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: NDArray[np.float64]


class Window(NamedTuple):
    """Totals of a window's rows, the largest in each block, and which blocks and rows the lists hold; zeros between windows."""

    totals: NDArray[np.float64]
    peaks: NDArray[np.float64]
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
def add_lists(lists: Lists, n: int, postings: Postings, start: int, end: int, window: Window) -> int:
    """Add the postings of n lists in rows start to end to the totals and move the lists on; returns how many there are."""
    rows, impacts, totals, peaks = postings.rows, postings.impacts, window.totals, window.peaks
    added = 0
    for i in range(n):
        j, last, weight = lists.at[i], lists.ends[i], lists.weights[i]
        lists.before[i] = j
        while j < last:
            more = _STRIDE if j + _STRIDE <= last and rows[np.uint64(j + _STRIDE - 1)] < end else 1  # one question for many postings
            if more == 1 and rows[np.uint64(j)] >= end:
                break
            for step in range(more):
                # unsigned indices spare the question whether an index counts from the end
                place = np.uint64(rows[np.uint64(j + step)] - start)
                block = place >> np.uint64(BLOCK_BITS)
                total, peak = totals[place] + weight * impacts[np.uint64(j + step)], peaks[block]
                totals[place] = total
                peaks[block] = total if total > peak else peak
            j += more
        lists.at[i] = j
        added += j - lists.before[i]
    return added


@nb.njit(cache=True, nogil=True)
def clear(lists: Lists, n: int, rows: NDArray[np.int32], added: int, start: int, window: Window) -> None:
    """Set a window's totals and peaks to 0 again, row by row where few were added, else block by block."""
    totals, peaks = window.totals, window.peaks
    if added < _FEW:
        for i in range(n):
            for j in range(lists.before[i], lists.at[i]):
                totals[np.uint64(rows[np.uint64(j)] - start)] = 0.0
    else:
        for block in range(BLOCKS):
            if peaks[block] > 0:
                for i in range(BLOCK):
                    totals[np.uint64(block * BLOCK + i)] = 0.0
    peaks[:] = 0.0


@nb.njit(cache=True, nogil=True)
def mark_rows(lists: Lists, n: int, rows: NDArray[np.int32], start: int, end: int, window: Window) -> None:
    """Mark which rows and blocks from start to end n lists hold: a total can't say it where weights are 0 or below."""
    for i in range(n):
        for j in range(lists.at[i], seek(rows, lists.at[i], lists.ends[i], end)):
            window.seen[rows[j] - start] = True
            window.touched[(rows[j] - start) >> BLOCK_BITS] = True
