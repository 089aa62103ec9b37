"""How often each symbol stands before a row of a Burrows-Wheeler transform, kept in less room than the transform itself.

Rows lie in superblocks of 65,536, these in blocks. A superblock knows how often each symbol stands before it. Of a symbol that is
common in it, it has a column: how often the symbol stands before each of its blocks; of a rare one, the list of its places. What is
before a row in its block is counted in the block's runs (`runs`), or in its bytes where runs would take more.

source: the two levels of counts are Ferragina & Manzini's (FOCS 2000); blocks coded apart, with symbols of their own, follow the
fixed-block boosting of Kärkkäinen & Puglisi (CPM 2011), with runs in place of their wavelet trees.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.runs import OTHER, count_runs, encode_runs, find_run
from ragkit.kernels.signatures import (
    BOOL,
    I64,
    READ_I64,
    READ_U8,
    READ_U16,
    U8,
    U8_2D,
    U16,
    U32,
    U32_3D,
)  # fmt: skip
from ragkit.kernels.signed import signed

SUPER = 16
"""Logarithm of a superblock's rows: a place in one is a uint16."""

NONE = 65535
"""Number of a symbol that does not occur."""

_MASK = (1 << SUPER) - 1
_COLUMN = 255
"""Size of an entry that has a column; one with a list has its length here."""


@nb.njit(cache=True, nogil=True)
def _longest_list(shift: int) -> int:
    """A symbol has a list up to so many places: as long as it takes no more than a column, and its length is no `_COLUMN`."""
    return min(1 << (SUPER - shift), _COLUMN - 1)


@nb.njit(nb.void(READ_U8, READ_U16, nb.int64, nb.int64, I64), cache=True, nogil=True)
def measure_pools(rows: NDArray[np.uint8], numbers: NDArray[np.uint16], n_symbols: int, shift: int, pools: NDArray[np.int64]) -> None:
    """Where each superblock's columns and lists are to begin.

    rows    uint8 (n,)     the transform
    pools   int64 (S+1,)   output
    """
    longest, column = _longest_list(shift), 1 << (SUPER - shift)
    pools[0] = 0
    for s in range(len(pools) - 1):
        counts = np.zeros(n_symbols, np.int64)
        for symbol in rows[s << SUPER : (s + 1) << SUPER]:
            counts[numbers[symbol]] += 1
        size = 0
        for count in counts:
            size += column if count > longest else int(count)
        pools[s + 1] = pools[s] + size


@nb.njit(cache=True, nogil=True)
def _choose_codes(rows: NDArray[np.uint8], codes: NDArray[np.uint8], symbols: NDArray[np.uint8]) -> None:
    """Codes for the symbols that begin the most runs; symbols without one get `OTHER`."""
    heads = np.zeros(256, np.int64)
    last = -1
    for symbol in rows:
        heads[symbol] += symbol != last
        last = signed(symbol)
    codes[:] = OTHER
    order = np.argsort(-heads, kind="mergesort")
    for code in range(OTHER):
        symbols[code] = order[code]
        if heads[order[code]]:
            codes[order[code]] = code


@nb.njit(nb.int64(READ_U8, READ_U16, nb.int64, nb.int64, READ_I64, U32_3D, U16, U32, U8, BOOL, U8_2D), cache=True, nogil=True)
def fill_ranks(
    rows: NDArray[np.uint8],
    numbers: NDArray[np.uint16],
    n_symbols: int,
    shift: int,
    pools: NDArray[np.int64],
    entries: NDArray[np.uint32],
    pool: NDArray[np.uint16],
    blocks: NDArray[np.uint32],
    tokens: NDArray[np.uint8],
    plain: NDArray[np.bool_],
    symbols: NDArray[np.uint8],
) -> int:
    """Fill the counts of a transform (see `FM` in `backward`); how many bytes the tokens take.

    rows     uint8 (n,)
    pools    as `measure_pools` says; entries, plain and symbols are zeros on entry
    tokens   uint8 (n,)     output, all of them in the worst case
    scratch  64 KiB
    """
    n, size, per_super, longest = len(rows), 1 << shift, 1 << (SUPER - shift), _longest_list(shift)
    total, at = np.zeros(n_symbols, np.int64), 0
    codes, coded, starts = np.empty(256, np.uint8), np.empty(1 << SUPER, np.uint8), np.empty(per_super, np.int64)
    for s in range(len(pools) - 1):
        here = rows[s << SUPER : (s + 1) << SUPER]
        _choose_codes(here, codes, symbols[s])
        counts = np.zeros(n_symbols, np.int64)
        for symbol in here:
            counts[numbers[symbol]] += 1
        places, offset = np.zeros(n_symbols, np.int64), 0
        for symbol in range(256):
            v = numbers[symbol]
            if v == NONE:
                continue
            entries[s, v, 0] = total[v]
            if counts[v]:
                places[v] = offset
                entries[s, v, 1] = offset << 13 | signed(codes[symbol]) << 8 | (counts[v] if counts[v] <= longest else _COLUMN)
                offset += counts[v] if counts[v] <= longest else per_super
            total[v] += counts[v]
        seen = np.zeros(n_symbols, np.int64)
        own = pool[pools[s] : pools[s + 1]]
        for j in range(len(here)):
            if j & (size - 1) == 0:
                for v in range(n_symbols):
                    if counts[v] > longest:
                        own[places[v] + (j >> shift)] = seen[v]
            v = numbers[here[j]]
            if counts[v] <= longest:
                own[places[v] + seen[v]] = j
            seen[v] += 1
        for b in range((len(here) + size - 1) >> shift, per_super):  # also the row behind the last has a block
            for v in range(n_symbols):
                if counts[v] > longest:
                    own[places[v] + b] = seen[v]
        used = encode_runs(here, size, codes, coded[: len(here)], starts)
        plain[s] = used < 0
        if plain[s]:
            tokens[at : at + len(here)] = here
            used = len(here)
        else:
            tokens[at : at + used] = coded[:used]
        for b in range((len(here) + size - 1) >> shift):
            blocks[(s << (SUPER - shift)) + b] = at + (b << shift if plain[s] else starts[b])
        at += used
    for b in range((n + size - 1) >> shift, len(blocks)):
        blocks[b] = at
    for v in range(n_symbols):
        entries[len(pools) - 1, v, 0] = total[v]
    return at


@nb.njit(cache=True, nogil=True)
def _count_bytes(tokens: NDArray[np.uint8], start: int, end: int, symbol: int) -> int:
    count = 0
    for i in range(start, end):
        count += tokens[i] == symbol
    return count


@nb.njit(cache=True, nogil=True, inline="always")
def _rank_in_block(
    entries: NDArray[np.uint32],
    pool: NDArray[np.uint16],
    pools: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    tokens: NDArray[np.uint8],
    plain: NDArray[np.bool_],
    shift: int,
    symbol: int,
    v: int,
    low: int,
    high: int,
) -> tuple[int, int]:
    """As `rank`, for two rows of one block."""
    s = low >> SUPER
    before, entry = signed(entries[s, v, 0]), signed(entries[s, v, 1])
    size, at = entry & 255, pools[s] + (entry >> 13)
    if size == 0:
        return before, before
    if size < _COLUMN:
        first, second = before, before
        for i in range(at, at + size):
            first += pool[i] < low & _MASK
            second += pool[i] < high & _MASK
        return first, second
    block, mask = low >> shift, (1 << shift) - 1
    before += signed(pool[at + ((low & _MASK) >> shift)])
    start = signed(blocks[block])
    if plain[s]:
        first = _count_bytes(tokens, start, start + (low & mask), symbol)
        return before + first, before + first + _count_bytes(tokens, start + (low & mask), start + (high & mask), symbol)
    first, second = count_runs(tokens, start, signed(blocks[block + 1]), low & mask, high & mask, (entry >> 8) & 31, symbol)
    return before + first, before + second


@nb.njit(cache=True, nogil=True, inline="always")
def rank(
    entries: NDArray[np.uint32],
    pool: NDArray[np.uint16],
    pools: NDArray[np.int64],
    blocks: NDArray[np.uint32],
    tokens: NDArray[np.uint8],
    plain: NDArray[np.bool_],
    shift: int,
    symbol: int,
    v: int,
    low: int,
    high: int,
) -> tuple[int, int]:
    """How often a symbol that occurs stands before row low, and before row high; 0 <= low <= high <= n.

    The arrays are given one by one: taken from a tuple in here, numba would count references to each at every step.

    v  the symbol's place in `entries`
    """
    if low >> shift == high >> shift:
        return _rank_in_block(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low, high)
    first, _ = _rank_in_block(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low, low)
    second, _ = _rank_in_block(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, high, high)
    return first, second


@nb.njit(cache=True, nogil=True)
def symbol_at(
    blocks: NDArray[np.uint32], tokens: NDArray[np.uint8], plain: NDArray[np.bool_], symbols: NDArray[np.uint8], shift: int, row: int
) -> int:
    """The symbol of a row, 0 <= row < n."""
    block, place = row >> shift, row & ((1 << shift) - 1)
    start = signed(blocks[block])
    if plain[row >> SUPER]:
        return signed(tokens[start + place])
    code, symbol = find_run(tokens, start, signed(blocks[block + 1]), place)
    return symbol if symbol >= 0 else signed(symbols[row >> SUPER, code])
