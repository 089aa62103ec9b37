"""Counts of which token follows which two: a table that forgets the rarest, and the most probable ways to go on by it."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import F32_2D, I32, I32_2D, I64, READ_F32, READ_F32_2D, READ_I32, READ_I32_2D, READ_I64

_PROBES = 32
"""Slots that are looked at for a pair; where all are taken by others, it is not counted."""


@nb.njit(cache=True, nogil=True)
def _slot(first: int, second: int, keys: NDArray[np.int64]) -> int:
    """Where a pair of tokens is counted, or would be; -1 where there is no room."""
    key = (first + 1) << 32 | second
    mask = len(keys) - 1
    at = ((key ^ (key >> 29)) * 0x9E3779B97F4A7C1) & mask
    for _ in range(_PROBES):
        if keys[at] == key or keys[at] < 0:
            return at
        at = (at + 1) & mask
    return -1


@nb.njit(nb.void(READ_I32, READ_F32, I64, I32_2D, F32_2D), cache=True, nogil=True)
def count(
    grams: NDArray[np.int32], weights: NDArray[np.float32], keys: NDArray[np.int64], tokens: NDArray[np.int32], counts: NDArray[np.float32]
) -> None:
    """Count tri-grams, and for each the bi-gram that it ends with.

    grams    int32 (3 G,)    three tokens each
    weights  float32 (G,)
    keys     int64 (2^any,)  in and out: the pairs; -1 where free
    tokens   int32 (S, K)    in and out: what follows each pair
    counts   float32 (S, K)  in and out: how often; 0 where free. Where all are taken, the new token and the others give way to one another
             as Misra & Gries, Finding repeated elements, 1982, have it
    """
    for g in range(len(weights)):
        for order in range(2):
            first = grams[3 * g] if order == 0 else -1
            slot = _slot(first, grams[3 * g + 1], keys)
            if slot < 0:
                continue
            if keys[slot] < 0:
                keys[slot] = (np.int64(first) + 1) << 32 | grams[3 * g + 1]
                counts[slot, :] = 0
            least = 0
            found = False
            for k in range(counts.shape[1]):
                if counts[slot, k] > 0 and tokens[slot, k] == grams[3 * g + 2]:
                    counts[slot, k] += weights[g]
                    found = True
                    break
                if counts[slot, k] < counts[slot, least]:
                    least = k
            if found:
                continue
            given = min(weights[g], counts[slot, least])
            counts[slot, :] -= given
            if weights[g] > given:
                tokens[slot, least], counts[slot, least] = grams[3 * g + 2], weights[g] - given


@nb.njit(
    nb.int64(nb.int64, nb.int64, READ_I64, READ_I32_2D, READ_F32_2D, nb.int64, I32, I32, nb.types.Array(nb.float64, 1, "C")),
    cache=True,
    nogil=True,
)
def most_probable(
    first: int,
    second: int,
    keys: NDArray[np.int64],
    tokens: NDArray[np.int32],
    counts: NDArray[np.float32],
    depth: int,
    out: NDArray[np.int32],
    parents: NDArray[np.int32],
    shares: NDArray[np.float64],
) -> int:
    """The paths behind two tokens that are the most probable, as a tree; how many nodes it has.

    A pair that was never counted goes on as its second token does.

    keys, tokens, counts  see `count`
    out, parents          int32 (T,)   output: nodes, the most probable path first
    shares                float64 (T,) output: of each node among what follows its parent
    """
    room = 1 + len(out) * counts.shape[1]
    token, parent, level = np.empty(room, np.int32), np.full(room, -1, np.int32), np.zeros(room, np.int32)
    p, share, place = np.zeros(room), np.zeros(room), np.full(room, -1, np.int32)
    token[0], p[0], n, made = second, 1.0, 1, 0
    while True:
        best = -1
        for i in range(n):
            if p[i] > 0 and (best < 0 or p[i] > p[best]):
                best = i
        if best < 0:
            return made
        here = p[best]
        p[best] = 0.0
        if best > 0:
            out[made], parents[made], shares[made] = token[best], place[parent[best]], share[best]
            place[best] = made
            made += 1
            if made == len(out):
                return made
        if level[best] == depth:
            continue
        before = first if best == 0 else token[parent[best]]
        slot = _slot(before, token[best], keys)
        if slot < 0 or keys[slot] < 0:
            slot = _slot(-1, token[best], keys)
            if slot < 0 or keys[slot] < 0:
                continue
        total = counts[slot].sum()
        for k in range(counts.shape[1]):
            if counts[slot, k] > 0:
                token[n], parent[n], level[n] = tokens[slot, k], best, level[best] + 1
                share[n] = counts[slot, k] / total
                p[n] = here * share[n]
                n += 1
