"""Search in an FM-index: from a pattern's last byte to its first, a step a byte.

source: Ferragina & Manzini, Opportunistic Data Structures with Applications, FOCS 2000 (count, locate, extract).
Rows are those of `suffixes`: n + 1, of which the transform leaves out the one of the whole text.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.ranks import NONE, RANKS, SUPER, Ranks, rank, symbol_at
from ragkit.indexes.kernels.signatures import I64, READ_I64, READ_U8, READ_U16, READ_U32, U8, tuple_of
from ragkit.indexes.kernels.signed import signed
from ragkit.indexes.kernels.simd import prefetch

_TOGETHER = 32
"""Patterns that are searched for side by side: enough to wait for memory together, few enough to stay in the cache."""


class FM(NamedTuple):
    """An FM-index of a text of n bytes; all arrays read-only.

    firsts     int64 (257,)    first row of each byte; last: n + 1
    whole      the row of the whole text
    every, every_row, groups, marks, positions, rows   as `sample` of `suffixes` makes them
    """

    ranks: Ranks
    firsts: NDArray[np.int64]
    groups: NDArray[np.int64]
    marks: NDArray[np.uint16]
    positions: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    whole: int
    every: int
    every_row: int


FM_TYPE = tuple_of(FM, RANKS, READ_I64, READ_I64, READ_U16, READ_U32, READ_U32, nb.int64, nb.int64, nb.int64)


@nb.njit(cache=True, nogil=True, inline="always")
def _narrow(fm: FM, symbol: int, low: int, high: int) -> tuple[int, int]:
    """The rows [low, high) of a pattern become those of the pattern with a byte before it."""
    first, second = rank(fm.ranks, symbol, low - (low > fm.whole), high - (high > fm.whole))
    return fm.firsts[symbol] + first, fm.firsts[symbol] + second


@nb.njit(nb.void(FM_TYPE, READ_U8, READ_I64, I64, I64), cache=True, nogil=True)
def find_one_by_one(
    fm: FM, patterns: NDArray[np.uint8], starts: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]
) -> None:
    """As `find`, a pattern after the other: what `find` is measured against."""
    for q in range(len(lows)):
        low, high = 0, fm.firsts[256]
        for k in range(starts[q + 1] - 1, starts[q] - 1, -1):
            symbol = signed(patterns[k])
            if fm.ranks.numbers[symbol] == NONE:
                low = high
                break
            low, high = _narrow(fm, symbol, low, high)
            if low >= high:
                break
        lows[q], highs[q] = low, high


@nb.njit(cache=True, nogil=True)
def _ask_early(fm: FM, v: int, row: int) -> None:
    ranks = fm.ranks
    row -= row > fm.whole
    prefetch(ranks.entries, ((row >> SUPER) * ranks.entries.shape[1] + v) * 2)
    prefetch(ranks.blocks, row >> ranks.shift)


@nb.njit(cache=True, nogil=True)
def _ask_for(fm: FM, v: int, row: int) -> None:
    """Ask for the memory that a count before a row reads."""
    ranks = fm.ranks
    row -= row > fm.whole
    s = row >> SUPER
    entry = signed(ranks.entries[s, v, 1])
    prefetch(ranks.pool, ranks.pools[s] + (entry >> 13) + ((row & 65535) >> ranks.shift if entry & 255 == 255 else 0))
    prefetch(ranks.tokens, signed(ranks.blocks[row >> ranks.shift]))


@nb.njit(nb.void(FM_TYPE, READ_U8, READ_I64, I64, I64), cache=True, nogil=True)
def find(fm: FM, patterns: NDArray[np.uint8], starts: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]) -> None:
    """The rows [low, high) whose suffixes begin with each pattern; low == high where it does not occur.

    patterns     uint8 (any,)   end to end
    starts       int64 (Q+1,)   pattern q is patterns[starts[q]:starts[q + 1]]; all rows for an empty one
    lows, highs  int64 (Q,)     output
    cost         two counts in blocks a byte; `_TOGETHER` patterns wait for memory at once
    """
    asked, left = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.int64)
    waiting, active = 0, 0
    while True:
        while active < _TOGETHER and waiting < len(lows):
            lows[waiting], highs[waiting] = 0, fm.firsts[256]
            if starts[waiting + 1] > starts[waiting]:
                asked[active], left[active] = waiting, starts[waiting + 1] - 1
                active += 1
            waiting += 1
        if active == 0:
            return
        for i in range(active):  # what the counts of this step begin with
            v = signed(fm.ranks.numbers[patterns[left[i]]])
            if v != NONE:
                _ask_for(fm, v, lows[asked[i]])
                _ask_for(fm, v, highs[asked[i]])
        kept = 0
        for i in range(active):
            q, symbol = asked[i], signed(patterns[left[i]])
            if fm.ranks.numbers[symbol] == NONE:
                lows[q] = highs[q]
                continue
            lows[q], highs[q] = _narrow(fm, symbol, lows[q], highs[q])
            if lows[q] < highs[q] and left[i] > starts[q]:
                asked[kept], left[kept] = q, left[i] - 1
                _ask_early(fm, signed(fm.ranks.numbers[patterns[left[kept]]]), lows[q])
                _ask_early(fm, signed(fm.ranks.numbers[patterns[left[kept]]]), highs[q])
                kept += 1
        active = kept


@nb.njit(cache=True, nogil=True)
def _back(fm: FM, row: int) -> tuple[int, int]:
    """(byte before the row's suffix, row of the suffix that begins with it); not for the row of the whole text."""
    row -= row > fm.whole
    symbol = symbol_at(fm.ranks, row)
    return symbol, fm.firsts[symbol] + rank(fm.ranks, symbol, row, row)[0]


@nb.njit(cache=True, nogil=True)
def _position(fm: FM, row: int) -> int:
    """Position of a sampled row divided by `every`, -1 where it is not sampled."""
    low, high, wanted = fm.groups[row >> 16], fm.groups[(row >> 16) + 1], row & 65535
    end = high
    while low < high:
        middle = (low + high) >> 1
        if fm.marks[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return signed(fm.positions[low]) if low < end and fm.marks[low] == wanted else -1


@nb.njit(nb.void(FM_TYPE, nb.int64, I64), cache=True, nogil=True)
def locate(fm: FM, low: int, out: NDArray[np.int64]) -> None:
    """Positions in the text of rows low, low + 1, …, in the order of the rows. cost at most `every` steps a row

    out  int64 (any,)   output
    """
    for i in range(len(out)):
        row, steps = low + i, 0
        if row == 0:
            out[i] = fm.firsts[256] - 1
            continue
        while True:
            found = _position(fm, row)
            if found >= 0:
                out[i] = found * fm.every + steps
                break
            _, row = _back(fm, row)
            steps += 1


@nb.njit(nb.void(FM_TYPE, nb.int64, U8), cache=True, nogil=True)
def extract(fm: FM, start: int, out: NDArray[np.uint8]) -> None:
    """The bytes of the text from a position on, start + len(out) <= n. cost a step a byte, and `every_row` more at most

    out  uint8 (any,)   output
    """
    end = start + len(out)
    sampled = (end + fm.every_row - 1) // fm.every_row
    position = min(sampled * fm.every_row, fm.firsts[256] - 1)
    row = signed(fm.rows[sampled]) if sampled < len(fm.rows) else 0
    while position > start:
        position -= 1
        symbol, row = _back(fm, row)
        if position < end:
            out[position - start] = symbol
