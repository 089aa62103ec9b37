"""Exact top-k search that leaves out rows which can't be among the k best.

Rare lists are added up row by row. A frequent list is read from its column of bytes instead (see `impacts`), and only in
blocks of rows where the columns' largest steps and the rare lists' totals can together beat the k-th best seen so far.
What a column says is an upper bound, so rows that pass are kept aside, and those that still may be among the k best at the
end are scored exactly, from the postings.

source  MaxScore: Turtle & Flood, Information Processing & Management 31, 1995; block maxima: Ding & Suel, SIGIR 2011;
        the split of the terms by how frequent they are, the columns and the bounds in whole numbers are our own
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.impacts import BLOCK, BLOCK_BITS, STEPS
from ragkit.indexes.kernels.simd import add_up, count_ones, lowest_one, rows_above, sum_block
from ragkit.indexes.kernels.topk import kth_largest, offer
from ragkit.indexes.kernels.windows import WINDOW, Lists, Postings, Window, add_lists, clear, next_window, seek

MAX_COLUMNS = 64  # of one question; its other frequent terms are read from their lists
_VOTERS = 512  # rows of a list that is rare enough to say where good rows are
_LIMIT = 65535  # of a row's sum, which is one of 16 bits


class Columns(NamedTuple):
    """All columns of a part: steps uint8 (C, N rounded up to blocks), tops (C, blocks) and held (C, blocks, 2) of the blocks."""

    steps: NDArray[np.uint8]
    tops: NDArray[np.uint8]
    held: NDArray[np.uint64]


class Asked(NamedTuple):
    """The columns of one question: their numbers, lists and weights, the weights times the largest impacts, and multipliers."""

    numbers: NDArray[np.int64]
    lists: NDArray[np.int64]
    weights: NDArray[np.float64]
    highest: NDArray[np.float64]
    times: NDArray[np.uint16]


class Kept(NamedTuple):
    """Rows that may be among the best: upper bounds, totals of the rare lists, and room to find the k-th; scratch of a window."""

    rows: NDArray[np.int64]
    bounds: NDArray[np.float32]
    totals: NDArray[np.float64]
    order: NDArray[np.float32]
    block_steps: NDArray[np.uint16]
    steps: NDArray[np.uint16]
    above: NDArray[np.int64]


class State(NamedTuple):
    """How many rows are kept, the size of the heap, and what a row must score more than to win."""

    kept: int
    size: int
    threshold: np.float32


@nb.njit(cache=True, nogil=True)
def room_for(k: int) -> int:
    """Length of the arrays of `Kept`."""
    return 3 * k + 3 * BLOCK


@nb.njit(cache=True, nogil=True)
def _sort(asked: Asked, n: int) -> None:
    """Put the columns that can add the most first, so that `sum_block` can soon tell what a block lacks."""
    numbers, lists, weights, highest = asked.numbers, asked.lists, asked.weights, asked.highest
    for i in range(1, n):
        j = i
        while j and highest[j - 1] < highest[j]:
            numbers[j - 1], numbers[j] = numbers[j], numbers[j - 1]
            lists[j - 1], lists[j] = lists[j], lists[j - 1]
            weights[j - 1], weights[j] = weights[j], weights[j - 1]
            highest[j - 1], highest[j] = highest[j], highest[j - 1]
            j -= 1


@nb.njit(cache=True, nogil=True)
def _multiply(asked: Asked, n: int) -> tuple[float, float]:
    """Set the multipliers of n columns; returns the score of one unit of a sum, and by how much the bound of a row may be too large."""
    total = 0.0
    for i in range(n):
        total += asked.highest[i]
    whole = STEPS / 256  # what of a multiplier the last step makes
    scale = (_LIMIT - 2 * n) * whole / total  # a column's multiplier is rounded up, and so are its products
    for i in range(n):
        asked.times[i] = ceil(asked.highest[i] * scale / whole)
    return 1 / scale, total / STEPS + 2 * n / scale


@nb.njit(cache=True, nogil=True)
def _safe(score: float | np.float32, constant: float) -> np.float32:
    """A threshold a little below a score less its constant: more than rounding to float32 can add to a row's bound."""
    return np.float32(max(0.0, score * (1 - 1e-5) - 1e-6 * abs(constant)))


@nb.njit(cache=True, nogil=True)
def _drop(kept: Kept, n: int, k: int, excess: float, constant: float, threshold: np.float32) -> tuple[int, np.float32]:
    """Raise the threshold by the k-th best bound and drop what is below; returns (rows left, threshold)."""
    kept.order[:n] = kept.bounds[:n]
    threshold = max(threshold, _safe(kth_largest(kept.order, n, k) - excess, constant))
    left = 0
    for i in range(n):
        if kept.bounds[i] > threshold:
            kept.rows[left], kept.bounds[left], kept.totals[left] = kept.rows[i], kept.bounds[i], kept.totals[i]
            left += 1
    return left, threshold


@nb.njit(cache=True, nogil=True)
def _score(
    kept: Kept,
    n: int,
    asked: Asked,
    n_asked: int,
    columns: Columns,
    postings: Postings,
    constant: float,
    base: int,
    heap_scores: NDArray[np.float32],
    heap_rows: NDArray[np.int64],
    size: int,
) -> int:
    """Complete the totals of n rows from the postings of the columns' lists and offer them to the heap; returns its size."""
    for i in range(n):
        row, score = kept.rows[i], kept.totals[i]
        for c in range(n_asked):
            held = columns.held[asked.numbers[c], np.uint64(row >> BLOCK_BITS)]
            place = np.uint64(1) << np.uint64(row & (BLOCK - 1))
            before = held[1] + np.uint64(count_ones(held[0] & (place - np.uint64(1))))
            has = (held[0] & place) != 0
            j = np.uint64(postings.indptr[asked.lists[c]]) + (before if has else np.uint64(0))
            score += asked.weights[c] * (np.float64(postings.impacts[j]) if has else 0.0)  # whether it has one could not be foreseen
        size = offer(heap_scores, heap_rows, size, np.float32(score + constant), base + row)
    return size


@nb.njit(cache=True, nogil=True)
def _promising_window(lists: Lists, n: int, rows: NDArray[np.int32], n_rows: int) -> int:
    """Start of the window that holds the most weight of the rarest lists; 0 where they do not say."""
    votes = np.zeros((n_rows + WINDOW - 1) // WINDOW, np.float64)
    if len(votes) < 3:
        return 0
    for i in range(n):
        if lists.ends[i] - lists.at[i] <= _VOTERS:
            for j in range(lists.at[i], lists.ends[i]):
                votes[rows[j] // WINDOW] += lists.weights[i]
    return int(np.argmax(votes)) * WINDOW


@nb.njit(cache=True, nogil=True)
def _blocks_above(peaks: NDArray[np.float64], n_blocks: int, step: np.float32, threshold: np.float32, kept: Kept) -> int:
    """Note the blocks in which the largest total with the columns' largest steps is above the threshold; returns how many.

    The list is made without branches, here as in `_scan`: which block or row is in it could not be foreseen.
    """
    n = 0
    for block in range(n_blocks):
        kept.above[n] = block
        n += bool(np.float32(peaks[block]) + step * np.float32(kept.block_steps[block]) > threshold)
    return n


@nb.njit(cache=True, nogil=True)
def _scan(
    lists: Lists,
    n: int,
    asked: Asked,
    n_asked: int,
    columns: Columns,
    postings: Postings,
    start: int,
    stop: int,
    constant: float,
    base: int,
    allow: NDArray[np.bool_],
    step: np.float32,
    excess: float,
    window: Window,
    kept: Kept,
    heap_scores: NDArray[np.float32],
    heap_rows: NDArray[np.int64],
    state: State,
) -> State:
    """Keep the rows from start, where a window starts, to stop that may win; the lists stand at start or before it."""
    k, n_kept, size, threshold = len(heap_scores), state.kept, state.size, state.threshold
    last = n_kept
    many = 2 * k + BLOCK // 2  # rows kept, from which on it pays to drop some
    totals, peaks, times, tops = window.totals, window.peaks, asked.times, columns.tops
    block_steps, steps = kept.block_steps, kept.steps
    most = np.float32(0)
    for c in range(n_asked):
        most += step * np.float32(times[c])
    while True:
        if threshold >= most:  # rows in no rare list can't win
            start = max(start, next_window(lists, n, postings.rows, stop))
        if start >= stop:
            break
        end = min(start + WINDOW, stop)
        added = add_lists(lists, n, postings, start, end, window)
        first, n_blocks = start >> BLOCK_BITS, (end - start + BLOCK - 1) >> BLOCK_BITS
        for block in range(0, n_blocks, BLOCK):
            add_up(tops, asked.numbers, times, n_asked, np.int64(first + block), block_steps, block)
        n_blocks = _blocks_above(peaks, n_blocks, step, threshold, kept)
        for z in range(n_blocks):
            place = kept.above[z] * BLOCK
            row = start + place
            gap = np.float64(threshold) - peaks[kept.above[z]]
            needed = int(min(gap / step, 65535.0)) if n_asked and gap > 0 else 0
            most_here = np.int64(block_steps[kept.above[z]])
            found = sum_block(
                columns.steps, tops, asked.numbers, times, n_asked, np.int64(row >> BLOCK_BITS), most_here, needed, steps
            )  # fmt: skip
            if found:
                found = rows_above(totals, np.int64(place), steps, step, threshold)
            while found:
                i = lowest_one(found)
                found &= found - np.uint64(1)
                bound = np.float32(totals[np.uint64(place + i)]) + step * np.float32(steps[i])
                if len(allow) == 0 or allow[row + i]:
                    kept.rows[n_kept], kept.bounds[n_kept], kept.totals[n_kept] = row + i, bound, totals[np.uint64(place + i)]
                    n_kept += 1
            if n_kept >= many:
                n_kept, threshold = _drop(kept, n_kept, k, excess, constant, threshold)
                if n_kept >= many - k // 2:  # too many bounds lie close together
                    size = _score(kept, n_kept, asked, n_asked, columns, postings, constant, base, heap_scores, heap_rows, size)
                    n_kept = 0
                    if size == k:
                        threshold = max(threshold, _safe(heap_scores[0] - constant, constant))
        clear(lists, n, postings.rows, added, start, window)
        if n_kept > max(k, last + k // 4):
            n_kept, threshold = _drop(kept, n_kept, k, excess, constant, threshold)
            last = n_kept
        start += WINDOW
    return State(n_kept, size, threshold)


@nb.njit(cache=True, nogil=True)
def search_bounded(
    lists: Lists,
    n: int,
    asked: Asked,
    n_asked: int,
    columns: Columns,
    postings: Postings,
    n_rows: int,
    constant: float,
    base: int,
    allow: NDArray[np.bool_],
    least: float,
    window: Window,
    kept: Kept,
    heap_scores: NDArray[np.float32],
    heap_rows: NDArray[np.int64],
    size: int,
) -> int:
    """Offer the rows of n lists and n_asked columns that may win to the heap of the best; returns its new size.

    Every weight and every impact is above 0, and k rows score at least `least`. Parameters as in `search_part`.
    """
    k = len(heap_scores)
    _sort(asked, n_asked)
    step, excess = _multiply(asked, n_asked) if n_asked else (0.0, 0.0)
    threshold = _safe(least, constant)  # a row at or below it can't win
    if size == k:
        threshold = max(threshold, _safe(heap_scores[0] - constant, constant))
    state, first = State(0, size, threshold), _promising_window(lists, n, postings.rows, n_rows)
    lists.starts[:n] = lists.at[:n]
    for start, stop in ((first, min(first + WINDOW, n_rows)), (0, first), (first + WINDOW, n_rows)):  # a good start raises the threshold
        for i in range(n):
            lists.at[i] = seek(postings.rows, lists.starts[i], lists.ends[i], start)
        state = _scan(
            lists, n, asked, n_asked, columns, postings, start, stop, constant, base, allow, np.float32(step), excess, window, kept,
            heap_scores, heap_rows, state,
        )  # fmt: skip
    left = state.kept
    if left > k:
        left, threshold = _drop(kept, left, k, excess, constant, state.threshold)
    return _score(kept, left, asked, n_asked, columns, postings, constant, base, heap_scores, heap_rows, state.size)
