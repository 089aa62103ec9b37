"""What every fusion has in common: legs, their weights, and sums that do not depend on the legs' order.

A leg is a stage of a fusion. Each retrieves to its own depth: a cut-off behind a fusion is never moved into its legs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.join import Joined, join
from ragkit.run import Run
from ragkit.stage import Stage


@dataclass(frozen=True, repr=False)
class Fusion(Stage):
    """Two or more stages on the same run, made one run by `fuse`; `tunable` names the parameters that `ragkit.tune` may choose."""

    stages: tuple[Stage, ...]
    tunable: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        name = type(self).__name__.lower()
        for stage in self.stages:
            if not isinstance(stage, Stage):
                raise InputError(f"{name} takes stages, got {type(stage).__name__}; {_hint(name, stage)}")
        if len(self.stages) < 2:
            raise InputError(f"{name} needs at least two stages, got {len(self.stages)}; give one a retriever, as in {name}(a, b)")

    def apply(self, run: Run, /) -> Run:
        return self.fuse(join(*(stage(run) for stage in self.stages)), run)

    def fuse(self, legs: Joined, before: Run) -> Run:
        """The fused run of the legs' runs, which all started from `before`."""
        raise TypeError(f"{type(self).__name__} is no fusion: it defines no fuse(legs, before)")

    def _named(self, *settings: str) -> str:
        return f"{type(self).__name__.lower()}({', '.join([*map(repr, self.stages), *settings])})"


def _hint(name: str, given: object) -> str:
    if isinstance(given, str):
        return f"write Retrieve({given!r})"
    if isinstance(getattr(given, "stage", None), Stage):
        return f"bind the whole: {name}(a, b).on(collection)"
    return f"write {name}(a, b)"


def check_weights(weights: Iterable[float], n: int) -> tuple[float, ...]:
    """The weights as floats, one for each of n legs: finite, at least 0, and one of them above."""
    try:
        made = tuple(float(w) for w in weights)
    except (TypeError, ValueError) as exc:
        raise InputError(f"weights must be numbers, one a stage, got {weights!r}") from exc
    if len(made) != n:
        raise InputError(f"{len(made)} weights were given for {n} stages; give one a stage")
    if not all(math.isfinite(w) and w >= 0 for w in made) or not any(made):
        raise InputError(f"weights must be finite numbers of at least 0, one of them above 0, got {made}")
    return made


def found_by(legs: Joined, weights: Sequence[float]) -> NDArray[np.bool_]:
    """(P,) whether a leg of weight above 0 has the pair: a leg of weight 0 adds no hits."""
    found: NDArray[np.bool_] = np.any([legs.found(n) for n, w in enumerate(weights) if w > 0], axis=0)
    return found


def total(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """(P,) sum over the legs' parts, smallest first, so that it is the same bit for bit in any order of the legs."""
    stacked = np.stack(parts)
    return np.asarray((np.sort(stacked, axis=0) if len(parts) > 2 else stacked).sum(axis=0), np.float32)
