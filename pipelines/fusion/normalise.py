"""Normalisation: a leg's scores of each query brought to a common range.

A hit's normalised value depends only on its leg and query. Hits that all score the same get 1.0 under "minmax" and
"zscore": they were found, and a formula that divides by a spread of nothing must not make them equal to rows that were not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ScaleError, UnknownNameError
from ragkit.pipelines.fusion.bounds import score_bounds
from ragkit.run import Run

Floats = NDArray[np.float64]


def minmax(run: Run) -> Floats:
    """(H,) (score - lowest) / (highest - lowest) of each query's hits, in [0, 1]; 1.0 where all are the same.

    raises  ScaleError for positions, InputError for infinite scores
    """
    low, high = _extremes(run)
    return _linear(run, low, high)


def zscore(run: Run) -> Floats:
    """(H,) (score - mean) / standard deviation of each query's hits; 1.0 where all are the same. Raises as `minmax`."""
    low, high = _extremes(run)
    counts = np.diff(run.indptr)
    filled = np.maximum(counts, 1)
    query = np.repeat(np.arange(len(run)), counts)
    scores = run.scores.astype(np.float64)
    mean = np.bincount(query, scores, len(run)) / filled
    off = scores - mean[query]
    deviation = np.sqrt(np.bincount(query, off * off, len(run)) / filled)
    same = low == high
    out: Floats = np.where(same[query], 1.0, off / np.where(same, 1.0, deviation)[query])
    return out


def bounds(run: Run) -> Floats:
    """(H,) (score - lower) / (upper - lower) with the theoretical bounds of the scale, in [0, 1]; see `score_bounds`."""
    _extremes(run)
    lower, upper = score_bounds(run)
    return np.clip(_linear(run, lower, upper), 0.0, 1.0)


NORMALISE: dict[str, Callable[[Run], Floats]] = {"minmax": minmax, "zscore": zscore, "bounds": bounds}
SCALES: dict[str, tuple[str, float | None]] = {"minmax": ("unit", 0.0), "zscore": ("zscore", None), "bounds": ("unit", 0.0)}
"""Scale and floor of a weighted mean of values that were normalised so."""


def _min(run: Run, values: Floats) -> Floats:
    low, high = _ends(run, values)
    return np.where(low < high, low, 0.0)


def _zero(run: Run, values: Floats) -> Floats:
    return np.zeros(len(run), np.float64)


MISSING: dict[str, Callable[[Run, Floats], Floats]] = {"min": _min, "zero": _zero, "drop": _zero}
"""(Q,) what a row that a leg lacks is worth to it, from the leg's normalised values."""


def check_choice(what: str, given: str, known: dict[str, Callable[..., Floats]]) -> None:
    """Raise UnknownNameError unless a name is known."""
    if given not in known:
        raise UnknownNameError.near(what, given, known)


def _linear(run: Run, low: Floats, high: Floats) -> Floats:
    counts = np.diff(run.indptr)
    width = np.where(low < high, high - low, 1.0)
    scaled = (run.scores.astype(np.float64) - np.repeat(low, counts)) / np.repeat(width, counts)
    out: Floats = np.where(np.repeat(low < high, counts), scaled, 1.0)
    return out


def _extremes(run: Run) -> tuple[Floats, Floats]:
    """(Q,) lowest and highest score of each query; 0 for one without hits."""
    if run.scale == "rank":
        raise ScaleError("positions (scale 'rank') are no amounts that could be normalised; fuse them with rrf, which takes ranks")
    if not np.isfinite(run.scores).all():
        raise InputError("scores must be finite to be normalised, got an infinite one; fuse such runs with rrf, or drop those hits")
    return _ends(run, run.scores.astype(np.float64))


def _ends(run: Run, values: Floats) -> tuple[Floats, Floats]:
    """(Q,) last and first value of each query, which are the lowest and highest by the law of order; 0 for one without hits."""
    padded = np.append(values, 0.0)
    empty = np.diff(run.indptr) == 0
    first, last = (np.where(empty, len(values), at) for at in (run.indptr[:-1], run.indptr[1:] - 1))
    return padded[last], padded[first]
