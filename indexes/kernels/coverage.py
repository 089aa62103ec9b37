"""Kernels that score passages by the n-grams of a question, none of which counts where a better one has counted.

source: Bevilacqua et al., Autoregressive Search Engines, NeurIPS 2022 (non-overlapping n-grams, coverage of a document by new words).
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import BOOL, F64, I32, READ_BOOL, READ_F64, READ_I32, READ_I64, U64_2D
from ragkit.kernels.signed import signed

BLOCK = 6
"""Logarithm of the places for which `firsts` says which passage comes first."""


@nb.njit(nb.int64(READ_I32, READ_I64, READ_I64, READ_I32, nb.int64, nb.int64, READ_BOOL, I32, nb.int64), cache=True, nogil=True)
def holding(
    places: NDArray[np.int32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    firsts: NDArray[np.int32],
    low: int,
    high: int,
    alive: NDArray[np.bool_],
    seen: NDArray[np.int32],
    mark: int,
) -> int:
    """How many passages hold the n-gram that stands at places[low:high]; see `cover`.

    alive  bool (P,)    passages that count, (0,) for all
    seen   int32 (P,)   scratch; mark is a number that it does not hold
    """
    found = 0
    for i in range(low, high):
        place = signed(places[i])
        passage = signed(firsts[place >> BLOCK])
        while passage < len(begins) and begins[passage] <= place:
            if place < ends[passage] and seen[passage] != mark:
                seen[passage] = mark
                found += len(alive) == 0 or alive[passage]
            passage += 1
    return found


@nb.njit(
    nb.int64(
        READ_I32, READ_I64, READ_I64, READ_I32, READ_I32, READ_I64, READ_I64, READ_I64, READ_F64, READ_I64, READ_I64, READ_I32,
        nb.float64, nb.float64, nb.float64, nb.float64, BOOL, I32, U64_2D, F64, I32, I32,
    ),
    cache=True, nogil=True,
)  # fmt: skip
def cover(
    places: NDArray[np.int32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    firsts: NDArray[np.int32],
    sizes: NDArray[np.int32],
    lows: NDArray[np.int64],
    highs: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.float64],
    periodic: NDArray[np.int64],
    word_starts: NDArray[np.int64],
    words: NDArray[np.int32],
    k1: float,
    b: float,
    average: float,
    beta: float,
    covered: NDArray[np.bool_],
    counts: NDArray[np.int32],
    used: NDArray[np.uint64],
    scores: NDArray[np.float64],
    touched: NDArray[np.int32],
    local: NDArray[np.int32],
) -> int:
    """Add up the scores of all passages for the n-grams of one question, the best n-gram first; returns how many were touched.

    places         (any,)     n-gram j stands at places[lows[j]:highs[j]], and lengths[j] places long
    begins, ends   (P,)       the places between which each passage lies, ascending; they may overlap, and not all places lie in one.
                              An n-gram counts in the passages in which it begins
    firsts         (n / 64,)  the first passage that ends behind every 64th place
    sizes          (P,)       tokens of each passage
    lows, highs, lengths, weights   (K,)
    periodic       (K,)       1 where occurrences may overlap each other: then they are taken from left to right
    word_starts    (K+1,)     n-gram j has the different words words[word_starts[j]:word_starts[j + 1]], numbers from 0
    covered        (n,)       all False, and is so again at the end; counts (P,) likewise all 0
    used           (P, any)   bits of the words that have counted; scores (P,); both 0 before, set for touched passages after
    touched, local (P,)       passages that hold an n-gram; scratch
    """
    n_touched = 0
    for j in range(len(lows)):
        length, n_local = lengths[j], 0
        mine = places[lows[j] : highs[j]]
        if periodic[j]:
            mine = np.sort(mine)
        for i in range(len(mine)):
            place = signed(mine[i])
            free = place + length <= len(covered)  # else the file is damaged
            if not free:
                continue
            for t in range(place, place + length):
                if covered[t]:
                    free = False
                    break
            if not free:
                continue
            for t in range(place, place + length):
                covered[t] = True
            passage = signed(firsts[place >> BLOCK])
            while passage < len(begins) and begins[passage] <= place:
                if place < ends[passage]:
                    if counts[passage] == 0:
                        local[n_local] = passage
                        n_local += 1
                    counts[passage] += 1
                passage += 1
        n_words = word_starts[j + 1] - word_starts[j]
        for i in range(n_local):
            passage = signed(local[i])
            new = 0
            for w in range(word_starts[j], word_starts[j + 1]):
                cell, bit = words[w] >> 6, np.uint64(1) << np.uint64(words[w] & 63)
                new += (used[passage, cell] & bit) == 0
                used[passage, cell] |= bit
            tf = counts[passage]
            counts[passage] = 0
            saturated = tf * (k1 + 1) / (tf + k1 * (1 - b + b * sizes[passage] / average))
            if scores[passage] == 0 and n_touched < len(touched):
                touched[n_touched] = passage
                n_touched += 1
            scores[passage] += weights[j] * saturated * (1 - beta + beta * new / n_words)
    for j in range(len(lows)):
        for i in range(lows[j], highs[j]):
            place = signed(places[i])
            for t in range(place, min(place + lengths[j], len(covered))):
                covered[t] = False
    return n_touched
