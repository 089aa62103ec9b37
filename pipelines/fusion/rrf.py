"""Reciprocal rank fusion: each leg gives a hit w / (k + rank), and a hit's score is the sum.

Cormack, Clarke & Büttcher, SIGIR 2009. Only ranks count, so any scales may be combined, positions included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ragkit.errors import InputError
from ragkit.join import Joined, place_of
from ragkit.pipelines.fusion.legs import Fusion, check_weights, found_by, total
from ragkit.run import Run
from ragkit.stage import Stage


@dataclass(frozen=True, repr=False)
class RRF(Fusion):
    """The stage that `rrf` returns."""

    k: float
    weights: tuple[float, ...]
    tunable: ClassVar[tuple[str, ...]] = ("k", "weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.k, bool) or not isinstance(self.k, int | float | np.number) or not (math.isfinite(self.k) and self.k >= 0):
            raise InputError(f"k of rrf must be a number of at least 0, got {self.k!r}")
        object.__setattr__(self, "weights", check_weights(self.weights, len(self.stages)))

    def fuse(self, legs: Joined, before: Run) -> Run:
        ranks = [place_of(leg).astype(np.float64) + 1 for leg in legs.runs]
        parts = [legs.spread(n, weight / (self.k + ranks[n]), 0.0) for n, weight in enumerate(self.weights)]
        return legs.run(total(parts), scale="rrf", floor=0.0, before=before, keep=found_by(legs, self.weights))

    def __repr__(self) -> str:
        equal = all(w == 1.0 for w in self.weights)
        return self._named(f"k={self.k}", *([] if equal else [f"weights={self.weights}"]))


def rrf(*stages: Stage, k: float = 60, weights: Sequence[float] | None = None) -> RRF:
    """Reciprocal rank fusion of two or more stages.

    k        how slowly the worth of a rank falls; 60 is the paper's
    weights  one a stage, at least 0; default 1 each; a stage of weight 0 adds no hits
    returns  a stage on the scale "rrf": Σ w / (k + rank), rank from 1; a stage that lacks a row gives it 0
    raises   InputError for fewer than two stages, a bad k or bad weights

    The result is the same for any order of the stages, and for any strictly increasing change of a stage's scores.

    >>> from ragkit import Retrieve
    >>> rrf(Retrieve("bm25"), Retrieve("dense"), weights=(2, 1))
    rrf(Retrieve('bm25', k=1000), Retrieve('dense', k=1000), k=60, weights=(2.0, 1.0))
    """
    return RRF(stages, k, tuple(weights) if weights is not None else (1.0,) * len(stages))
