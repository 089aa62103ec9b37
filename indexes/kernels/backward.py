"""Search in an FM-index: from a pattern's last byte to its first, a step a byte.

source: Ferragina & Manzini, Opportunistic Data Structures with Applications, FOCS 2000 (count, locate, extract).
Rows are those of `suffixes`: n + 1, of which the transform leaves out the one of the whole text. What a file can hold that was
written by nobody leads to wrong rows, never out of the arrays: each row is held to those that there are.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.ranks import NONE, SUPER, rank, symbol_at
from ragkit.indexes.kernels.simd import prefetch
from ragkit.kernels.signatures import (
    I64,
    READ_BOOL,
    READ_I64,
    READ_U8,
    READ_U8_2D,
    READ_U16,
    READ_U32,
    READ_U32_3D,
    U8,
    tuple_of,
)  # fmt: skip
from ragkit.kernels.signed import signed

_TOGETHER = 32
"""Patterns that are searched for side by side: enough to wait for memory together, few enough to stay in the cache."""


class FM(NamedTuple):
    """An FM-index of a text of n bytes, V of them different; S superblocks of B blocks of 1 << shift rows; all arrays read-only.

    firsts     int64 (257,)        first row of each byte; last: n + 1
    numbers    uint16 (256,)       place of each byte in `entries`, `NONE` for one that does not occur
    entries    uint32 (S+1, V, 2)  how often a byte stands before a superblock; and, 0 where it is not in there: where its column or
                                   list begins in the superblock's pool (19 bits), its code (5), the list's length or 255 (8)
    pool       uint16 (any,)       columns and lists
    pools      int64 (S+1,)        where each superblock's begin
    blocks     uint32 (S B + 2,)   where each block begins in `tokens`; what is behind the last has no bytes
    tokens     uint8 (any,)        the blocks, as `runs` writes them, and as many bytes more as a block has rows
    plain      bool (S+1,)         whether a superblock's blocks are bytes
    symbols    uint8 (S+1, 31)     byte of each code
    groups, marks, positions, rows, every, every_row   as `sample` of `suffixes` makes them
    whole      the row of the whole text
    """

    firsts: NDArray[np.int64]
    numbers: NDArray[np.uint16]
    entries: NDArray[np.uint32]
    pool: NDArray[np.uint16]
    pools: NDArray[np.int64]
    blocks: NDArray[np.uint32]
    tokens: NDArray[np.uint8]
    plain: NDArray[np.bool_]
    symbols: NDArray[np.uint8]
    groups: NDArray[np.int64]
    marks: NDArray[np.uint16]
    positions: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    shift: int
    whole: int
    every: int
    every_row: int


FM_TYPE = tuple_of(
    FM, READ_I64, READ_U16, READ_U32_3D, READ_U16, READ_I64, READ_U32, READ_U8, READ_BOOL, READ_U8_2D,
    READ_I64, READ_U16, READ_U32, READ_U32, nb.int64, nb.int64, nb.int64, nb.int64,
)  # fmt: skip


@nb.njit(cache=True, nogil=True)
def _ask_for_entry(entries: NDArray[np.uint32], blocks: NDArray[np.uint32], shift: int, v: int, row: int) -> None:
    """Ask for the memory that says where a count before a row reads."""
    prefetch(entries, ((row >> SUPER) * entries.shape[1] + v) * 2)
    prefetch(blocks, row >> shift)


@nb.njit(cache=True, nogil=True)
def _ask_for_counts(
    entries: NDArray[np.uint32],
    pool: NDArray[np.uint16],
    pools: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    tokens: NDArray[np.uint8],
    shift: int,
    v: int,
    row: int,
) -> None:
    """Ask for the memory that a count before a row reads."""
    s = row >> SUPER
    entry = signed(entries[s, v, 1])
    prefetch(pool, pools[s] + (entry >> 13) + ((row & 65535) >> shift if entry & 255 == 255 else 0))
    prefetch(tokens, signed(blocks[row >> shift]))


@nb.njit(nb.void(FM_TYPE, READ_U8, READ_I64, I64, I64), cache=True, nogil=True)
def find(fm: FM, patterns: NDArray[np.uint8], starts: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]) -> None:
    """The rows [low, high) whose suffixes begin with each pattern; low == high where it does not occur.

    patterns     uint8 (any,)   end to end
    starts       int64 (Q+1,)   pattern q is patterns[starts[q]:starts[q + 1]]; all rows for an empty one
    lows, highs  int64 (Q,)     output
    cost         two counts in blocks a byte; `_TOGETHER` patterns wait for memory at once
    """
    firsts, numbers, entries, pool, pools, blocks, tokens, plain = fm[:8]
    shift, whole, n_rows = fm.shift, fm.whole, firsts[256]
    asked, left = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.int64)
    waiting, active = 0, 0
    while True:
        while active < _TOGETHER and waiting < len(lows):
            lows[waiting], highs[waiting] = 0, n_rows
            if starts[waiting + 1] > starts[waiting]:
                asked[active], left[active] = waiting, starts[waiting + 1] - 1
                active += 1
            waiting += 1
        if active == 0:
            return
        for i in range(active):
            v, q = signed(numbers[patterns[left[i]]]), asked[i]
            if v != NONE:
                _ask_for_counts(entries, pool, pools, blocks, tokens, shift, v, lows[q] - (lows[q] > whole))
                _ask_for_counts(entries, pool, pools, blocks, tokens, shift, v, highs[q] - (highs[q] > whole))
        kept = 0
        for i in range(active):
            q, symbol = asked[i], signed(patterns[left[i]])
            v = signed(numbers[symbol])
            if v == NONE:
                lows[q] = highs[q]
                continue
            low, high = lows[q], highs[q]
            low, high = rank(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low - (low > whole), high - (high > whole))
            low, high = min(low + firsts[symbol], n_rows), min(high + firsts[symbol], n_rows)
            lows[q], highs[q] = min(low, high), high
            if low < high and left[i] > starts[q]:
                asked[kept], left[kept] = q, left[i] - 1
                v = signed(numbers[patterns[left[kept]]])
                if v != NONE:
                    _ask_for_entry(entries, blocks, shift, v, low - (low > whole))
                    _ask_for_entry(entries, blocks, shift, v, high - (high > whole))
                kept += 1
        active = kept


@nb.njit(cache=True, nogil=True)
def _position(groups: NDArray[np.int64], marks: NDArray[np.uint16], positions: NDArray[np.uint32], row: int) -> int:
    """Position of a sampled row divided by `every`, -1 where it is not sampled."""
    low, high, wanted = groups[row >> 16], groups[(row >> 16) + 1], row & 65535
    end = high
    while low < high:
        middle = (low + high) >> 1
        if marks[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return signed(positions[low]) if low < end and marks[low] == wanted else -1


@nb.njit(cache=True, nogil=True, inline="always")
def _step_back(
    firsts: NDArray[np.int64],
    numbers: NDArray[np.uint16],
    entries: NDArray[np.uint32],
    pool: NDArray[np.uint16],
    pools: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    tokens: NDArray[np.uint8],
    plain: NDArray[np.bool_],
    symbols: NDArray[np.uint8],
    shift: int,
    whole: int,
    row: int,
) -> tuple[int, int]:
    """(the byte before a row's suffix, the row of the suffix with it), not for the whole text; row -1 where the index is damaged."""
    place = row - (row > whole)
    symbol = symbol_at(blocks, tokens, plain, symbols, shift, place)
    v = signed(numbers[symbol])
    if v == NONE:
        return symbol, -1
    before, _ = rank(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, place, place)
    return symbol, min(firsts[symbol] + before, firsts[256] - 1)


@nb.njit(nb.void(FM_TYPE, nb.int64, I64), cache=True, nogil=True)
def locate(fm: FM, low: int, out: NDArray[np.int64]) -> None:
    """Positions in the text of rows low, low + 1, …, in the order of the rows. cost at most `every` steps a row

    out  int64 (any,)   output; -1 where the index is damaged
    """
    firsts, numbers, entries, pool, pools, blocks, tokens, plain, symbols, groups, marks, positions = fm[:12]
    shift, whole, n_rows = fm.shift, fm.whole, firsts[256]
    for i in range(len(out)):
        row, steps = low + i, 0
        if row == 0:
            out[i] = n_rows - 1
            continue
        out[i] = -1
        while steps < fm.every:
            found = _position(groups, marks, positions, row)
            if found >= 0:
                out[i] = min(found * fm.every + steps, n_rows - 1)
                break
            _, row = _step_back(firsts, numbers, entries, pool, pools, blocks, tokens, plain, symbols, shift, whole, row)
            if row < 0:
                break
            steps += 1


@nb.njit(nb.void(FM_TYPE, nb.int64, U8), cache=True, nogil=True)
def extract(fm: FM, start: int, out: NDArray[np.uint8]) -> None:
    """The bytes of the text from a position on, start + len(out) <= n. cost a step a byte, and `every_row` more at most

    out  uint8 (any,)   output; left as it is where the index is damaged
    """
    firsts, numbers, entries, pool, pools, blocks, tokens, plain, symbols = fm[:9]
    shift, whole, n_rows = fm.shift, fm.whole, firsts[256]
    end = start + len(out)
    sampled = (end + fm.every_row - 1) // fm.every_row
    position = min(sampled * fm.every_row, n_rows - 1)
    row = signed(fm.rows[sampled]) if sampled < len(fm.rows) else 0
    while position > start:
        position -= 1
        symbol, row = _step_back(firsts, numbers, entries, pool, pools, blocks, tokens, plain, symbols, shift, whole, row)
        if row < 0:
            break
        if position < end:
            out[position - start] = symbol
