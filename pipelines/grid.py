"""The grid of a tuning: which stages of a pipeline have which free parameters, and every combination of their values."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragkit.compile import map_children, parts
from ragkit.errors import InputError
from ragkit.pipelines.fusion import RRF, Fusion, Interpolate
from ragkit.pipelines.fusion.interpolate import of_alpha
from ragkit.stage import Stage

STEPS = {2: 20, 3: 10, 4: 5}
"""Parts that a whole weight is dealt out in, by number of legs; 4 for more legs."""

RRF_K = (5, 10, 20, 40, 60, 80, 100, 200)
MAX_POINTS = 5000

Axes = dict[str, list[Any]]
"""Values to try of each parameter of one stage."""

Point = tuple[dict[str, Any], ...]
"""New values of each tuned stage, in the order in which `parts` meets them."""


@dataclass(frozen=True)
class Grid:
    """What to try: the values that the caller named for parameters, or the default."""

    named: Mapping[str, list[Any]] | None

    @classmethod
    def of(cls, given: Mapping[str, Sequence[Any]] | None) -> Grid:
        """The grid that a caller named, its values as lists; None is the default. Raises InputError for values that are no list."""
        if given is None:
            return cls(None)
        lists: dict[str, list[Any]] = {}
        for name, values in given.items():
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
                raise InputError(f"the grid needs a list of values for {name!r}, got {values!r}")
            lists[name] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if {"alpha", "weights"} <= set(lists):
            raise InputError("alpha and weights say the same thing; name one of them in grid=")
        return cls(lists)

    def axes(self, stage: Stage) -> Axes:
        """The parameters of one stage that are tuned, and their values; empty for a stage that is not."""
        if self.named is None:
            if isinstance(stage, Interpolate):
                return {"weights": shares(len(stage.stages))}
            return {"k": list(RRF_K)} if isinstance(stage, RRF) else {}
        has = tunable(stage)
        found = {name: values for name, values in self.named.items() if name in has}
        if "alpha" in self.named and isinstance(stage, Fusion) and "weights" in has:
            found["weights"] = [of_alpha(alpha, len(stage.stages)) for alpha in self.named["alpha"]]
        return found

    def tunes(self, stage: Stage) -> bool:
        """Whether a stage, or one inside of it, is tuned."""
        return any(self.axes(part) for part in parts(stage))

    def points(self, pipeline: Stage) -> list[Point]:
        """Every combination for the pipeline, its own values first; raises InputError where nothing is tuned."""
        self._check(pipeline)
        targets = [stage for stage in parts(pipeline) if self.axes(stage)]
        if not targets:
            raise InputError(
                f"there is nothing to tune in {pipeline!r}; give a pipeline with interpolate(…) or rrf(…), or name parameters in grid="
            )
        own = tuple({name: getattr(stage, name) for name in self.axes(stage)} for stage in targets)
        axes = [(n, name, values) for n, stage in enumerate(targets) for name, values in self.axes(stage).items()]
        size = math.prod(len(values) for _, _, values in axes)
        if size > MAX_POINTS:
            raise InputError(f"the grid has {size} points, more than {MAX_POINTS}; name fewer values in grid=")
        every = [own]
        for combination in itertools.product(*(values for _, _, values in axes)):
            point: Point = tuple({} for _ in targets)
            for (n, name, _), value in zip(axes, combination, strict=True):
                point[n][name] = tuple(value) if isinstance(value, list) else value
            self.set(pipeline, point)  # a value that a stage refuses is refused here, before anything is retrieved
            every.append(point)
        found: dict[str, Point] = {}
        for point in every:
            found.setdefault(_key(point), point)
        return list(found.values())

    def set(self, pipeline: Stage, point: Point) -> Stage:
        """The pipeline with a point's values."""
        return self._set(pipeline, iter(point))

    def _set(self, stage: Stage, values: Iterator[dict[str, Any]]) -> Stage:
        new = next(values) if self.axes(stage) else {}
        made = map_children(stage, lambda child: self._set(child, values))
        return replace(made, **new) if new else made  # type: ignore[type-var]  # every stage with parameters is a dataclass

    def _check(self, pipeline: Stage) -> None:
        if self.named is None:
            return
        known = {name for stage in parts(pipeline) for name in tunable(stage)}
        known |= {"alpha"} if "weights" in known else set()
        for name in self.named:
            if name not in known:
                raise InputError(
                    f"no stage of the pipeline has the parameter {name!r} to tune; it has: {', '.join(sorted(known)) or 'none'}"
                )


def tunable(stage: Stage) -> tuple[str, ...]:
    """The parameters of a stage that can be tuned."""
    names: tuple[str, ...] = getattr(stage, "tunable", ())
    return names


def shares(n: int) -> list[tuple[float, ...]]:
    """Every way to deal a weight of 1 to n legs in equal steps.

    >>> shares(2)[:3]
    [(0.0, 1.0), (0.05, 0.95), (0.1, 0.9)]
    >>> len(shares(2)), len(shares(3))
    (21, 66)
    """
    steps = STEPS.get(n, 4)
    dealt = (c for c in itertools.product(range(steps + 1), repeat=n - 1) if sum(c) <= steps)
    return [(*(i / steps for i in c), (steps - sum(c)) / steps) for c in dealt]


def named(pipeline: Stage, grid: Grid, point: Point) -> dict[str, Any]:
    """A point as people read it: {"interpolate.alpha": 0.35}; stages of one name are numbered."""
    targets = [_name(stage) for stage in parts(pipeline) if grid.axes(stage)]
    many, seen = Counter(targets), Counter[str]()
    out: dict[str, Any] = {}
    for target, values in zip(targets, point, strict=True):
        seen[target] += 1
        name = f"{target}[{seen[target]}]" if many[target] > 1 else target
        for parameter, value in values.items():
            if parameter == "weights" and len(value) == 2:
                out[f"{name}.alpha"] = round(_shares(value)[0], 6)
            else:
                out[f"{name}.{parameter}"] = value
    return out


def _name(stage: Stage) -> str:
    """As the stage is written: the function of a fusion, the class of another."""
    name = type(stage).__name__
    return name.lower() if isinstance(stage, Fusion) else name


def distance(a: Point, b: Point) -> float:
    """How far apart two points are: shares by their difference, other numbers by ratio, anything else 0 or 1 a parameter."""
    return sum(_apart(value, y[name]) for x, y in zip(a, b, strict=True) for name, value in x.items())


def _apart(a: Any, b: Any) -> float:
    if isinstance(a, tuple):
        return sum(abs(x - y) for x, y in zip(_shares(a), _shares(b), strict=True)) / 2
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0
    return float(a != b)


def _shares(weights: Sequence[float]) -> tuple[float, ...]:
    whole = sum(weights)
    return tuple(w / whole for w in weights)


def _key(point: Point) -> str:
    """Equal for points that mean the same: only the proportions of weights count."""
    return repr([{n: tuple(round(s, 9) for s in _shares(v)) if n == "weights" else v for n, v in values.items()} for values in point])
