"""Joining runs row by row: the union of their (query, row) pairs, with each run's place for every pair.

Letters in shapes: R runs, P pairs, Q queries, H hits. Sorting is on packed integer keys, so that a thousand
queries of a thousand hits take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragkit.run import Run, StageReport

_Number = TypeVar("_Number", np.float32, np.float64, np.int64)


def query_of(run: Run) -> NDArray[np.int64]:
    """(H,) number of the query that owns each hit."""
    return np.repeat(np.arange(len(run)), np.diff(run.indptr))


def place_of(run: Run) -> NDArray[np.int64]:
    """(H,) place of each hit in its query's ranking, from 0."""
    return np.arange(len(run.rows)) - np.repeat(run.indptr[:-1], np.diff(run.indptr))


def reports(before: Run, runs: Sequence[Run]) -> tuple[StageReport, ...]:
    """The reports of all runs that started from one, on top of what had happened before."""
    return (*before.report, *(r for run in runs for r in run.report[len(before.report) :]))


def in_order(run: Run) -> Run:
    """The run with each query's hits put in the law of order again, after their scores were changed."""
    by_row = np.argsort(_packed(query_of(run), run.rows), kind="stable")
    query = query_of(run)[by_row]
    return run.take(run.indptr, by_row[_by_score(query, run.scores[by_row])])


@dataclass(frozen=True, eq=False)
class Joined:
    """Several runs' (query, row) pairs.

    query, row  int64 (P,)     each pair once, by query, then row
    at          int64 (R, P)   the pair's place among the hits of each run; -1 where the run lacks it
    """

    runs: tuple[Run, ...]
    query: NDArray[np.int64]
    row: NDArray[np.int64]
    at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.runs)

    def found(self, n: int) -> NDArray[np.bool_]:
        """(P,) whether run n has the pair."""
        found: NDArray[np.bool_] = self.at[n] >= 0
        return found

    def spread(self, n: int, values: NDArray[_Number], absent: float) -> NDArray[_Number]:
        """(P,) a value of each hit of run n, (H,), laid out over the pairs; `absent` where the run lacks the pair."""
        padded: NDArray[_Number] = np.append(values, np.array(absent, values.dtype))  # place -1 reads the last
        out: NDArray[_Number] = padded[self.at[n]]
        return out

    def run(
        self, scores: NDArray[np.float32], *, scale: str, floor: float | None, before: Run, keep: NDArray[np.bool_] | None = None
    ) -> Run:
        """The joined run, in order, with every leg and report of its sides; only the pairs to keep, if given.

        scores  float32 (P,);  before  the run that all sides started from
        """
        by = _by_score(self.query, scores)
        if keep is not None:
            by = by[keep[by]]
        counts = np.bincount(self.query[by], minlength=len(self.runs[0]))
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        legs = {name: self._leg(name)[by] for name in dict.fromkeys(name for run in self.runs for name in run.legs)}
        return replace(
            self.runs[0],
            indptr=indptr,
            rows=self.row[by],
            scores=scores[by],
            scale=scale,
            floor=floor,
            legs=legs,
            report=reports(before, self.runs),
        )

    def _leg(self, name: str) -> NDArray[np.float32]:
        """One retriever's own scores over the pairs; where several runs have it, whichever knows the row."""
        return reduce(np.fmax, [self.spread(n, run.legs[name], np.nan) for n, run in enumerate(self.runs) if name in run.legs])


def join(*runs: Run) -> Joined:
    """The union of the runs' pairs; raises SnapshotMismatch where their rows or queries differ."""
    for other in runs[1:]:
        runs[0].same_source(other)
    query = np.concatenate([query_of(run) for run in runs])
    row = np.concatenate([run.rows for run in runs])
    keys = _packed(query, row)
    by = np.argsort(keys, kind="stable")
    first = np.append(True, keys[by][1:] != keys[by][:-1])[: len(by)]
    pair = np.empty(len(by), np.int64)
    pair[by] = np.cumsum(first) - 1
    at = np.full((len(runs), int(first.sum())), -1, np.int64)
    starts = np.cumsum([0, *(len(run.rows) for run in runs)])
    for n, run in enumerate(runs):
        at[n, pair[starts[n] : starts[n + 1]]] = np.arange(len(run.rows))
    return Joined(runs, query[by][first], row[by][first], at)


def _packed(query: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number a pair, in the order of query, then row."""
    return query * (int(row.max(initial=0)) + 1) + row


def _by_score(query: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Positions that sort pairs by query, then score descending; equals stay in the order given."""
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # adding 0 makes -0.0 and 0.0 one number
    ascending = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return np.argsort((query << 32) + (0x7FFFFFFF - ascending), kind="stable")
