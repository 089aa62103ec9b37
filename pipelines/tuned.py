"""What `tune` found: the refitted pipeline, and the figures to judge it by."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragkit.stage import Stage

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Fold:
    """One fold: how many queries it holds, what was chosen without them, and their mean with that choice."""

    queries: int
    parameters: Parameters
    mean: float


@dataclass(frozen=True)
class Tuned:
    """The result of `ragkit.tune`.

    pipeline         the pipeline with the parameters that are best on all queries
    measure          the measure that was maximised
    queries          how many queries took part
    parameters       what was chosen, by stage and name: {"interpolate.alpha": 0.35}
    cross_validated  mean over all queries, each scored by parameters that were chosen without it: the figure to report
    untuned          mean of the pipeline as it was given
    legs             mean of each stage that goes into a tuned fusion, on its own
    fitted           mean of `pipeline` on the queries that it was fitted to; too high to report
    folds            one entry a fold
    points           every point of the grid with its mean on all queries
    """

    pipeline: Stage
    measure: str
    queries: int
    parameters: Parameters
    cross_validated: float
    untuned: float
    legs: Mapping[str, float]
    fitted: float
    folds: tuple[Fold, ...]
    points: tuple[tuple[Parameters, float], ...]

    @property
    def gain(self) -> float:
        """Cross-validated mean less the mean of the pipeline as given; at 0 or below, tuning did not help."""
        return self.cross_validated - self.untuned

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: all but the pipeline object, which is given as it prints."""
        return {
            "pipeline": repr(self.pipeline),
            "measure": self.measure,
            "queries": self.queries,
            "parameters": dict(self.parameters),
            "cross_validated": self.cross_validated,
            "untuned": self.untuned,
            "legs": dict(self.legs),
            "fitted": self.fitted,
            "folds": [{"queries": f.queries, "parameters": dict(f.parameters), "mean": f.mean} for f in self.folds],
            "points": [{"parameters": dict(parameters), "mean": mean} for parameters, mean in self.points],
        }

    def _lines(self) -> list[tuple[str, float]]:
        return [
            *((f"{leg} alone", mean) for leg, mean in self.legs.items()),
            ("as given", self.untuned),
            ("tuned, cross-validated", self.cross_validated),
            ("tuned, on the queries it was fitted to", self.fitted),
        ]

    def _advice(self) -> str:
        return "" if self.gain > 0 else "; tuning did not help here, keep the pipeline as it was given"

    def _choices(self) -> str:
        times = Counter(describe(f.parameters) for f in self.folds)
        return "; ".join(f"{choice} in {n} of {len(self.folds)} folds" for choice, n in times.most_common())

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self._lines())
        return "\n".join(
            [
                f"{self.measure}, {self.queries} queries, {len(self.points)} points",
                *(f"{name:<{width}}  {mean:.4f}" for name, mean in self._lines()),
                f"gain over the pipeline as given: {self.gain:+.4f}{self._advice()}",
                f"chosen on all queries: {describe(self.parameters)}",
                f"chosen without a fold: {self._choices()}",
                f"pipeline: {self.pipeline!r}",
            ]
        )

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td style='text-align:left'>{html.escape(n)}</td><td>{mean:.4f}</td></tr>" for n, mean in self._lines())
        chosen = " ".join(
            [
                f"Gain over the pipeline as given: {self.gain:+.4f}{self._advice()}.",
                f"Chosen on all queries: {describe(self.parameters)}.",
                f"Chosen without a fold: {self._choices()}.",
            ]
        )
        return (
            f"<table><caption>{html.escape(self.measure)}, {self.queries} queries</caption><tr><th></th><th>mean</th></tr>{rows}</table>"
            f"<p>{html.escape(chosen)}</p>"
            f"<pre>{html.escape(repr(self.pipeline))}</pre>"
        )


def describe(parameters: Parameters) -> str:
    """The parameters in one line.

    >>> describe({"interpolate.alpha": 0.35, "interpolate.normalise": "minmax"})
    "interpolate.alpha = 0.35, interpolate.normalise = 'minmax'"
    """
    return ", ".join(f"{name} = {value!r}" for name, value in parameters.items())
