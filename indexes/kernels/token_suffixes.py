"""Kernels over the sorted suffixes of a list of tokens: intervals that grow narrower a token at a time, and what follows them.

The suffixes that begin with the same tokens lie side by side, ordered by the token that comes next; one that ends there comes first.
source: Liu et al., Infini-gram, COLM 2024 (counts, next tokens, longest suffix), on Manber & Myers' suffix array.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import I32, I64, PAIR, READ_I32, READ_I64
from ragkit.kernels.signed import signed


@nb.njit(cache=True, nogil=True)
def _token_at(tokens: NDArray[np.int32], position: int) -> int:
    """The token at a position, -1 behind the last."""
    return signed(tokens[position]) if position < len(tokens) else -1


@nb.njit(cache=True, nogil=True)
def _first_not_below(tokens: NDArray[np.int32], suffixes: NDArray[np.int32], low: int, high: int, depth: int, token: int) -> int:
    """Of the suffixes low to high - 1, which have `depth` tokens in common, the first whose next token is not below one."""
    while low < high:
        middle = (low + high) >> 1
        if _token_at(tokens, suffixes[middle] + depth) < token:
            low = middle + 1
        else:
            high = middle
    return low


@nb.njit(PAIR(READ_I32, READ_I32, nb.int64, nb.int64, nb.int64, nb.int64), cache=True, nogil=True)
def narrow(tokens: NDArray[np.int32], suffixes: NDArray[np.int32], low: int, high: int, depth: int, token: int) -> tuple[int, int]:
    """Of suffixes low to high - 1, which have `depth` tokens in common, those that go on with a token. cost O(log(high - low))"""
    first = _first_not_below(tokens, suffixes, low, high, depth, token)
    return first, _first_not_below(tokens, suffixes, first, high, depth, token + 1)


@nb.njit(PAIR(READ_I32, READ_I32, READ_I32), cache=True, nogil=True)
def token_range(tokens: NDArray[np.int32], suffixes: NDArray[np.int32], pattern: NDArray[np.int32]) -> tuple[int, int]:
    """The suffixes [low, high) that begin with a pattern; low == high where it does not occur."""
    low, high = 0, len(suffixes)
    for depth in range(len(pattern)):
        low, high = narrow(tokens, suffixes, low, high, depth, pattern[depth])
        if low == high:
            break
    return low, high


@nb.njit(nb.void(READ_I32, READ_I32, READ_I32, READ_I64, I64, I64), cache=True, nogil=True)
def token_ranges(
    tokens: NDArray[np.int32],
    suffixes: NDArray[np.int32],
    patterns: NDArray[np.int32],
    starts: NDArray[np.int64],
    lows: NDArray[np.int64],
    highs: NDArray[np.int64],
) -> None:
    """The suffixes that begin with each pattern.

    tokens, suffixes  int32 (n,)
    patterns          int32 (any,)   end to end: pattern q is patterns[starts[q]:starts[q + 1]]
    lows, highs       int64 (Q,)     output; equal where it does not occur
    cost              O(length log n) each
    """
    for q in range(len(lows)):
        lows[q], highs[q] = token_range(tokens, suffixes, patterns[starts[q] : starts[q + 1]])


@nb.njit(nb.void(READ_I32, READ_I32, READ_I32, I64), cache=True, nogil=True)
def longest_ending(tokens: NDArray[np.int32], suffixes: NDArray[np.int32], context: NDArray[np.int32], out: NDArray[np.int64]) -> None:
    """The longest end of a context that occurs: (its length, low, high).

    A longer end occurs no more often than a shorter one, so the length is found by doubling and halving.

    out   int64 (3,)   output
    cost  O(length log n log length)
    """
    n, step = len(context), 1
    length, low, high = 0, 0, len(suffixes)
    while length + step <= n:
        first, end = token_range(tokens, suffixes, context[n - length - step :])
        if first == end:
            break
        length, low, high = length + step, first, end
        step *= 2
    while step:
        if length + step <= n:
            first, end = token_range(tokens, suffixes, context[n - length - step :])
            if first < end:
                length, low, high = length + step, first, end
        step >>= 1
    out[0], out[1], out[2] = length, low, high


@nb.njit(nb.int64(READ_I32, READ_I32, nb.int64, nb.int64, nb.int64, I32, I64), cache=True, nogil=True)
def next_tokens(
    tokens: NDArray[np.int32],
    suffixes: NDArray[np.int32],
    low: int,
    high: int,
    depth: int,
    found: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> int:
    """What follows the suffixes low to high - 1, which have `depth` tokens in common; how many different tokens that are.

    found   int32 (>= different,)   output: the tokens, ascending; -1 for the end of all
    counts  int64 (>= different,)   output
    cost    O(different log(high - low))
    """
    n = 0
    while low < high:
        token = _token_at(tokens, suffixes[low] + depth)
        step = 1  # galloping: most followers are rare
        while low + step < high and _token_at(tokens, suffixes[low + step] + depth) == token:
            step *= 2
        end = _first_not_below(tokens, suffixes, low + (step >> 1), min(low + step, high), depth, token + 1)
        if n < len(found):
            found[n], counts[n] = token, end - low
        n += 1
        low = end
    return n
