"""Two statistics over per-question values: how well a score separates right from wrong, and how sure a mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import InputError, ShapeError


def auroc(scores: ArrayLike, labels: Sequence[bool] | Sequence[int] | NDArray[np.bool_]) -> float:
    """Probability that a random positive scores above a random negative; a tie counts half.

    scores   (N,)  higher means more likely positive
    labels   (N,)  truth: bool, or 0 and 1
    returns  area under the ROC curve in [0, 1]; 0.5 is chance
    raises   ShapeError if the lengths differ, InputError for NaN, other labels or only one class
    cost     O(N log N)
    source   Mann & Whitney, Annals of Mathematical Statistics 18, 1947: U over the number of pairs

    >>> auroc([0.9, 0.4, 0.4, 0.1], [1, 1, 0, 0])  # pairs won: 1, 1, 1/2, 1 of 4
    0.875
    """
    values, truth = _numbers("scores", scores), np.asarray(labels)
    if truth.shape != values.shape:
        raise ShapeError(f"auroc needs one label for each score, got {values.shape} scores and {truth.shape} labels")
    if not np.isin(truth, (0, 1)).all():
        raise InputError("the labels of auroc must be bools, or 0 and 1")
    truth = truth.astype(np.bool_)
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    if not n_positive or not n_negative:
        raise InputError(f"auroc needs both classes, got {n_positive} positive and {n_negative} negative labels")
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # mean rank, from 1, of each group of equal scores
    wins = float(ranks[truth].sum()) - n_positive * (n_positive + 1) / 2
    return wins / (n_positive * n_negative)


def bootstrap_interval(values: ArrayLike, *, seed: int = 7, resamples: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    values     (N,)  one value a question
    seed       of the resampling; equal seeds give equal intervals
    resamples  number of samples of size N drawn with replacement
    level      share of the resampled means that lies within, in (0, 1)
    returns    (low, high)
    raises     InputError for no values, one that is not finite, or a parameter out of range; ShapeError for a table
    source     Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3

    >>> bootstrap_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    sample = _numbers("values", values)
    if not np.isfinite(sample).all():
        raise InputError("an interval of the mean needs finite values, got an infinite one")
    if not len(sample):
        raise InputError("a bootstrap interval needs at least one value, got none")
    if resamples < 1:
        raise InputError(f"resamples must be >= 1, got {resamples}")
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level}")
    generator = np.random.default_rng(seed)
    means = [float(sample[generator.integers(len(sample), size=len(sample))].mean()) for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _numbers(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """(N,) float64 without NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeError(f"{what} must be one-dimensional, got the shape {array.shape}")
    if np.isnan(array).any():
        raise InputError(f"{what}[{int(np.argmax(np.isnan(array)))}] is NaN: drop it or give it a number")
    return array
