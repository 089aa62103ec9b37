"""A pipeline bound to a collection: call it with questions, combine it with others of the same collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragkit.compile import compile_pipeline
from ragkit.errors import InputError
from ragkit.run import Run, Source
from ragkit.stage import Stage, as_stage
from ragkit.types import Query


class Searchable(Protocol):
    """What a pipeline can be bound to: a collection, by its current snapshot."""

    @property
    def version(self) -> Source: ...


@dataclass(frozen=True)
class Bound:
    """A pipeline over a collection: call it with questions. Operators combine pipelines of one collection."""

    stage: Stage
    collection: Searchable

    def __call__(self, queries: str | Query | Sequence[str | Query]) -> Run:
        """The run of these questions in the collection's current snapshot."""
        return compile_pipeline(self.stage)(Run.of(queries, self.collection.version))

    def _with(self, other: Any, operator: str) -> Stage:
        if isinstance(other, Bound):
            if other.collection is not self.collection:
                raise InputError(f"{operator} combines pipelines of one collection; bind both to the same object")
            return other.stage
        return as_stage(other, operator)

    def __rshift__(self, other: Any) -> Bound:
        return Bound(self.stage >> self._with(other, ">>"), self.collection)

    def __mod__(self, k: int) -> Bound:
        return Bound(self.stage % k, self.collection)

    def __rmul__(self, weight: float) -> Bound:
        return Bound(weight * self.stage, self.collection)

    def __add__(self, other: Any) -> Bound:
        return Bound(self.stage + self._with(other, "+"), self.collection)

    def __or__(self, other: Any) -> Bound:
        return Bound(self.stage | self._with(other, "|"), self.collection)

    def __and__(self, other: Any) -> Bound:
        return Bound(self.stage & self._with(other, "&"), self.collection)

    def __xor__(self, other: Any) -> Bound:
        return Bound(self.stage ^ self._with(other, "^"), self.collection)
