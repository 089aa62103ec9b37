"""Plots of evaluations, drawn with matplotlib: a measure against latency, and the scores of relevant and other hits.

matplotlib is loaded when a plot is asked for. The figures belong to no window and to no global state: save one with
``figure.savefig("plot.png")``, on a machine without a screen too; a notebook shows it after ``%matplotlib inline``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragkit.errors import InputError
from ragkit.evaluation.comparison import Comparison
from ragkit.evaluation.measures import parse_measure
from ragkit.registry import need
from ragkit.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_latency(comparison: Comparison, measure: str | None = None, *, percentile: str = "p50") -> Figure:
    """Each system as a point: the latency of a query (x, milliseconds) and a measure with its 95 % interval (y).

    measure     one of the comparison's; the first unless one is named
    percentile  "p50", "p95" or "p99"
    returns     a matplotlib Figure; systems without a latency, such as ready runs, are left out
    raises      InputError where no system has a latency, or for another percentile
    """
    if percentile not in ("p50", "p95", "p99"):
        raise InputError(f'percentile must be "p50", "p95" or "p99", got {percentile!r}')
    name = comparison.measures[0] if measure is None else str(parse_measure(measure))
    if name not in comparison.measures:
        raise InputError(f"the comparison has no {name}: it has {', '.join(comparison.measures)}")
    timed = [s for s in comparison.systems.values() if s.latency is not None]
    if not timed:
        raise InputError("no system of this comparison has a latency: compare pipelines, with repeats of at least 1")
    figure, axes = _figure("a plot of latency")
    for system in timed:
        score, x = system.scores[name], getattr(system.latency, percentile)
        low, high = score.interval
        axes.errorbar([x], [score.mean], yerr=[[max(score.mean - low, 0.0)], [max(high - score.mean, 0.0)]], fmt="o", label=system.name)
        axes.annotate(system.name, (x, score.mean), xytext=(6, 4), textcoords="offset points")
    axes.set_xscale("log")
    axes.margins(x=0.2)  # room for the names
    axes.set_xlabel(f"{percentile} of one query, milliseconds")
    axes.set_ylabel(name)
    return figure


def plot_scores(run: Run | Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]], *, bins: int = 30) -> Figure:
    """Histogram of the scores of relevant hits (grade > 0) and of all others, over the queries that are judged.

    run      a Run, or query id → document id → score; a document counts once, by its best passage
    bins     number of bins, the same for both
    returns  a matplotlib Figure; each histogram is scaled to an area of 1, as there are far more other hits
    raises   InputError if no judged query has a hit
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise InputError(f"bins must be a whole number of at least 1, got {bins!r}")
    table = run.to_dict() if isinstance(run, Run) else run
    relevant: list[float] = []
    others: list[float] = []
    for query, grades in qrels.items():
        for document, score in table.get(query, {}).items():
            (relevant if grades.get(document, 0) > 0 else others).append(float(score))
    if not relevant and not others:
        raise InputError("no judged query has a hit in this run: check that both use the same query ids")
    figure, axes = _figure("a histogram of scores")
    span = (min(relevant + others), max(relevant + others))
    for scores, label in ((others, "other"), (relevant, "relevant")):
        if scores:
            axes.hist(scores, bins=bins, range=span, density=True, alpha=0.6, label=f"{label} ({len(scores)})")
    axes.set_xlabel(f"score ({run.scale})" if isinstance(run, Run) else "score")
    axes.set_ylabel("density")
    axes.legend()
    return figure


def _figure(what: str) -> tuple[Figure, Any]:
    figure: Figure = need("matplotlib.figure", extra="viz", why=what).Figure(figsize=(6, 4), layout="constrained")
    return figure, figure.add_subplot()
