"""Run: the rankings of many queries as flat arrays, the one type that flows through a pipeline.

Letters in shapes: Q queries, H hits of all queries end to end. The law of order holds in every run:
score descending, then row ascending; a higher score is better.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ScaleError, ShapeError, SnapshotMismatch
from ragkit.generation.usage import FREE, Usage
from ragkit.types import Passage, Query

FLOORS: dict[str, float | None] = {
    "none": 0.0,  # queries without hits yet
    "bm25": 0.0,
    "okapi": None,  # an idf may be negative, so a row that was found can be worth less than one that was not
    "cosine": -1.0,
    "dot": None,  # unbounded below
    "prob": 0.0,
    "unit": 0.0,  # normalised to [0, 1]
    "zscore": None,  # relative to one query's hits
    "rrf": 0.0,  # reciprocal ranks
    "ngram": 0.0,  # n-grams of the question, weighed by rarity
    "occurrences": 0.0,  # how often a text stands in a passage
    "logit": None,  # a classifier's raw output, unbounded
    "rank": None,  # positions: they order hits and mean nothing as amounts
}
"""What a row that a retriever did not return is worth on each scale, at most what any row gets; None: scores that can't be added."""


class Source(Protocol):
    """Resolves the rows of a Run. Two runs combine only where their source keys are equal."""

    @property
    def key(self) -> str: ...
    def passages(self, rows: NDArray[np.int64]) -> list[Passage]: ...
    def ids(self, rows: NDArray[np.int64]) -> list[str]: ...
    def texts(self, rows: NDArray[np.int64]) -> list[str]: ...
    def document_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class StageReport:
    """What one stage did: seconds of wall clock, queries seen, hits handed on, its own counts, its models' costs, what went wrong."""

    stage: str
    seconds: float
    queries: int
    hits: int
    counts: Mapping[str, int] = field(default_factory=dict)
    usage: Usage = FREE
    notes: tuple[str, ...] = ()

    def per_query(self) -> dict[str, float]:
        """Seconds and all that `usage` counts, divided by the queries."""
        costs = {**self.usage.to_dict(), "seconds": self.seconds}
        return {name: value / max(1, self.queries) for name, value in costs.items()}


@dataclass(frozen=True)
class TextTable:
    """A source in memory: texts with ids, for runs that come from no collection."""

    table_ids: tuple[str, ...]
    table_texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.table_ids) != len(self.table_texts):
            raise ShapeError(f"{len(self.table_ids)} ids were given for {len(self.table_texts)} texts; give one id a text")
        if len(set(self.table_ids)) != len(self.table_ids):
            raise InputError("ids of a text table must differ; give each text its own id")

    @property
    def key(self) -> str:
        content = json.dumps([self.table_ids, self.table_texts]).encode()
        return f"table-{len(self.table_ids)}-{crc32(content):08x}"

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.table_ids[r] for r in rows]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.table_texts[r] for r in rows]

    def passages(self, rows: NDArray[np.int64]) -> list[Passage]:
        return [Passage(text=self.table_texts[r], document=self.table_ids[r], start=0, end=len(self.table_texts[r])) for r in rows]

    def document_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows


def order(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.intp]:
    """Positions that sort one query's hits by the law of order: score descending, then row ascending.

    >>> order(np.array([1, 2, 1], "f4"), np.array([9, 5, 3])).tolist()
    [1, 2, 0]
    """
    return np.lexsort((rows, -scores))


@dataclass(frozen=True, eq=False)
class Run:
    """Rankings of Q queries.

    indptr  int64 (Q+1,)   query q owns hits indptr[q]:indptr[q+1]
    rows    int64 (H,)     rows of the source
    scores  float32 (H,)   on one scale; floor is what an absent row is worth there
    legs    {name: float32 (H,)}   each retriever's own score, NaN where it did not return the row
    source  resolves rows to ids, texts and passages; None in a run without hits and collection
    report  what each stage did, in order
    """

    queries: tuple[Query, ...]
    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    scale: str = "none"
    floor: float | None = 0.0
    legs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    source: Source | None = None
    report: tuple[StageReport, ...] = ()

    def __post_init__(self) -> None:
        hits = int(self.indptr[-1]) if len(self.indptr) else -1
        if len(self.indptr) != len(self.queries) + 1 or len(self.rows) != hits or len(self.scores) != hits:
            raise ShapeError(
                f"a run of {len(self.queries)} queries needs indptr of {len(self.queries) + 1} and as many rows and scores as its last "
                f"entry, got {len(self.indptr)}, {len(self.rows)} and {len(self.scores)}"
            )
        if np.isnan(self.scores).any():
            raise InputError("a run's scores must be numbers, got NaN; drop those hits or score them")

    @classmethod
    def of(cls, queries: str | Query | Sequence[str | Query], source: Source | None = None) -> Run:
        """A run of queries that have no hits yet; texts get the ids "0", "1", …"""
        given = [queries] if isinstance(queries, str | Query) else list(queries)
        made = tuple(q if isinstance(q, Query) else Query(id=str(i), text=q) for i, q in enumerate(given))
        if len({q.id for q in made}) != len(made):
            raise InputError("queries of a run need different ids; two were given the same")
        empty = np.zeros(0, np.int64)
        return cls(made, np.zeros(len(made) + 1, np.int64), empty, empty.astype(np.float32), source=source)

    @classmethod
    def from_texts(cls, query: str | Query, texts: Sequence[str], ids: Sequence[str] | None = None) -> Run:
        """One query with the given texts as its hits in their order, as a reranker wants them."""
        names = tuple(ids) if ids is not None else tuple(str(i) for i in range(len(texts)))
        table = TextTable(names, tuple(texts))
        n = len(texts)
        start = cls.of(query, table)
        return replace(start, indptr=np.array([0, n]), rows=np.arange(n), scores=-np.arange(n, dtype=np.float32), scale="rank", floor=None)

    def __len__(self) -> int:
        return len(self.queries)

    def hits_of(self, q: int) -> slice:
        """The slice of rows and scores that belongs to query q."""
        return slice(int(self.indptr[q]), int(self.indptr[q + 1]))

    def fill(
        self,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        *,
        scale: str,
        leg: str | None = None,
    ) -> Run:
        """This run's queries with new hits, already in order; leg names the retriever that scored them."""
        if scale not in FLOORS:
            raise ScaleError(f"no scale is called {scale!r}; known: {', '.join(FLOORS)}")
        legs = {leg: scores} if leg else {}
        return replace(self, indptr=indptr, rows=rows, scores=scores, scale=scale, floor=FLOORS[scale], legs=legs)

    def take(self, indptr: NDArray[np.int64], hits: NDArray[np.int64]) -> Run:
        """The given hits (positions into rows) under a new indptr; scores and legs go along."""
        legs = {name: values[hits] for name, values in self.legs.items()}
        return replace(self, indptr=indptr, rows=self.rows[hits], scores=self.scores[hits], legs=legs)

    def cut(self, k: int) -> Run:
        """The first k hits of each query."""
        keep = np.minimum(np.diff(self.indptr), k)
        indptr = np.concatenate(([0], np.cumsum(keep))).astype(np.int64)
        hits = np.repeat(self.indptr[:-1] - indptr[:-1], keep) + np.arange(indptr[-1])
        return self.take(indptr, hits)

    def by_document(self) -> Run:
        """Only the best passage of each document."""
        documents = self._source().document_rows(self.rows)
        keep: list[NDArray[np.int64]] = []
        for q in range(len(self)):
            at = self.hits_of(q)
            _, first = np.unique(documents[at], return_index=True)
            keep.append(np.sort(first) + at.start)
        indptr = np.concatenate(([0], np.cumsum([len(k) for k in keep]))).astype(np.int64)
        return self.take(indptr, np.concatenate(keep) if keep else np.zeros(0, np.int64))

    def same_source(self, other: Run) -> None:
        """Raise SnapshotMismatch unless both runs' rows mean the same passages."""
        mine, theirs = (r.source.key if r.source else None for r in (self, other))
        if mine != theirs:
            raise SnapshotMismatch(f"these runs come from different sources ({mine} and {theirs}); search both in one snapshot")
        if [q.id for q in self.queries] != [q.id for q in other.queries]:
            raise SnapshotMismatch("these runs hold different queries; run both stages on the same ones")

    def _source(self) -> Source:
        if self.source is None:
            raise InputError("this run has no source to resolve its rows; bind the pipeline with .on(collection)")
        return self.source

    def ids(self) -> list[str]:
        """Document id of every hit."""
        return self._source().ids(self.rows)

    def texts(self) -> list[str]:
        """Passage text of every hit."""
        return self._source().texts(self.rows)

    def passages(self) -> list[Passage]:
        """Passage of every hit."""
        return self._source().passages(self.rows)

    def passages_at(self, at: slice) -> list[Passage]:
        """Passages of some hits."""
        return self._source().passages(self.rows[at])

    def to_dict(self) -> dict[str, dict[str, float]]:
        """{query id: {document id: score}}, the best passage of each document, best first."""
        best = self.by_document()
        ids = best.ids()
        return {
            query.id: {ids[i]: float(best.scores[i]) for i in range(best.hits_of(q).start, best.hits_of(q).stop)}
            for q, query in enumerate(best.queries)
        }

    @classmethod
    def from_trec(
        cls, path: str | os.PathLike[str], queries: Mapping[str, str] | None = None, *, texts: Mapping[str, str] | None = None
    ) -> Run:
        """The run in a file of six columns (``query Q0 document rank score tag``), in the order that trec_eval sees.

        queries  query id → text; the file has none, and without this they are empty. Those without a line get no hits
        texts    document id → text; the file has none, and those that are not given are empty
        returns  a run on the scale "rank": of a file's scores nobody knows what they measure, so that they order and don't add
        raises   InputError, naming file and line, for a line that does not fit or a document ranked twice for a query;
                 LoadError for a file that can't be read
        """
        from ragkit.evaluation.trec import load_run

        return load_run(path, queries or {}, texts or {})

    def to_trec(self, path: str | os.PathLike[str], *, tag: str = "ragkit") -> None:
        """Write the run as trec_eval reads it: documents by their best passage; ``.gz`` too. Raises as `write_run` does."""
        from ragkit.evaluation.trec import write_run

        write_run(self.to_dict(), path, tag=tag)

    def to_frame(self) -> Any:
        """A pandas frame with the columns qid, query, docno, start, end, score, rank, text."""
        from ragkit.registry import need

        pandas = need("pandas", extra="viz", why="Run.to_frame")
        passages = self.passages()
        q = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        return pandas.DataFrame(
            {
                "qid": [self.queries[i].id for i in q],
                "query": [self.queries[i].text for i in q],
                "docno": [p.document for p in passages],
                "start": [p.start for p in passages],
                "end": [p.end for p in passages],
                "score": self.scores,
                "rank": np.arange(len(q)) - self.indptr[q],
                "text": [p.text for p in passages],
            }
        )

    def __repr__(self) -> str:
        return f"Run(queries={len(self)}, hits={len(self.rows)}, scale={self.scale!r}, legs={sorted(self.legs)})"
