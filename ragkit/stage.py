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
from ragkit.run import Run, StageReport, order

if TYPE_CHECKING:
    from ragkit.bound import Bound, Searchable


def check_k(k: int) -> int:
    """k itself, if it is a whole number of at least 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number of at least 1, got {k!r}")
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
        return _sorted(replace(out, scores=scores, floor=None if out.floor is None else out.floor * self.weight))

    def __repr__(self) -> str:
        inner = f"({self.stage!r})" if isinstance(self.stage, Cut) else repr(self.stage)
        return f"{self.weight!r} * {inner}"


@dataclass(frozen=True, repr=False)
class Pair(Stage):
    """Two stages on the same run, joined row by row."""

    left: Stage
    right: Stage
    symbol = "?"

    def both(self, run: Run) -> tuple[Run, Run]:
        """Both sides' runs, checked to be of one source and one scale."""
        a, b = self.left(run), self.right(run)
        a.same_source(b)
        if a.scale != b.scale or a.scale == "rank":
            raise ScaleError(
                f"{self.symbol} needs two runs on one scale that adds, got {a.scale!r} and {b.scale!r}; normalise both, "
                "use rank fusion, or ^ to put one after the other"
            )
        return a, replace(b, report=_reports(run, a, b))

    def __repr__(self) -> str:
        return f"({self.left!r} {self.symbol} {self.right!r})"


class Sum(Pair):
    """Sum of both scores over the union of rows."""

    symbol = "+"

    def apply(self, run: Run, /) -> Run:
        a, b = self.both(run)
        if a.floor is None or b.floor is None:
            raise ScaleError(
                f"scores on the scale {a.scale!r} don't add: they have no floor for a row that one side lacks; use rank fusion"
            )
        joined = _join(a, b)
        left = np.where(joined.in_a, joined.score_a, np.float32(a.floor))
        right = np.where(joined.in_b, joined.score_b, np.float32(b.floor))
        return joined.run(a, b, (left + right).astype(np.float32), floor=a.floor + b.floor)


class Union(Pair):
    """Union of rows, keeping the larger score."""

    symbol = "|"

    def apply(self, run: Run, /) -> Run:
        a, b = self.both(run)
        joined = _join(a, b)
        left = np.where(joined.in_a, joined.score_a, np.float32(-np.inf))
        right = np.where(joined.in_b, joined.score_b, np.float32(-np.inf))
        return joined.run(a, b, np.maximum(left, right), floor=_both(max, a.floor, b.floor))


class Intersection(Pair):
    """Rows that both sides found, keeping the smaller score."""

    symbol = "&"

    def apply(self, run: Run, /) -> Run:
        a, b = self.both(run)
        joined = _join(a, b)
        lower = np.minimum(joined.score_a, joined.score_b)
        return joined.run(a, b, lower, floor=_both(min, a.floor, b.floor), keep=joined.in_a & joined.in_b)


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
        return replace(out, legs={n: np.concatenate(p) for n, p in legs.items()} if rows else {}, report=_reports(run, a, b))


def _both(pick: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else pick(a, b)


def _reports(run: Run, a: Run, b: Run) -> tuple[StageReport, ...]:
    """Both sides' reports on top of what had happened before they ran."""
    return (*a.report, *b.report[len(run.report) :])


def _leg(run: Run, name: str, at: slice) -> NDArray[np.float32]:
    return run.legs[name][at] if name in run.legs else np.full(at.stop - at.start, np.nan, np.float32)


@dataclass(frozen=True)
class _Joined:
    """Union of two runs' (query, row) pairs, with each side's score and position."""

    query: NDArray[np.int64]
    row: NDArray[np.int64]
    in_a: NDArray[np.bool_]
    in_b: NDArray[np.bool_]
    at_a: NDArray[np.int64]
    at_b: NDArray[np.int64]
    score_a: NDArray[np.float32]
    score_b: NDArray[np.float32]

    def run(self, a: Run, b: Run, scores: NDArray[np.float32], *, floor: float | None, keep: NDArray[np.bool_] | None = None) -> Run:
        """The joined run with these scores, in order; only the pairs to keep, if given."""
        by = np.lexsort((self.row, -scores, self.query))
        if keep is not None:
            by = by[keep[by]]
        counts = np.bincount(self.query[by], minlength=len(a))
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        legs: dict[str, NDArray[np.float32]] = {}
        for name in dict.fromkeys((*a.legs, *b.legs)):
            both = [
                np.where(inside, side.legs[name][at] if len(side.rows) else np.float32(np.nan), np.float32(np.nan))
                for side, inside, at in ((a, self.in_a, self.at_a), (b, self.in_b, self.at_b))
                if name in side.legs
            ]
            legs[name] = (both[0] if len(both) == 1 else np.fmax(both[0], both[1])).astype(np.float32)[by]
        return replace(a, indptr=indptr, rows=self.row[by], scores=scores[by], floor=floor, legs=legs, report=b.report)


def _join(a: Run, b: Run) -> _Joined:
    qa, qb = (np.repeat(np.arange(len(r)), np.diff(r.indptr)) for r in (a, b))
    pairs = np.stack((np.concatenate((qa, qb)), np.concatenate((a.rows, b.rows))), axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    n = len(unique)
    at_a, at_b = np.zeros(n, np.int64), np.zeros(n, np.int64)
    in_a, in_b = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    at_a[inverse[: len(qa)]], at_b[inverse[len(qa) :]] = np.arange(len(qa)), np.arange(len(qb))
    in_a[inverse[: len(qa)]], in_b[inverse[len(qa) :]] = True, True
    zeros = np.zeros(n, np.float32)
    score_a = np.where(in_a, a.scores[at_a] if len(a.rows) else zeros, zeros).astype(np.float32)
    score_b = np.where(in_b, b.scores[at_b] if len(b.rows) else zeros, zeros).astype(np.float32)
    query, row = (unique[:, 0], unique[:, 1]) if n else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    return _Joined(query, row, in_a, in_b, at_a, at_b, score_a, score_b)


def _sorted(run: Run) -> Run:
    """The run with each query's hits put in order again (a weight can make float32 scores tie)."""
    hits = [order(run.scores[at], run.rows[at]) + at.start for at in map(run.hits_of, range(len(run)))]
    return run.take(run.indptr, np.concatenate(hits).astype(np.int64)) if hits else run
