"""Small parts of the reordering stages: dropping hits, the run's source, checked numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.join import query_of
from ragkit.run import Run, Source


def keep_hits(run: Run, keep: NDArray[np.bool_]) -> Run:
    """The run with only the hits to keep, (H,), in their order."""
    counts = np.bincount(query_of(run)[keep], minlength=len(run))
    return run.take(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), np.flatnonzero(keep))


def source_of(run: Run, stage: str) -> Source:
    """What resolves the run's rows; raises InputError where there is nothing."""
    if run.source is None:
        raise InputError(f"{stage} needs the passages of the hits; bind the pipeline with .on(collection)")
    return run.source


def check_number(stage: str, name: str, value: float, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> None:
    """Raise InputError unless a value is a finite number from low (or, with above, above it) to high."""
    number = not isinstance(value, bool) and isinstance(value, int | float | np.number) and math.isfinite(value)
    if number and (value > low if above else value >= low) and value <= high:
        return
    wanted = f"above {low:g}" if above else f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
    raise InputError(f"{name} of {stage} must be a finite number{'' if low == -math.inf else ' ' + wanted}, got {value!r}")
