"""Fisher's randomisation test for paired values: could the two systems have swapped roles query by query?

If both systems are equally good, the sign of each query's difference is a coin toss. The p-value is the share of
all 2^n sign patterns whose mean difference is at least as far from 0 as the observed one (Fisher, The Design of
Experiments, 1935, section 21; Smucker, Allan & Carterette, CIKM 2007). Up to `EXACT` differences other than 0 the
patterns are counted, exactly; beyond that they are drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import InputError, ShapeError

EXACT = 32
"""Differences other than 0 up to which the p-value is exact."""

_BLOCK = 1 << 20  # signs drawn at once


def randomization_test(differences: ArrayLike, *, draws: int = 10_000, seed: int = 7) -> float:
    """Two-sided p-value of the hypothesis that the differences are as likely to have the other sign.

    differences  (N,)  value of one system less that of the other, one a query; differences of 0 change nothing
    draws        sign patterns drawn where there are more than `EXACT` differences other than 0; then
                 p = (1 + #{|mean_b| >= |mean|}) / (draws + 1), the observed pattern being one of them
    seed         of the draws; equal seeds give equal values
    returns      in (0, 1]; 1 for a single query and where all differences are 0: nothing can be told from them
    raises       InputError for no differences, one that is NaN or infinite, or draws below 1; ShapeError for a table
    cost         exact: O(2^(n/2) n) for n differences other than 0; drawn: O(draws N)

    >>> randomization_test([0.1, 0.2, 0.3])  # of 8 patterns only +++ and --- are as far from 0
    0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeError(f"differences must be one-dimensional, got the shape {values.shape}")
    if not len(values):
        raise InputError("a randomisation test needs at least one difference, got none")
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        raise InputError(f"differences[{at}] is {values[at]}: drop it or give it a number")
    if draws < 1:
        raise InputError(f"draws must be >= 1, got {draws}")
    values = values[values != 0]
    tolerance = 1e-12 * float(np.abs(values).sum())  # sums of the same values in another order differ in the last bits
    observed = abs(float(values.sum()))
    if observed <= tolerance:
        return 1.0
    threshold = observed - tolerance
    if len(values) <= EXACT:
        return float(2 * _above(values, threshold) / 2 ** len(values))  # a pattern and its mirror image are equally far from 0
    return (1 + _drawn(values, threshold, draws, seed)) / (draws + 1)


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2^n,) sums of the values under all their sign patterns."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums


def _above(values: NDArray[np.float64], threshold: float) -> int:
    """How many sign patterns have a sum of at least the threshold: each half's sums once, the pairs by bisection."""
    half = len(values) // 2
    left, right = _sums(values[:half]), np.sort(_sums(values[half:]))
    return int((len(right) - np.searchsorted(right, threshold - left, side="left")).sum())


def _drawn(values: NDArray[np.float64], threshold: float, draws: int, seed: int) -> int:
    """How many of the drawn sign patterns have a sum of at least the threshold, in either direction."""
    generator, n, total, count = np.random.default_rng(seed), len(values), float(values.sum()), 0
    rows = max(1, _BLOCK // n)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        bits = np.unpackbits(generator.integers(0, 256, (size, (n + 7) // 8), np.uint8), axis=1, count=n)
        sums = 2 * (bits @ values) - total  # a sign stays where its bit is 1 and turns where it is 0
        count += int((np.abs(sums) >= threshold).sum())
    return count
