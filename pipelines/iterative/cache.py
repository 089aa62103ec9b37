"""The local cache of one request: rows that its searches have returned, asked in place of the index.

A row has the score that the index gives it, and the order of rows is the same. So the best row of all, where it is in the
cache, is the cache's best: it is the best of more rows than these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragkit.protocols import RowScorer
from ragkit.types import Query

NOTHING = -1
"""In place of a row: no passage."""


class PassageCache:
    """Rows of an index, none twice; they are kept until the request ends."""

    def __init__(self, searcher: RowScorer) -> None:
        self._searcher = searcher
        self.rows: NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Take rows in."""
        self.rows = np.union1d(self.rows, rows)

    def best(self, query: Query) -> int:
        """The best of the rows for a resolved query, NOTHING where a search would return none of them. cost: that of their scores"""
        return best_row(self._searcher, query, self.rows)


def best_row(searcher: RowScorer, query: Query, rows: NDArray[np.int64]) -> int:
    """The best of some rows, in ascending order, by the law of order; NOTHING where none has a score."""
    if not len(rows):
        return NOTHING
    scores = searcher.score_rows(query, rows)
    first = int(np.argmax(scores))  # of equal scores the first, which is that of the lowest row
    return int(rows[first]) if scores[first] > -np.inf else NOTHING
