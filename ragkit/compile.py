"""Rewrites of a pipeline that keep its result: cut-offs move into retrievers, shared parts run once.

Every rewrite is a law of `stage.py` and is tested as one: the compiled pipeline gives the same run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any

from ragkit.errors import InputError
from ragkit.run import Run
from ragkit.stage import Cut, Retrieve, Stage, Then


@dataclass(frozen=True, repr=False)
class Shared(Stage):
    """A sub-pipeline that occurs more than once: remembers its output for the run it saw last."""

    stage: Stage
    memo: list[tuple[Run, Run]] = field(default_factory=list, compare=False)
    reports = False

    def apply(self, run: Run, /) -> Run:
        if not (self.memo and self.memo[0][0] is run):
            self.memo[:] = [(run, self.stage(run))]
        return self.memo[0][1]

    def __repr__(self) -> str:
        return repr(self.stage)


def compile_pipeline(stage: Stage) -> Stage:
    """The pipeline with cut-offs pushed down and repeated sub-pipelines shared; for one call, by one thread."""
    pushed = push_cuts(stage)
    try:
        seen = Counter(parts(pushed))
    except TypeError as exc:
        raise InputError(f"{exc}: a stage must be hashable; make it a dataclass(frozen=True) of hashable values") from exc
    return _share(pushed, {s: Shared(s) for s, times in seen.items() if times > 1})


def push_cuts(stage: Stage) -> Stage:
    """Move every ``% k`` as near to the retrievers as its laws allow."""
    inner = map_children(stage, push_cuts)
    if not isinstance(inner, Cut):
        return inner
    below, k = inner.stage, inner.k
    if isinstance(below, Cut):
        return push_cuts(Cut(below.stage, min(k, below.k)))
    if isinstance(below, Retrieve):
        return replace(below, k=min(k, below.k))
    if isinstance(below, Then):
        return Then.of(*below.stages[:-1], push_cuts(Cut(below.stages[-1], k)))
    return inner  # not into a join: its sides' own scores (legs) of the hits that stay would be lost


def children(stage: Stage) -> Iterator[Stage]:
    """The stages that a stage holds, in the order of its fields."""
    held: tuple[Field[Any], ...] = fields(stage) if is_dataclass(stage) else ()
    for f in held:
        value = getattr(stage, f.name)
        if isinstance(value, Stage):
            yield value
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Stage))


def parts(stage: Stage) -> Iterator[Stage]:
    """The stage and all that it is made of, outermost first."""
    yield stage
    for child in children(stage):
        yield from parts(child)


def map_children(stage: Stage, change: Callable[[Stage], Stage]) -> Stage:
    """The stage with each child changed."""
    if next(children(stage), None) is None:
        return stage
    new: dict[str, object] = {}
    for f in fields(stage):  # type: ignore[arg-type]
        value = getattr(stage, f.name)
        if isinstance(value, Stage):
            new[f.name] = change(value)
        elif isinstance(value, tuple) and any(isinstance(v, Stage) for v in value):
            new[f.name] = tuple(change(v) if isinstance(v, Stage) else v for v in value)
    return replace(stage, **new)  # type: ignore[type-var]


def _share(stage: Stage, shared: dict[Stage, Shared]) -> Stage:
    if stage in shared:
        return shared[stage]
    return map_children(stage, lambda child: _share(child, shared))
