"""Theoretical bounds of scores: the least and the most that a scale, and a question, allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ScaleError
from ragkit.run import Run
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.bm25.searcher import BM25Searcher

Floats = NDArray[np.float64]

_ROUNDING = 1e-3
"""Share of the range by which a score may lie outside of it: float32 dot products of unit vectors do."""


def score_bounds(run: Run) -> tuple[Floats, Floats]:
    """(Q,) lower and upper bound of each query's scores.

    cosine       -1 and 1; of a sum or multiple, what its floor says
    prob, unit   0 and 1
    bm25         0 and the sum over the question's terms of the most that each can contribute; where that is not known
                 (scores that were weighted or summed, or come from another index), the query's highest score
    raises       ScaleError for a scale without bounds, and for scores outside of theirs
    """
    n = len(run)
    if run.scale == "cosine":
        floor = -1.0 if run.floor is None else run.floor
        lower, upper = np.full(n, floor), np.full(n, -floor)
    elif run.scale in ("prob", "unit"):
        lower, upper = np.zeros(n), np.ones(n)
    elif run.scale == "bm25":
        return np.zeros(n), _bm25_upper(run)
    elif run.scale == "none":
        return np.zeros(n), np.ones(n)
    else:
        raise ScaleError(f"scores on the scale {run.scale!r} have no known bounds; normalise them with 'minmax' or 'zscore'")
    if len(run.scores):
        slack = _ROUNDING * float(upper[0] - lower[0])
        if run.scores.max() > upper[0] + slack or run.scores.min() < lower[0] - slack:
            raise ScaleError(
                f"scores from {run.scores.min():.4g} to {run.scores.max():.4g} lie outside the bounds {lower[0]:.4g} and {upper[0]:.4g} "
                f"of the scale {run.scale!r}; normalise before weighting, or use 'minmax'"
            )
    return lower, upper


def _bm25_upper(run: Run) -> Floats:
    known = _searcher(run)
    if known is not None:
        return bm25_upper(known, run.queries)
    highest = np.append(run.scores.astype(np.float64), 0.0)
    return highest[np.where(np.diff(run.indptr) > 0, run.indptr[:-1], len(run.scores))]


def _searcher(run: Run) -> BM25Searcher | None:
    """The index that gave these very scores, if they are untouched."""
    open_index = getattr(run.source, "searcher", None)
    if open_index is None or len(run.legs) != 1:
        return None
    ((name, own),) = run.legs.items()
    if not np.array_equal(own, run.scores):
        return None
    from ragkit.indexes.bm25.searcher import BM25Searcher  # compiled kernels: loaded where an index is open anyway

    searcher = open_index(name)
    return searcher if isinstance(searcher, BM25Searcher) else None


def bm25_upper(searcher: BM25Searcher, queries: Sequence[Query]) -> Floats:
    """(Q,) the most that any row could score: a row that repeats each term without end in no length."""
    from ragkit.indexes.bm25.weights import DELTAS

    spec = searcher.spec
    delta = spec.delta if spec.delta is not None else DELTAS.get(spec.method, 0.0)
    saturated = {"lucene": 1.0, "robertson": 1.0, "plus": spec.k1 + 1 + delta}.get(spec.method, spec.k1 + 1)
    return np.array([saturated * sum(max(0.0, w * searcher.idf(t)) for t, w in searcher.terms_of(q).items()) for q in queries], np.float64)
