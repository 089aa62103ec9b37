"""Stages and their algebra: pipelines are frozen trees that print, compare and hash.

======================  ==========================================================================
``a >> b``              b receives a's run; associative, `Identity()` on both sides
``a % k``               the first k hits of each query; ``(a % k) % m == a % min(k, m)``
``w * a``               scores times w > 0; the floor too
``a + b``               sum of scores; a row absent from one side takes that side's floor
``a | b``, ``a & b``    union keeping the larger score, intersection keeping the smaller: a lattice
``a ^ b``               a's ranking, then what only b found; scale "rank"
======================  ==========================================================================

``+``, ``|`` and ``&`` need equal scales. Python's precedence is part of the contract: ``*`` and ``%``
bind above ``+``, then ``>>``, ``&``, ``^``, ``|``; `repr` prints the tree as it was parsed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ScaleError
from ragkit.join import Joined, in_order, join, reports
from ragkit.run import Run, StageReport

if TYPE_CHECKING:
    from ragkit.bound import Bound, Searchable


def check_k(k: int, name: str = "k") -> int:
    """k itself, if it is a whole number of at least 1; name is what the message calls it."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got {k!r}")
    return int(k)


class Stage:
    """Base of every stage: owns the operators; a subclass is a frozen dataclass that defines `apply`."""

    reports: ClassVar[bool] = True  # False for nodes that only arrange others, which report themselves

    def apply(self, run: Run, /) -> Run:
        """What the stage does to a run."""
        raise TypeError(f"{type(self).__name__} is no stage: it defines no apply(run)")

    def __call__(self, run: Run, /) -> Run:
        """`apply`, with its time and counts added to the run's report."""
        start = time.perf_counter()
        out = self.apply(run)
        if not self.reports:
            return out
        seen = StageReport(repr(self), time.perf_counter() - start, len(out), len(out.rows))
        return replace(out, report=(*out.report, seen))

    def __rshift__(self, other: Stage) -> Stage:
        return Then.of(self, as_stage(other, ">>"))

    def __mod__(self, k: int) -> Stage:
        return Cut(self, check_k(k))

    def __rmul__(self, weight: float) -> Stage:
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise InputError(f"a weight must be a finite number above 0, got {weight!r}")
        return Weighted(self, float(weight))

    def __add__(self, other: Stage) -> Stage:
        return Sum(self, as_stage(other, "+"))

    def __or__(self, other: Stage) -> Stage:
        return Union(self, as_stage(other, "|"))

    def __and__(self, other: Stage) -> Stage:
        return Intersection(self, as_stage(other, "&"))

    def __xor__(self, other: Stage) -> Stage:
        return Concatenation(self, as_stage(other, "^"))

    def on(self, collection: Searchable) -> Bound:
        """This pipeline over one collection, ready to be called with questions."""
        from ragkit.bound import Bound  # which compiles stages, and so stands above this file

        return Bound(self, collection)


def as_stage(value: object, operator: str) -> Stage:
    """The value itself, if it is a stage."""
    if not isinstance(value, Stage):
        hint = "; bind the whole: (a >> b).on(collection)" if isinstance(getattr(value, "stage", None), Stage) else ""
        raise InputError(f"the right side of {operator} must be a stage, got {type(value).__name__}{hint}")
    return value


@dataclass(frozen=True, repr=False)
class Identity(Stage):
    """Hands its run on as it is."""

    reports = False

    def apply(self, run: Run, /) -> Run:
        return run

    def __repr__(self) -> str:
        return "Identity()"


@dataclass(frozen=True, repr=False)
class Retrieve(Stage):
    """Fills each query with the k best hits of one named index of the run's collection."""

    index: str
    k: int = 1000

    def __post_init__(self) -> None:
        check_k(self.k)

    def apply(self, run: Run, /) -> Run:
        search = getattr(run.source, "search_index", None)
        if search is None:
            raise InputError(f"Retrieve({self.index!r}) needs a collection; bind the pipeline with .on(collection)")
        scale, (indptr, rows, scores) = search(self.index, run.queries, k=self.k)
        return run.fill(indptr, rows, scores, scale=scale, leg=self.index)

    def __repr__(self) -> str:
        return f"Retrieve({self.index!r}, k={self.k})"


@dataclass(frozen=True, repr=False)
class Then(Stage):
    """a >> b >> …; nested sequences are flattened, so that equal pipelines are equal objects."""

    stages: tuple[Stage, ...]
    reports = False

    @classmethod
    def of(cls, *stages: Stage) -> Stage:
        """The flattened sequence; identities vanish."""
        flat: list[Stage] = []
        for stage in stages:
            flat.extend(stage.stages if isinstance(stage, Then) else [stage])
        flat = [s for s in flat if not isinstance(s, Identity)]
        return flat[0] if len(flat) == 1 else cls(tuple(flat)) if flat else Identity()

    def apply(self, run: Run, /) -> Run:
        for stage in self.stages:
            run = stage(run)
        return run

    def __repr__(self) -> str:
        return "(" + " >> ".join(map(repr, self.stages)) + ")"


@dataclass(frozen=True, repr=False)
class Cut(Stage):
    """The first k hits of each query."""

    stage: Stage
    k: int
    reports = False

    def apply(self, run: Run, /) -> Run:
        return self.stage(run).cut(self.k)

    def __repr__(self) -> str:
        inner = f"({self.stage!r})" if isinstance(self.stage, Weighted) else repr(self.stage)
        return f"{inner} % {self.k}"


@dataclass(frozen=True, repr=False)
class Weighted(Stage):
    """Scores and floor times a positive weight."""

    stage: Stage
    weight: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError(f"a weight must be a finite number above 0, got {self.weight}")

    def apply(self, run: Run, /) -> Run:
        out = self.stage(run)
        if out.scale == "rank":
            raise ScaleError("positions (scale 'rank') can't be weighted; use rank fusion")
        scores = (out.scores * np.float32(self.weight)).astype(np.float32)
        return in_order(replace(out, scores=scores, floor=None if out.floor is None else out.floor * self.weight))

    def __repr__(self) -> str:
        inner = f"({self.stage!r})" if isinstance(self.stage, Cut) else repr(self.stage)
        return f"{self.weight!r} * {inner}"


@dataclass(frozen=True, repr=False)
class Pair(Stage):
    """Two stages on the same run, joined row by row."""

    left: Stage
    right: Stage
    symbol = "?"

    def both(self, run: Run) -> tuple[Run, Run, Joined]:
        """Both sides' runs and their join, checked to be of one source and one scale."""
        a, b = self.left(run), self.right(run)
        joined = join(a, b)
        if a.scale != b.scale or a.scale == "rank":
            raise ScaleError(
                f"{self.symbol} needs two runs on one scale that adds, got {a.scale!r} and {b.scale!r}; normalise both, "
                "use rank fusion, or ^ to put one after the other"
            )
        return a, b, joined

    def __repr__(self) -> str:
        return f"({self.left!r} {self.symbol} {self.right!r})"


class Sum(Pair):
    """Sum of both scores over the union of rows."""

    symbol = "+"

    def apply(self, run: Run, /) -> Run:
        a, b, joined = self.both(run)
        if a.floor is None or b.floor is None:
            raise ScaleError(
                f"scores on the scale {a.scale!r} don't add: they have no floor for a row that one side lacks; use rank fusion"
            )
        scores = joined.spread(0, a.scores, a.floor) + joined.spread(1, b.scores, b.floor)
        return joined.run(scores, scale=a.scale, floor=a.floor + b.floor, before=run)


class Union(Pair):
    """Union of rows, keeping the larger score."""

    symbol = "|"

    def apply(self, run: Run, /) -> Run:
        a, b, joined = self.both(run)
        scores = np.maximum(joined.spread(0, a.scores, -np.inf), joined.spread(1, b.scores, -np.inf))
        return joined.run(scores, scale=a.scale, floor=_both(max, a.floor, b.floor), before=run)


class Intersection(Pair):
    """Rows that both sides found, keeping the smaller score."""

    symbol = "&"

    def apply(self, run: Run, /) -> Run:
        a, b, joined = self.both(run)
        scores = np.minimum(joined.spread(0, a.scores, 0.0), joined.spread(1, b.scores, 0.0))
        keep = joined.found(0) & joined.found(1)
        return joined.run(scores, scale=a.scale, floor=_both(min, a.floor, b.floor), before=run, keep=keep)


class Concatenation(Pair):
    """The left ranking, then what only the right side found; scores become positions."""

    symbol = "^"

    def apply(self, run: Run, /) -> Run:
        a, b = self.left(run), self.right(run)
        a.same_source(b)
        rows: list[NDArray[np.int64]] = []
        legs: dict[str, list[NDArray[np.float32]]] = {name: [] for name in (*a.legs, *(n for n in b.legs if n not in a.legs))}
        for q in range(len(a)):
            at, bt = a.hits_of(q), b.hits_of(q)
            only = ~np.isin(b.rows[bt], a.rows[at])
            rows.append(np.concatenate((a.rows[at], b.rows[bt][only])))
            for name, parts in legs.items():
                parts.append(np.concatenate((_leg(a, name, at), _leg(b, name, bt)[only])))
        lengths = [len(r) for r in rows]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        empty = np.zeros(0, np.int64)
        scores = np.concatenate([-np.arange(n, dtype=np.float32) for n in lengths] or [empty.astype(np.float32)])
        out = a.fill(indptr, np.concatenate(rows or [empty]), scores, scale="rank")
        return replace(out, legs={n: np.concatenate(p) for n, p in legs.items()} if rows else {}, report=reports(run, (a, b)))


def _both(pick: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else pick(a, b)


def _leg(run: Run, name: str, at: slice) -> NDArray[np.float32]:
    return run.legs[name][at] if name in run.legs else np.full(at.stop - at.start, np.nan, np.float32)
