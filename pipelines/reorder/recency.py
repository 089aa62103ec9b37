"""Recency: newer documents before older ones, by an instant of their metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np

from ragkit.errors import InputError, UnknownNameError
from ragkit.join import in_order, query_of
from ragkit.pipelines.fusion.normalise import minmax
from ragkit.pipelines.reorder.keep import check_number, source_of
from ragkit.run import Run, Source
from ragkit.stage import Stage
from ragkit.types import Query

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Recency(Stage):
    """Scores become (1 - weight) * minmax(score) + weight * 2 ** (-age / half_life_days), on the scale "unit".

    field           metadata field of instants; a hit without it gets 0 for that part, one from the future 1
    half_life_days  age at which the boost has halved
    weight          share of recency in the score, from 0 to 1
    now             the instant that ages are counted to; default the query's own time, else the clock
    raises          InputError for a number out of range, a `now` without zone or a field of other values, UnknownNameError for a
                    field that the collection lacks, ScaleError for positions

    Min-max runs over each query's hits, so the weight means the same on every scale. Adding, not multiplying, keeps a good
    old document findable: its score never falls below (1 - weight) of what it was. The passage of every hit is read: cut
    deep runs first, as in ``(pipeline % 100) >> Recency(…)``.
    """

    field: str
    half_life_days: float
    weight: float = 0.2
    now: datetime | None = None
    tunable: ClassVar[tuple[str, ...]] = ("half_life_days", "weight")

    def __post_init__(self) -> None:
        check_number("Recency", "half_life_days", self.half_life_days, 0.0, above=True)
        check_number("Recency", "weight", self.weight, 0.0, 1.0)
        if self.now is not None:
            _check_zone("now", self.now)

    def apply(self, run: Run, /) -> Run:
        relevance = minmax(run)
        clock = self.now or datetime.now(UTC)
        now = [self.now or self._time(query) or clock for query in run.queries]
        written = self._written(run)
        ages = [
            np.inf if then is None else max(0.0, (now[q] - then) / _DAY) for q, then in zip(query_of(run).tolist(), written, strict=True)
        ]
        fresh = np.exp2(-np.array(ages, np.float64) / self.half_life_days)
        scores = ((1 - self.weight) * relevance + self.weight * fresh).astype(np.float32)
        return in_order(replace(run, scores=scores, scale="unit", floor=0.0))

    def _time(self, query: Query) -> datetime | None:
        if query.time is not None:
            _check_zone(f"time of query {query.id!r}", query.time)
        return query.time

    def _written(self, run: Run) -> list[datetime | None]:
        """The instant of each hit's document, (H,); each row is read once."""
        if not len(run.rows):
            return []
        source = source_of(run, "Recency")
        self._check_field(source)
        rows, inverse = np.unique(run.rows, return_inverse=True)
        found: list[datetime | None] = []
        for passage in source.passages(rows):
            value = passage.meta.get(self.field)
            if value is not None and not (isinstance(value, datetime) and value.tzinfo is not None):
                raise InputError(
                    f"field {self.field!r} of document {passage.document!r} holds {value!r}; Recency needs instants, "
                    "which are datetimes with a zone"
                )
            found.append(value)
        return [found[i] for i in inverse.tolist()]

    def _check_field(self, source: Source) -> None:
        """A field that no document has would give every hit 0 without a word."""
        fields = getattr(getattr(source, "manifest", None), "data_schema", None)
        if fields is not None and self.field not in fields:
            raise UnknownNameError.near("metadata field", self.field, fields)


def _check_zone(what: str, instant: datetime) -> None:
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise InputError(f"the {what} must be a datetime with a zone, got {instant!r}; give one, as in datetime.now(UTC)")
