"""Interpolation: the weighted mean of the legs' normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.join import Joined
from ragkit.pipelines.fusion.legs import Fusion, check_weights, found_by, total
from ragkit.pipelines.fusion.normalise import MISSING, NORMALISE, SCALES, check_choice
from ragkit.run import Run
from ragkit.stage import Stage


@dataclass(frozen=True, repr=False)
class Interpolate(Fusion):
    """The stage that `interpolate` returns."""

    weights: tuple[float, ...]
    normalise: str
    missing: str
    tunable: ClassVar[tuple[str, ...]] = ("weights", "normalise", "missing")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "weights", check_weights(self.weights, len(self.stages)))
        check_choice("normalisation", self.normalise, NORMALISE)
        check_choice("policy for missing rows", self.missing, MISSING)

    def fuse(self, legs: Joined, before: Run) -> Run:
        shares = np.array(self.weights) / sum(self.weights)
        parts = [share * self._values(legs, n) for n, share in enumerate(shares)]
        keep = found_by(legs, self.weights)
        if self.missing == "drop":
            keep = np.all([legs.found(n) for n, w in enumerate(self.weights) if w > 0], axis=0)
        scale, floor = SCALES[self.normalise]
        return legs.run(total(parts), scale=scale, floor=floor, before=before, keep=keep)

    def _values(self, legs: Joined, n: int) -> NDArray[np.float64]:
        """(P,) what leg n gives to each pair."""
        leg = legs.runs[n]
        values = NORMALISE[self.normalise](leg)
        absent = MISSING[self.missing](leg, values)
        return np.where(legs.found(n), legs.spread(n, values, 0.0), absent[legs.query])

    def __repr__(self) -> str:
        weights = f"alpha={self.weights[0]}" if len(self.weights) == 2 and sum(self.weights) == 1 else f"weights={self.weights}"
        return self._named(weights, f"normalise={self.normalise!r}", f"missing={self.missing!r}")


def interpolate(
    *stages: Stage,
    alpha: float | None = None,
    weights: Sequence[float] | None = None,
    normalise: str = "minmax",
    missing: str = "min",
) -> Interpolate:
    """The weighted mean of two or more stages' scores, each normalised within the hits of a query.

    alpha      weight of the first of two stages, from 0 to 1; the second has 1 - alpha; default 0.5
    weights    in place of alpha: one a stage, at least 0; only their proportions count; default equal.
               A stage of weight 0 adds no hits, so that alpha 0 and 1 give one stage's own ranking
    normalise  "minmax": lowest hit 0, highest 1;
               "zscore": mean 0, standard deviation 1;
               "bounds": from the least to the most that the scale allows (cosine -1 to 1, prob and unit 0 to 1,
               bm25 0 to what the question's terms can contribute at most)
    missing    what a row counts that a stage lacks: "min", the lowest of the stage's normalised scores (0 where they are all the
               same); "zero"; or "drop", which keeps only rows that all stages have
    returns    a stage on the scale "unit", or "zscore", which has no floor and so does not add
    raises     InputError for fewer than two stages or bad weights, UnknownNameError for a method; when it runs, ScaleError for
               positions, and with "bounds" for scores that have none

    The hits of a stage that all score the same count 1.0 with "minmax" and "zscore": one hit is not erased.

    >>> from ragkit import Retrieve
    >>> interpolate(Retrieve("bm25"), Retrieve("dense"), alpha=0.25)
    interpolate(Retrieve('bm25', k=1000), Retrieve('dense', k=1000), alpha=0.25, normalise='minmax', missing='min')
    """
    if alpha is not None:
        weights = of_alpha(alpha, len(stages), weights)
    elif weights is None:
        weights = (1 / max(1, len(stages)),) * len(stages)
    return Interpolate(stages, tuple(weights), normalise, missing)


def of_alpha(alpha: float, n: int, weights: Sequence[float] | None = None) -> tuple[float, float]:
    """The weights of two stages that alpha stands for; raises InputError for another number of stages or besides weights."""
    if weights is not None:
        raise InputError("alpha and weights say the same thing; give one of them")
    if n != 2:
        raise InputError(f"alpha weighs two stages and {n} were given; give weights=(…), one a stage")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not 0 <= alpha <= 1:
        raise InputError(f"alpha must be a number from 0 to 1, got {alpha!r}")
    return float(alpha), 1 - float(alpha)
