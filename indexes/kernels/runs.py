"""Blocks of bytes as runs of equal ones, a byte a run: how a Burrows-Wheeler transform is kept, and counted in where it lies.

A token is the code of a symbol (5 bits, high) and the number of a length (3 bits, low). The commonest symbols have codes of their own; of
another one the code is `OTHER`, and the symbol stands at the end of the block: those of a block's tokens in turn, from the last byte
backwards. A run that is none of `LENGTHS` is several tokens. So a token is read without a branch.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signed import signed

LENGTHS = (1, 2, 3, 4, 6, 12, 32, 128)
"""Of text, half of the runs are one byte long and one in eight is longer than seven."""
OTHER = 31

_PACKED = np.uint64(sum(length << (8 * number) for number, length in enumerate(LENGTHS)))
_LOW = np.uint64(255)


@nb.njit(cache=True, nogil=True)
def encode_runs(rows: NDArray[np.uint8], size: int, codes: NDArray[np.uint8], tokens: NDArray[np.uint8], starts: NDArray[np.int64]) -> int:
    """Write blocks of `size` bytes as tokens; how many bytes they take, -1 where there is no room for them.

    rows    uint8 (n,)
    codes   uint8 (256,)    code of each symbol
    tokens  uint8 (any,)    output
    starts  int64 (>= n / size,)    output: where each block begins
    """
    at = 0
    others = np.empty(size, np.uint8)
    for block in range((len(rows) + size - 1) // size):
        starts[block] = at
        start = block * size
        i, end, n_others = start, min(len(rows), start + size), 0
        while i < end:
            symbol, j = rows[i], i + 1
            while j < end and rows[j] == symbol:
                j += 1
            left, number, code = j - i, len(LENGTHS) - 1, codes[symbol]
            while left:
                while LENGTHS[number] > left:
                    number -= 1
                if at + n_others + 2 > len(tokens):
                    return -1
                tokens[at] = code << 3 | number
                left -= LENGTHS[number]
                at += 1
                if code == OTHER:
                    others[n_others] = symbol
                    n_others += 1
            i = j
        for k in range(n_others - 1, -1, -1):
            tokens[at] = others[k]
            at += 1
    return at


@nb.njit(cache=True, nogil=True)
def length_of(token: int) -> int:
    """How many bytes a token stands for."""
    return signed(_PACKED >> np.uint64((token & 7) << 3) & _LOW)


@nb.njit(cache=True, nogil=True)
def count_runs(tokens: NDArray[np.uint8], start: int, end: int, low: int, high: int, code: int, symbol: int) -> tuple[int, int]:
    """How often a symbol stands among the first `low` and among the first `high` bytes of a block, low <= high.

    start, end   where the block begins and ends
    code         the symbol's
    """
    if code == OTHER:
        return _count_others(tokens, start, end, low, symbol), _count_others(tokens, start, end, high, symbol)
    at, position, count, hit = start, 0, 0, 0
    while position < low:
        token = signed(tokens[at])
        length = length_of(token)
        at += 1
        position += length
        hit = -signed(token >> 3 == code)  # all ones or all zeros: a branch would be guessed wrong every other time
        count += length & hit
    first = count - (hit & (position - low))
    while position < high:
        token = signed(tokens[at])
        length = length_of(token)
        at += 1
        position += length
        hit = -signed(token >> 3 == code)
        count += length & hit
    return first, count - (hit & (position - high))


@nb.njit(cache=True, nogil=True)
def _count_others(tokens: NDArray[np.uint8], start: int, end: int, size: int, symbol: int) -> int:
    at, position, count, other = start, 0, 0, end - 1
    while position < size:
        token = signed(tokens[at])
        length = length_of(token)
        at += 1
        position += length
        if token >> 3 == OTHER:
            if tokens[other] == symbol:
                count += length - max(0, position - size)
            other -= 1
    return count


@nb.njit(cache=True, nogil=True)
def find_run(tokens: NDArray[np.uint8], start: int, end: int, place: int) -> tuple[int, int]:
    """(code, symbol) of the byte at a place of a block; the symbol is -1 where it has a code of its own."""
    at, position, others = start, 0, 0
    code = 0
    while position <= place:
        token = signed(tokens[at])
        at += 1
        position += length_of(token)
        code = token >> 3
        others += code == OTHER
    return code, signed(tokens[end - others]) if code == OTHER else -1
