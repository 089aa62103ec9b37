"""Compare retrieval systems on the same queries: `ragkit.compare`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.bound import Searchable
from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation.comparison import SAME, Comparison, Difference, QueryTotals, Score, SystemScores
from ragkit.evaluation.documents import Documents
from ragkit.evaluation.evaluation import evaluate
from ragkit.evaluation.holm import holm
from ragkit.evaluation.latency import TIMED, measure_latency
from ragkit.evaluation.measures import Measure, parse_measures
from ragkit.evaluation.randomization import randomization_test
from ragkit.evaluation.statistics import bootstrap_interval
from ragkit.evaluation.systems import GivenSystem, Rankings, System, as_system, check_documents
from ragkit.progress import Progress, track
from ragkit.run import Run
from ragkit.stage import check_k
from ragkit.types import Query

Qrels = Mapping[str, Mapping[str, int]]


def compare(
    systems: Mapping[str, GivenSystem],
    queries: Mapping[str, str] | Sequence[Query] | None,
    qrels: Qrels,
    measures: str | Measure | Sequence[str | Measure] = ("nDCG@10", "R@100"),
    *,
    baseline: str | None = None,
    on: Searchable | None = None,
    k: int = 1000,
    drop_self: bool = False,
    repeats: int = 1,
    seed: int = 7,
    alpha: float = 0.05,
    progress: Progress = False,
) -> Comparison:
    """Run several systems on the same queries and measure them side by side.

    systems    name → a pipeline bound with `.on(collection)`; a stage, or the name of an index or pipeline, with
               `on=collection`; a Run; or a dict {query id: {document id: score}}
    queries    query id → text, or Query objects; None takes those of the qrels, where all systems are ready runs
    qrels      query id → document id → grade; a query without a document of grade > 0 is not compared
    measures   as for `evaluate`
    baseline   the system that the others are compared with; the first unless named
    on         the collection of the systems that are not bound
    k          depth of the rankings, in documents; a document counts by its best passage
    drop_self  leave out, at the retrievers, the document whose id is the query's id
    repeats    timed passes of single-query calls, over at most 200 queries; 0 measures no latency
    seed       of the bootstrap, of the randomisation test and of the choice of queries that are timed
    alpha      level at which a difference is marked as significant, after Holm's correction over all (system, measure) pairs
    returns    a Comparison: print it, `to_dict()`, `per_query(measure)`, `wins(system, measure)`, `losses(…)`
    raises     InputError for a system that is no pipeline and no run, pipelines over different documents, no query with a
               relevant document, or a parameter out of range; UnknownNameError for a measure, index, pipeline or baseline

    >>> qrels, queries = {"1": {"a": 1}, "2": {"b": 1}}, {"1": "first", "2": "second"}
    >>> good, bad = {"1": {"a": 2.0, "b": 1.0}, "2": {"b": 1.0}}, {"1": {"b": 2.0, "a": 1.0}, "2": {"b": 1.0}}
    >>> found = compare({"bad": bad, "good": good}, queries, qrels, ["RR@10"])
    >>> found.systems["good"].scores["RR@10"].mean, found.wins("good")[0].query
    (1.0, '1')
    """
    wanted = parse_measures(measures)
    first = _check(systems, baseline, k, repeats, alpha)
    made = [as_system(name, given, on, k=k, drop_self=drop_self) for name, given in systems.items()]
    check_documents(made)
    given = _queries(queries, qrels, made)
    judged = [q for q in given if _relevant(q.id, qrels.get(q.id, {}))]
    if not judged:
        raise InputError(
            f"none of the {len(given)} queries has a relevant document (grade > 0) in the qrels of {len(qrels)} queries: "
            "check that both use the same query ids"
        )
    totals = QueryTotals(len(judged), len(given) - len(judged), sum(_relevant(q, g) for q, g in qrels.items()) - len(judged))
    compared = {q.id: qrels[q.id] for q in judged}

    searches = {s.name: s.search for s in made if s.search is not None}
    timed = min(len(judged), TIMED) * repeats
    rankings: dict[str, Rankings] = {}
    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    with track("comparing", len(made) * len(judged) + len(searches) * timed, progress) as tracker:
        for system in made:
            if system.search is None:
                rankings[system.name] = system.ready or {}
                if system.run is not None:
                    runs[system.name] = system.run
            else:
                start = time.perf_counter()
                runs[system.name] = system.search(judged)
                seconds[system.name] = time.perf_counter() - start
                rankings[system.name] = runs[system.name].to_dict()
            tracker.advance(len(judged))
        latencies = measure_latency(searches, judged, repeats=repeats, seed=seed, tick=tracker.advance) if repeats else {}

    evaluations = {s.name: evaluate(compared, rankings[s.name], wanted) for s in made}
    values = {name: {m: np.array(list(v.values())) for m, v in e.per_query.items()} for name, e in evaluations.items()}
    scores = _scores(values, first, seed)
    documents = Documents([on.version if on else None, *(s.source for s in made)])
    cutoffs = {m.cutoff for m in wanted if m.cutoff is not None}
    return Comparison(
        systems={
            s.name: SystemScores(
                s.name,
                s.description,
                scores[s.name],
                evaluations[s.name],
                latencies.get(s.name),
                seconds.get(s.name),
                _tied(rankings[s.name], compared, cutoffs),
            )
            for s in made
        },
        baseline=first,
        queries={q.id: q.text for q in judged},
        qrels=compared,
        totals=totals,
        missing_documents=documents.missing(d for grades in compared.values() for d, grade in grades.items() if grade > 0),
        settings={"k": k, "drop_self": drop_self, "repeats": repeats, "seed": seed, "alpha": alpha},
        rankings=rankings,
        runs=runs,
        documents=documents,
    )


def _check(systems: Mapping[str, GivenSystem], baseline: str | None, k: int, repeats: int, alpha: float) -> str:
    """The baseline's name; raises for a parameter out of range."""
    check_k(k)
    if not isinstance(systems, Mapping) or not systems or not all(isinstance(name, str) for name in systems):
        raise InputError('name each system: compare({"bm25": …, "hybrid": …}, queries, qrels, measures)')
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 0:
        raise InputError(f"repeats must be a whole number of at least 0, got {repeats!r}")
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, got {alpha}")
    first = next(iter(systems)) if baseline is None else baseline
    if first not in systems:
        raise UnknownNameError.near("system", first, systems)
    return first


def _queries(queries: Mapping[str, str] | Sequence[Query] | None, qrels: Qrels, systems: Sequence[System]) -> list[Query]:
    if queries is None:
        searched = [s.name for s in systems if s.search is not None]
        if searched:
            raise InputError(f"the system {searched[0]!r} needs the texts of the queries: give queries={{id: text}}")
        texts = {q.id: q.text for s in systems if s.run is not None for q in s.run.queries}
        return [Query(id, texts.get(id, "")) for id in qrels]
    made = [Query(id, text) for id, text in queries.items()] if isinstance(queries, Mapping) else list(queries)
    for query in made:
        if not isinstance(query, Query) or not isinstance(query.id, str) or not isinstance(query.text, str):
            raise InputError(f"a query is a text under its id, {{id: text}}, or a ragkit.Query, both strings; got {query!r}")
    if len({q.id for q in made}) != len(made):
        raise InputError("queries need different ids; two were given the same")
    return made


def _relevant(query: str, grades: Mapping[str, int]) -> bool:
    try:
        return any(grade > 0 for grade in grades.values())
    except TypeError as exc:
        raise InputError(f"query {query!r} has a grade that is no number ({exc}): give whole numbers") from exc


def _scores(values: Mapping[str, Mapping[str, NDArray[np.float64]]], baseline: str, seed: int) -> dict[str, dict[str, Score]]:
    """Every system's score by every measure, from the values (Q,) of the queries."""
    pairs = [(name, m) for name in values if name != baseline for m in values[name]]
    apart = {(name, m): _clean(values[name][m] - values[baseline][m]) for name, m in pairs}
    raw = [randomization_test(d, seed=seed) for d in apart.values()]
    p_values = dict(zip(apart, zip(raw, holm(raw).tolist(), strict=True), strict=True))
    found: dict[str, dict[str, Score]] = {}
    for name, by_measure in values.items():
        found[name] = {}
        for m, v in by_measure.items():
            difference = _difference(apart[name, m], *p_values[name, m], seed) if name != baseline else None
            found[name][m] = Score(float(v.mean()), bootstrap_interval(v, seed=seed), difference)
    return found


def _clean(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences with those that are only rounding set to 0."""
    return np.where(np.abs(differences) <= SAME, 0.0, differences)


def _difference(d: NDArray[np.float64], p: float, p_holm: float, seed: int) -> Difference:
    wins, losses = int((d > 0).sum()), int((d < 0).sum())
    return Difference(float(d.mean()), bootstrap_interval(d, seed=seed), p, p_holm, wins, len(d) - wins - losses, losses)


def _tied(rankings: Rankings, queries: Iterable[str], cutoffs: set[int]) -> int:
    """Queries with equal scores (as 32-bit floats) on both sides of a cutoff."""
    count = 0
    for query in queries:
        with np.errstate(over="ignore"):  # beyond 32 bits scores tie at infinity
            scores = np.sort(np.fromiter(rankings.get(query, {}).values(), np.float64).astype(np.float32))[::-1]
        count += any(len(scores) > c and scores[c - 1] == scores[c] for c in cutoffs)
    return count
