"""The local cache of one text: entries that its searches have found and those behind them, asked in place of the datastore.

What follows a neighbour of one context is most often near the next context, so the entries behind it are taken in as well. Entries
have the distances that the datastore gives them; where all true neighbours are in the cache, it finds just them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragkit.pipelines.knn_lm.datastore import TokenDatastore
from ragkit.pipelines.knn_lm.neighbours import Neighbours, nearest

ROOM = 8192
"""Entries of a cache: as many are read in a fraction of a step of a small language model."""


class EntryCache:
    """Entries of a datastore, none twice; of more than there is room for, those that came first leave.

    kept         nearest neighbours of each search that are taken in
    consecutive  entries behind each that are taken in too
    """

    def __init__(self, datastore: TokenDatastore, *, kept: int, consecutive: int, room: int = ROOM) -> None:
        self._datastore, self._kept, self._behind = datastore, kept, np.arange(consecutive + 1)
        self._halves = np.empty((room, datastore.halves.shape[1]), np.int16)
        self._entries = np.full(room, -1, np.int64)
        self._next = self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, entries: NDArray[np.int64]) -> None:
        """Take in the neighbours (Q, k) of some queries, the nearest first."""
        near = (entries[:, : self._kept, None] + self._behind).reshape(-1)
        near = np.unique(near[near < len(self._datastore)])
        new = np.setdiff1d(near, self._entries[: self._n], assume_unique=True)[-len(self._entries) :]
        at = (self._next + np.arange(len(new))) % len(self._entries)
        self._entries[at], self._halves[at] = new, self._datastore.halves[new]
        self._next, self._n = (self._next + len(new)) % len(self._entries), min(len(self._entries), self._n + len(new))

    def search(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """As `TokenDatastore.search`, of the entries in the cache; there is one at least."""
        found = nearest(queries, self._halves[: self._n], min(k, self._n))
        entries = self._entries[found.entries]
        order = np.lexsort((entries, found.distances), axis=1)
        return Neighbours(found.distances, np.take_along_axis(entries, order, axis=1))
