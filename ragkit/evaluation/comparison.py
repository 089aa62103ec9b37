"""What a comparison of systems found: means with intervals, differences with significance, latency, single queries."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation.cases import Case, CaseDocument, CaseHit, Cases
from ragkit.evaluation.documents import Documents
from ragkit.evaluation.evaluation import Evaluation
from ragkit.evaluation.latency import Latency
from ragkit.evaluation.measures import parse_measures
from ragkit.evaluation.order import ranking
from ragkit.evaluation.systems import Rankings
from ragkit.evaluation.table import Rows, html_table, text_table
from ragkit.run import Run

SAME = 1e-9
"""Values of a query that differ by no more than this are a tie."""


@dataclass(frozen=True)
class Difference:
    """A system less the baseline, query by query.

    mean      mean difference; above 0 the system is better
    interval  95 % bootstrap interval of it
    p         two-sided p-value of the randomisation test
    p_holm    the same, corrected for all comparisons that were made (Holm)
    wins, ties, losses   queries on which the system is better, equal, worse
    """

    mean: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Score:
    """One system by one measure: mean over the queries, its 95 % bootstrap interval, the difference to the baseline (None for it)."""

    mean: float
    interval: tuple[float, float]
    difference: Difference | None = None


@dataclass(frozen=True)
class SystemScores:
    """One system: the pipeline as it prints, its scores by measure, and what they cost.

    latency         of single queries; None for a ready run, or where it was not measured
    seconds         wall clock of searching all queries in one call; None for a ready run
    tied_at_cutoff  queries with equal scores on both sides of a measure's cutoff, where the tie rule decides what counts
    """

    name: str
    pipeline: str
    scores: dict[str, Score]
    evaluation: Evaluation
    latency: Latency | None
    seconds: float | None
    tied_at_cutoff: int


@dataclass(frozen=True)
class QueryTotals:
    """compared: queries in every figure; unjudged: given, but without a relevant document; not_given: judged, but not given."""

    compared: int
    unjudged: int
    not_given: int


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `ragkit.compare` found; print it, or look into single queries with `wins` and `losses`.

    systems             name → scores, in the order given
    baseline            the system that the others are compared with
    queries             query id → text, of the compared queries
    totals              how many queries were compared, and how many left out for which reason
    missing_documents   documents judged relevant that no collection holds: they stay in the denominators, and nothing can
                        find them; None where all systems are ready runs
    settings            k, drop_self, repeats, seed, alpha
    rankings            system → query id → document id → score
    """

    systems: dict[str, SystemScores]
    baseline: str
    queries: dict[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    totals: QueryTotals
    missing_documents: int | None
    settings: dict[str, Any]
    rankings: dict[str, Rankings]
    runs: dict[str, Run]
    documents: Documents

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, in the order asked for."""
        return tuple(self.systems[self.baseline].scores)

    # --- tables -----------------------------------------------------------------------------------------------------

    def rows(self) -> Rows:
        """One row a measure and system; numbers as numbers, None where there is nothing to say."""
        found = Rows()
        for measure in self.measures:
            for system in self.systems.values():
                score, latency = system.scores[measure], system.latency
                d = score.difference
                found.append(
                    {
                        "measure": measure,
                        "system": system.name,
                        "mean": score.mean,
                        "low": score.interval[0],
                        "high": score.interval[1],
                        "difference": d.mean if d else None,
                        "difference_low": d.interval[0] if d else None,
                        "difference_high": d.interval[1] if d else None,
                        "p": d.p if d else None,
                        "p_holm": d.p_holm if d else None,
                        "wins": d.wins if d else None,
                        "ties": d.ties if d else None,
                        "losses": d.losses if d else None,
                        "p50_ms": latency.p50 if latency else None,
                        "p95_ms": latency.p95 if latency else None,
                        "p99_ms": latency.p99 if latency else None,
                    }
                )
        return found

    def per_query(self, measure: str | None = None) -> Rows:
        """One row a query: its id, its text, and the value of each system; the first measure unless one is named."""
        name = self._measure(measure)
        values = {s.name: s.evaluation.per_query[name] for s in self.systems.values()}
        return Rows({"id": q, "text": text, **{s: v[q] for s, v in values.items()}} for q, text in self.queries.items())

    def to_frame(self) -> Any:
        """`rows` as a pandas frame."""
        return self.rows().to_frame()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: everything but the rankings and texts of documents."""
        from ragkit import __version__  # the package's own door, which loads this file on request

        return {
            "ragkit": __version__,
            "baseline": self.baseline,
            "measures": list(self.measures),
            "queries": asdict(self.totals),
            "missing_documents": self.missing_documents,
            "ties": "trec",
            "settings": dict(self.settings),
            "systems": {
                s.name: {
                    "pipeline": s.pipeline,
                    "answered": s.evaluation.queries.answered,
                    "scores": {measure: asdict(score) for measure, score in s.scores.items()},
                    "latency_ms": s.latency.to_dict() if s.latency else None,
                    "seconds": s.seconds,
                    "tied_at_cutoff": s.tied_at_cutoff,
                }
                for s in self.systems.values()
            },
            "per_query": {
                measure: {s.name: dict(s.evaluation.per_query[measure]) for s in self.systems.values()} for measure in self.measures
            },
            "query_texts": dict(self.queries),
        }

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the printed table; columns without any value are left out."""
        header = ["measure", "system", "mean", "95 %", "difference", "95 %", "p", "p (Holm)", "wins/ties/losses", "p50 ms", "p95 ms"]
        rows: list[list[str]] = []
        for measure in self.measures:
            for system in self.systems.values():
                score, latency, d = system.scores[measure], system.latency, system.scores[measure].difference
                star = "*" if d and d.p_holm <= self.settings["alpha"] else ""
                about = (
                    [f"{d.mean:+.4f}", _span(d.interval, "+"), f"{d.p:.4f}", f"{d.p_holm:.4f}{star}", f"{d.wins}/{d.ties}/{d.losses}"]
                    if d
                    else [""] * 5
                )
                shown = latency if measure == self.measures[0] else None  # the same for every measure
                times = [f"{shown.p50:.2f}", f"{shown.p95:.2f}"] if shown else ["", ""]
                rows.append([measure, system.name, f"{score.mean:.4f}", _span(score.interval), *about, *times])
        used = [i for i in range(len(header)) if any(row[i] for row in rows)]
        return [header[i] for i in used], [[row[i] for i in used] for row in rows]

    def notes(self) -> list[str]:
        """What must be known to read the table, a sentence each: the queries, and what was left out."""
        notes = [f"{self.totals.compared} {'query' if self.totals.compared == 1 else 'queries'}"]
        if len(self.systems) > 1:
            notes[0] += f"; differences to {self.baseline}; * significant at {self.settings['alpha']:g} after Holm's correction"
        if self.totals.unjudged:
            notes.append(f"{self.totals.unjudged} of the queries given are left out: they have no relevant document")
        if self.totals.not_given:
            notes.append(f"{self.totals.not_given} of the judged queries are left out: they were not given")
        if self.missing_documents:
            one = self.missing_documents == 1
            what = "document judged relevant is" if one else "documents judged relevant are"
            notes.append(f"{self.missing_documents} {what} not in the collection: nothing can find {'it' if one else 'them'}")
        if self.settings["drop_self"]:
            notes.append("the document that is the query itself is left out")
        return notes

    def __str__(self) -> str:
        return "\n".join([text_table(*self._cells()), *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes())
        return f"<div>{html_table(*self._cells())}{notes}</div>"

    # --- single queries ---------------------------------------------------------------------------------------------

    def wins(self, system: str, measure: str | None = None, n: int = 10, *, against: str | None = None, hits: int = 3) -> Cases:
        """The n queries on which a system is most ahead of another.

        measure  the first unless one is named
        against  the other system; the baseline unless one is named
        hits     how many hits of each are shown
        """
        return self._cases(system, measure, n, against, hits, sign=1)

    def losses(self, system: str, measure: str | None = None, n: int = 10, *, against: str | None = None, hits: int = 3) -> Cases:
        """The n queries on which a system is most behind another; arguments as for `wins`."""
        return self._cases(system, measure, n, against, hits, sign=-1)

    def _cases(self, system: str, measure: str | None, n: int, against: str | None, hits: int, sign: int) -> Cases:
        name, pair = self._measure(measure), (system, against or self.baseline)
        for one in pair:
            if one not in self.systems:
                raise UnknownNameError.near("system of this comparison", one, self.systems)
        if pair[0] == pair[1]:
            raise InputError(f"{system!r} can't be compared with itself: name another system, or give against=")
        ours, theirs = (self.systems[s].evaluation.per_query[name] for s in pair)
        ahead = sorted((q for q in ours if sign * (ours[q] - theirs[q]) > SAME), key=lambda q: -sign * (ours[q] - theirs[q]))
        return Cases(self._case(q, name, pair, hits) for q in ahead[:n])

    def _case(self, query: str, measure: str, pair: tuple[str, str], n_hits: int) -> Case:
        judged = self.qrels[query]
        orders = {s: ranking(query, self.rankings[s].get(query, {}), "trec") for s in pair}
        ranks = {s: {d: i for i, d in enumerate(order, 1)} for s, order in orders.items()}
        hits: dict[str, tuple[CaseHit, ...]] = {}
        for s, order in orders.items():
            texts, scores = self._passages(s, query), self.rankings[s].get(query, {})
            hits[s] = tuple(
                CaseHit(i, d, scores[d], judged.get(d), texts.get(d) or self.documents.text(d)) for i, d in enumerate(order[:n_hits], 1)
            )
        relevant = tuple(
            CaseDocument(d, grade, self.documents.text(d), {s: ranks[s].get(d) for s in pair})
            for d, grade in sorted(judged.items(), key=lambda item: -item[1])
            if grade > 0
        )
        values = {s: self.systems[s].evaluation.per_query[measure][query] for s in pair}
        return Case(query, self.queries[query], measure, values, hits, relevant)

    def _passages(self, system: str, query: str) -> dict[str, str]:
        """Document id → text of its best passage, of the hits of a system whose run is at hand."""
        run = self.runs.get(system)
        at = next((i for i, q in enumerate(run.queries) if q.id == query), None) if run is not None else None
        return {p.document: p.text for p in run.passages_at(run.hits_of(at))} if run is not None and at is not None else {}

    def _measure(self, measure: str | None) -> str:
        name = self.measures[0] if measure is None else str(parse_measures(measure)[0])
        if name not in self.measures:
            raise UnknownNameError.near("measure of this comparison", name, self.measures)
        return name


def _span(interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
