"""Steps over whole characters of UTF-8 in an FM-index: what stands before an interval of rows, however many bytes each takes.

A byte says by itself whether it is a character's last, an inner or its first, so a search for whole characters finds no parts of others.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.backward import FM, FM_TYPE
from ragkit.indexes.kernels.ranks import NONE, rank, symbol_at
from ragkit.kernels.signatures import I64, PAIR, READ_U8
from ragkit.kernels.signed import signed

SEPARATOR = 255
"""A byte of no character, which counts as one by itself."""
_FEW = 24
"""Rows up to which their bytes are looked at one by one; of more all bytes that there are are counted."""


@nb.njit(PAIR(FM_TYPE, READ_U8, nb.int64, nb.int64), cache=True, nogil=True)
def prepend(fm: FM, data: NDArray[np.uint8], low: int, high: int) -> tuple[int, int]:
    """The rows whose suffixes begin with some bytes and then as the rows low to high - 1 do."""
    firsts, numbers, entries, pool, pools, blocks, tokens, plain = fm[:8]
    shift, whole, n_rows = fm.shift, fm.whole, firsts[256]
    for k in range(len(data) - 1, -1, -1):
        symbol = signed(data[k])
        v = signed(numbers[symbol])
        if v == NONE or low >= high:
            return high, high
        low, high = rank(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low - (low > whole), high - (high > whole))
        low, high = min(low + firsts[symbol], n_rows), min(high + firsts[symbol], n_rows)
    return min(low, high), high


@nb.njit(nb.int64(FM_TYPE, nb.int64, nb.int64, I64, I64, I64), cache=True, nogil=True)
def characters_before(fm: FM, low: int, high: int, characters: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]) -> int:
    """The different characters in front of the suffixes of rows low to high - 1, `SEPARATOR` as -1, and the rows with each in front.

    characters, lows, highs  (any,)   output; not filled beyond their room
    returns  how many there are
    cost     a count of each byte, and again for each different end of a character that is longer than a byte
    """
    firsts, numbers, entries, pool, pools, blocks, tokens, plain = fm[:8]
    symbols, shift, whole, n_rows = fm.symbols, fm.shift, fm.whole, firsts[256]
    stack = np.empty((1024, 4), np.int64)  # what is known of a character, its bits, and the rows with that in front
    stack[0] = (0, 0, low, high)
    depth, found = 1, 0
    wanted = np.zeros(256, np.bool_)
    while depth:
        depth -= 1
        value, bits, low, high = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
        some = high - low <= _FEW
        if some:
            wanted[:] = False
            for row in range(low, high):
                if row != whole:
                    wanted[symbol_at(blocks, tokens, plain, symbols, shift, row - (row > whole))] = True
        for symbol in range(256):
            v = signed(numbers[symbol])
            if v == NONE or (some and not wanted[symbol]):
                continue
            first, last = rank(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low - (low > whole), high - (high > whole))
            first, last = min(first + firsts[symbol], n_rows), min(last + firsts[symbol], n_rows)
            if first >= last:
                continue
            if 128 <= symbol < 192:
                if bits < 18 and depth < len(stack):
                    stack[depth] = (value | (symbol & 63) << bits, bits + 6, first, last)
                    depth += 1
                continue
            if symbol == SEPARATOR:
                character = -1
            elif symbol < 128:
                character = symbol
            else:
                character = value | (symbol & (31 if symbol < 224 else 15 if symbol < 240 else 7)) << bits
            if found < len(characters):
                characters[found], lows[found], highs[found] = character, first, last
            found += 1
    return found
