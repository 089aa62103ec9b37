"""Scores a run against relevance judgements: `evaluate` gives an `Evaluation`, its means and every query's values.

A query takes part if at least one document is judged relevant to it (grade > 0); one that the run does
not answer counts as 0, as with ``trec_eval -c``. The same queries take part in every measure, in the
order of the judgements, so that values of two systems pair up query by query.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ragkit.errors import InputError
from ragkit.evaluation.formulas import Floats, Ranking, value
from ragkit.evaluation.measures import Measure, parse_measures
from ragkit.evaluation.order import Ties, ranking


class QueryCounts(NamedTuple):
    """How many queries have a relevant document, and how many of those the run has hits for."""

    judged: int
    answered: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    mean        measure → mean over the judged queries
    per_query   measure → query id → value; the same queries, in the same order, for every measure
    queries     counts of judged and answered queries
    ties        the tie rule that ordered the hits
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]
    queries: QueryCounts
    ties: Ties = "trec"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: mean, per_query, queries {judged, answered}, ties."""
        return {
            "mean": dict(self.mean),
            "per_query": {measure: dict(values) for measure, values in self.per_query.items()},
            "queries": self.queries._asdict(),
            "ties": self.ties,
        }

    def __str__(self) -> str:
        width = max(map(len, self.mean))
        return "\n".join([*(f"{measure:<{width}}  {mean:.4f}" for measure, mean in self.mean.items()), self._counts()])

    def _counts(self) -> str:
        return f"{self.queries.answered} of {self.queries.judged} judged queries answered"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(measure)}</td><td>{mean:.4f}</td></tr>" for measure, mean in self.mean.items())
        return f"<table><caption>{self._counts()}</caption><tr><th>measure</th><th>mean</th></tr>{rows}</table>"


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    measures: str | Measure | Sequence[str | Measure],
    *,
    ties: Ties = "trec",
) -> Evaluation:
    """Score a run against judgements.

    qrels      query id → document id → grade, a whole number; 0 and below is not relevant
    run        query id → document id → score, higher is better; queries without judgements are left out
    measures   names such as "nDCG@10", "R@100", "P(rel=2)@5" (`parse_measure` lists them), or Measures
    ties       "trec": as trec_eval orders hits, so that figures equal its own; "given": equal scores keep the run's order
    raises     InputError for judgements without any relevant document, a NaN score, an id that is no string;
               UnknownNameError for a measure

    >>> print(evaluate({"q1": {"d1": 1}, "q2": {"d2": 1}}, {"q1": {"d9": 2.0, "d1": 1.0}}, ["RR@10", "P@1"]))
    RR@10  0.2500
    P@1    0.0000
    1 of 2 judged queries answered
    """
    wanted = parse_measures(measures)
    per_query: dict[str, dict[str, float]] = {str(measure): {} for measure in wanted}
    _check_queries("qrels", qrels)
    _check_queries("run", run)
    answered = 0
    for query, judgements in qrels.items():
        pool = _grades(query, judgements)
        if not (pool > 0).any():
            continue
        hits = run.get(query, {})
        answered += bool(hits)
        seen = _seen(judgements, ranking(query, hits, ties), pool)
        for measure in wanted:
            per_query[str(measure)][query] = value(measure, seen)
    judged = len(next(iter(per_query.values())))
    if not judged:
        raise InputError(f"the qrels hold {len(qrels)} queries and no relevant document (grade > 0): there is nothing to average over")
    mean = {measure: float(np.mean(list(values.values()))) for measure, values in per_query.items()}
    return Evaluation(mean, per_query, QueryCounts(judged, answered), ties)


def _seen(judgements: Mapping[str, int], documents: list[str], pool: Floats) -> Ranking:
    """The ranked documents as their grades."""
    grades = np.array([judgements.get(document, 0) for document in documents], dtype=np.float64)
    judged = np.array([document in judgements for document in documents], dtype=np.bool_)
    return Ranking(grades, judged, pool)


def _grades(query: str, judgements: Mapping[str, int]) -> Floats:
    """(J,) grades of one query's judged documents."""
    try:
        pool = np.fromiter(judgements.values(), dtype=np.float64, count=len(judgements))
    except (TypeError, ValueError) as exc:
        raise InputError(f"query {query!r} has a grade that is no number ({exc}): give whole numbers") from exc
    whole = np.isfinite(pool) & (pool == np.floor(pool))
    if not whole.all():
        document = list(judgements)[int(np.argmin(whole))]
        raise InputError(f"document {document!r} of query {query!r} has the grade {judgements[document]!r}: grades must be whole numbers")
    return pool


def _check_queries(what: str, queries: Mapping[str, object]) -> None:
    """Ids of another type never meet those of the other side: every value would be 0 without a word."""
    for query in queries:
        if not isinstance(query, str):
            raise InputError(f"the {what} hold the query id {query!r}: ids must be strings, convert them with str()")
