"""Impacts of one part under the statistics of one snapshot, computed term by term when a question first needs them.

They live as long as the searcher that holds them, so a new snapshot, whose mean length may be another, never meets old
ones. Memory: 4 bytes a posting of the terms that were asked for, and 1.3 bytes a row for each frequent one among them.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.kernels.impacts import BLOCK, RANKS, SHIFTED_L, fill_column, weigh

FREQUENT = 32
"""A term in at least one of so many rows gets a column."""
_SMALLEST = 256  # rows that hold a term of a column
_LARGE = 1e9  # a k1 from which on impacts vanish in float32


class Derived(NamedTuple):
    """What `ragkit.indexes.kernels.search.search_part` takes of a part besides its postings.

    values        float32 (P,)
    ranked        float32 (V, ranks)   impacts at some ranks of each list, see `RANKS`
    column_of     int32 (V,)           -1 where a list has no column
    tops          float32 (C,)
    columns       uint8 (C, N rounded up to blocks)
    block_tops    uint8 (C, blocks rounded up to 64)
    held          uint64 (C, blocks, 2)
    """

    values: NDArray[np.float32]
    ranked: NDArray[np.float32]
    column_of: NDArray[np.int32]
    tops: NDArray[np.float32]
    columns: NDArray[np.uint8]
    block_tops: NDArray[np.uint8]
    held: NDArray[np.uint64]


class Impacts:
    """What is derived from a part's postings; safe to share between threads.

    bounded   whether every impact is well above 0, so that bounds on them make sense
    """

    def __init__(self, postings: Postings, avgdl: float, k1: float, b: float, kind: int, delta: float) -> None:
        n_rows, n_terms = len(postings.lengths), len(postings.terms)
        self._postings, self._settings = postings, (avgdl, k1, b, kind, delta)
        self.bounded = k1 < _LARGE and not (kind == SHIFTED_L and k1 == 0)
        self._from = max(_SMALLEST, n_rows // FREQUENT) if self.bounded else n_rows + 1
        self._ready = np.zeros(n_terms, np.bool_)
        self._lock = Lock()
        self._n_columns = 0
        blocks = -(-n_rows // BLOCK)
        self._derived = Derived(
            np.empty(len(postings.rows), np.float32), np.zeros((n_terms, len(RANKS)), np.float32), np.full(n_terms, -1, np.int32),
            np.zeros(0, np.float32), np.zeros((0, blocks * BLOCK), np.uint8), np.zeros((0, -(-blocks // BLOCK) * BLOCK), np.uint8),
            np.zeros((0, blocks, 2), np.uint64),
        )  # fmt: skip

    def prepare(self, lists: NDArray[np.int64] | None = None) -> Derived:
        """What is derived, with all that some lists need, or all lists."""
        lists = np.arange(len(self._ready)) if lists is None else lists
        if not self._ready[lists].all():
            with self._lock:
                self._fill(np.unique(lists[~self._ready[lists]]))
        return self._derived

    def _fill(self, lists: NDArray[np.int64]) -> None:
        postings, derived = self._postings, self._derived
        indptr, rows = postings.indptr, postings.rows
        weigh(lists, indptr, rows, postings.tfs, postings.lengths, *self._settings, derived.values, derived.ranked)
        frequent = lists[indptr[lists + 1] - indptr[lists] >= self._from]
        if self._n_columns + len(frequent) > len(derived.tops):
            derived = self._derived = self._with_room(max(self._n_columns + len(frequent), self._n_columns * 3 // 2))
        for number in frequent.tolist():
            at = self._n_columns
            derived.tops[at] = fill_column(
                int(indptr[number]), int(indptr[number + 1]), rows, derived.values, derived.columns[at], derived.block_tops[at],
                derived.held[at],
            )  # fmt: skip
            self._n_columns += 1
            derived.column_of[number] = at
        self._ready[lists] = True

    def _with_room(self, n: int) -> Derived:
        """Arrays of n columns that begin with those there are: searches under way keep the arrays that they have."""
        return self._derived._replace(**{name: _longer(getattr(self._derived, name), n) for name in _PER_COLUMN})


_PER_COLUMN = ("tops", "columns", "block_tops", "held")


def _longer(array: NDArray[Any], n: int) -> NDArray[Any]:
    made = np.zeros((n, *array.shape[1:]), array.dtype)
    made[: len(array)] = array
    return made
