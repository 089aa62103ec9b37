"""Leaves out the hit that is the query itself, for test sets whose queries are documents of the collection.

In ArguAna every query is a document, and in Quora many are: found first and judged by nobody, such hits push the
relevant ones down by a place, and as the largest scores they stretch the range that a fusion normalises by. So they
go at the retrievers, before anything is fused: `without_self` rewrites each `Retrieve` of a pipeline to look one hit
deeper and drop its own (BEIR's protocol, Thakur et al., NeurIPS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ragkit.compile import map_children, parts, push_cuts
from ragkit.join import query_of
from ragkit.run import Run
from ragkit.stage import Cut, Retrieve, Stage, Then


@dataclass(frozen=True, repr=False)
class DropSelf(Stage):
    """Removes from each query's hits those of the document whose id is the query's id."""

    def apply(self, run: Run, /) -> Run:
        if run.source is None or not len(run.rows):
            return run
        own = np.array([query.id for query in run.queries])[query_of(run)]
        keep = np.array(run.ids()) != own
        indptr = np.concatenate(([0], np.cumsum(np.bincount(query_of(run)[keep], minlength=len(run))))).astype(np.int64)
        return run.take(indptr, np.flatnonzero(keep))

    def __repr__(self) -> str:
        return "DropSelf()"


def without_self(stage: Stage) -> Stage:
    """The pipeline with the query's own document removed after each `Retrieve`, which fetches one hit more: k remain.

    Where a document has several passages, fewer than k may remain. A pipeline without any `Retrieve` drops at its end.
    """
    pushed = push_cuts(stage)  # so that each retriever has its final depth
    return _rewritten(pushed) if any(isinstance(s, Retrieve) for s in parts(pushed)) else Then.of(pushed, DropSelf())


def _rewritten(stage: Stage) -> Stage:
    if isinstance(stage, Retrieve):
        return Then.of(replace(stage, k=stage.k + 1), Cut(DropSelf(), stage.k))
    return map_children(stage, _rewritten)
