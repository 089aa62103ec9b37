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
from ragkit.indexes.kernels.topk import kth_largest, offer
from ragkit.indexes.kernels.windows import WINDOW, Lists, Postings, Window, add_lists, next_window, seek

MAX_COLUMNS = 64  # of one question; its other frequent terms are read from their lists
_VOTERS = 512  # rows of a list that is rare enough to say where good rows are
_LIMIT = 65535 // STEPS  # sum of the multipliers, so that the steps of a row add up in 16 bits


class Columns(NamedTuple):
    """All columns of a part: steps uint8 (C, N rounded up to blocks); tops of the blocks and their first postings (C, blocks)."""

    steps: NDArray[np.uint8]
    block_tops: NDArray[np.uint8]
    block_starts: NDArray[np.int32]


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
    block_bounds: NDArray[np.float32]
    places: NDArray[np.int64]
    candidates: NDArray[np.int64]
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
def _multiply(asked: Asked, n: int) -> tuple[float, float]:
    """Set the multipliers of n columns; returns the score of one step, and by how much the bound of a row may be too large."""
    total, excess = 0.0, 0.0
    for i in range(n):
        total += asked.highest[i]
    scale = (_LIMIT - n) / total
    for i in range(n):
        exact = asked.highest[i] * scale
        whole = ceil(exact)
        asked.times[i] = whole
        excess += STEPS * (whole - exact) + exact  # at the last step, which may stand for little more than the one before
    step = 1.0 / (scale * STEPS)
    return step, excess * step


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
            number = asked.numbers[c]
            if columns.steps[number, np.uint64(row)]:
                block = row >> BLOCK_BITS
                before, place = 0, row - block * BLOCK  # rows of the block that hold the term before this one
                for i in range(BLOCK):
                    before += (columns.steps[number, np.uint64(block * BLOCK + i)] != 0) & (i < place)
                j = postings.indptr[asked.lists[c]] + columns.block_starts[number, np.uint64(block)] + before
                score += asked.weights[c] * postings.impacts[np.uint64(j)]
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
def _blocks_above(
    touched: NDArray[np.bool_],
    block_steps: NDArray[np.uint16],
    n_blocks: int,
    step: np.float32,
    threshold: np.float32,
    totals: NDArray[np.float64],
    kept: Kept,
) -> int:
    """Note the blocks in which a total with the columns' largest steps is above the threshold; returns how many.

    Lists are made without branches, here as in `_scan`: which block or row is among them could not be foreseen.
    """
    candidates, above = kept.candidates, kept.above
    n = 0
    for block in range(n_blocks):
        candidates[n] = block
        n += touched[block] | (step * np.float32(block_steps[block]) > threshold)
    n_above = 0
    for z in range(n):
        block = candidates[z]
        limit, passing = np.float64(threshold - step * np.float32(block_steps[block])), 0
        for i in range(BLOCK):
            passing += totals[np.uint64(block * BLOCK + i)] > limit
        above[n_above] = block
        n_above += passing > 0
    return n_above


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
    many = 2 * k + BLOCK // 2  # rows kept, from which on it pays to drop some
    totals, touched, times, tops = window.totals, window.touched, asked.times, columns.block_tops
    block_steps, steps, bounds, places = kept.block_steps, kept.steps, kept.block_bounds, kept.places
    most = np.float32(0)
    for c in range(n_asked):
        most += step * np.float32(times[c] * STEPS)
    while True:
        if threshold >= most:  # rows in no rare list can't win
            start = max(start, next_window(lists, n, postings.rows, stop))
        if start >= stop:
            break
        end = min(start + WINDOW, stop)
        add_lists(lists, n, postings, start, end, window)
        first, n_blocks = start >> BLOCK_BITS, (end - start + BLOCK - 1) >> BLOCK_BITS
        block_steps[:] = 0
        for c in range(n_asked):
            number, multiplier = asked.numbers[c], times[c]
            for block in range(n_blocks):
                block_steps[block] += multiplier * np.uint16(tops[number, np.uint64(first + block)])
        n_blocks = _blocks_above(touched, block_steps, n_blocks, step, threshold, totals, kept)
        for z in range(n_blocks):
            place = kept.above[z] * BLOCK
            row = start + place
            steps[:] = 0
            for c in range(n_asked):
                number, multiplier = asked.numbers[c], times[c]
                for i in range(BLOCK):
                    steps[i] += multiplier * np.uint16(columns.steps[number, np.uint64(row + i)])
            above = 0
            for i in range(BLOCK):
                bounds[i] = np.float32(totals[np.uint64(place + i)]) + step * np.float32(steps[i])
                above += bounds[i] > threshold
            if not above:
                continue
            n_places = 0
            for i in range(BLOCK):
                places[n_places] = i
                n_places += bounds[i] > threshold
            for p in range(n_places):
                i = places[p]
                if len(allow) == 0 or allow[row + i]:
                    kept.rows[n_kept], kept.bounds[n_kept], kept.totals[n_kept] = row + i, bounds[i], totals[place + i]
                    n_kept += 1
            if n_kept >= many:
                n_kept, threshold = _drop(kept, n_kept, k, excess, constant, threshold)
                if n_kept >= many - k // 2:  # too many bounds lie close together
                    size = _score(kept, n_kept, asked, n_asked, columns, postings, constant, base, heap_scores, heap_rows, size)
                    n_kept = 0
                    if size == k:
                        threshold = max(threshold, _safe(heap_scores[0] - constant, constant))
        for block in range((end - start + BLOCK - 1) >> BLOCK_BITS):
            if touched[block]:
                for i in range(BLOCK):
                    totals[np.uint64(block * BLOCK + i)] = 0.0
                touched[block] = False
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
