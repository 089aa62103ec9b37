"""The nearest entries of a datastore by squared Euclidean distance, exact, of equally distant ones those of lower number first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.halves import distances_to_halves, nearest_halves
from ragkit.indexes.kernels.topk import sort_heaps


class Neighbours(NamedTuple):
    """The k nearest entries of Q queries.

    distances  float64 (Q, k)   squared Euclidean ones, ascending
    entries    int64 (Q, k)     by number
    """

    distances: NDArray[np.float64]
    entries: NDArray[np.int64]


def nearest(queries: NDArray[np.float32], halves: NDArray[np.int16], k: int) -> Neighbours:
    """The k nearest rows of float16, whatever is asked beside.

    queries  (Q, D)
    halves   (N, D), the bits of the rows
    k        from 1 to N
    cost     O(Q N D)
    """
    out = Neighbours(np.empty((len(queries), k)), np.empty((len(queries), k), np.int64))
    open_, wanted = np.arange(len(queries)), min(len(halves), k + k // 16 + 8)
    while len(open_):  # once, but where more rows than were fetched are nearly as far as the last
        asked = np.ascontiguousarray(queries[open_])
        rough, rows = np.empty((len(open_), wanted), np.float32), np.empty((len(open_), wanted), np.int64)
        nearest_halves(asked, halves, rough, rows)
        sort_heaps(rough, rows, np.full(len(open_), wanted))
        found = ranked(asked, halves, rows, k)
        # whatever was not fetched is at least as far as the last that was, give or take rounding
        beyond = -rough[:, -1].astype(np.float64) * (1 - _rounding(queries.shape[1]))
        settled = found.distances[:, -1] < beyond if wanted < len(halves) else np.ones(len(open_), np.bool_)
        for part, new in zip(out, found, strict=True):
            part[open_[settled]] = new[settled]
        open_, wanted = open_[~settled], min(len(halves), 2 * wanted)
    return out


def ranked(queries: NDArray[np.float32], halves: NDArray[np.int16], rows: NDArray[np.int64], k: int) -> Neighbours:
    """The k nearest of each query's candidates (Q, C), C >= k; a candidate of -1 is none, and infinitely far."""
    distances = np.empty(rows.shape)
    distances_to_halves(queries, halves, rows, distances)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1))


def _rounding(dim: int) -> float:
    """How far a float32 sum of squared differences may be off, in relation."""
    return (dim + 8) * float(np.finfo(np.float32).eps)
