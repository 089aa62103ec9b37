"""Putting rankings back into a run: always a permutation of each query's hits, always by the law of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragkit.join import place_of
from ragkit.run import FLOORS, Run, order


@dataclass(frozen=True)
class Ranking:
    """A query's first hits in their new order.

    order   places in the prior order, best first: a permutation of range(n)
    scores  of the places in the prior order, where the reranker scores; None where it only orders
    whole   False where a part of the judgements failed, so that the prior order stands in for them
    """

    order: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    whole: bool = True


def by_score(scores: Sequence[float]) -> list[int]:
    """Positions by score, best first; equal ones in their order.

    >>> by_score([-2.0, -1.0, -2.0])
    [1, 0, 2]
    """
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def scored_ranking(scores: Sequence[float | None]) -> Ranking:
    """The ranking by scores; one that failed keeps its passage's place, and the others are ordered around it.

    >>> scored_ranking([0.1, None, 0.9])
    Ranking(order=(2, 1, 0), scores=None, whole=False)
    """
    known = [i for i, score in enumerate(scores) if score is not None]
    values = [score for score in scores if score is not None]
    best_first = iter([known[i] for i in by_score(values)])
    order = tuple(i if score is None else next(best_first) for i, score in enumerate(scores))
    whole = len(known) == len(scores)
    return Ranking(order, tuple(values) if whole else None, whole)


def reordered(run: Run, rankings: Sequence[Ranking], scale: str) -> Run:
    """The run with the first hits of each query in the order of its ranking, and the hits behind them as they were.

    scale    of the rankings' scores. Where every hit of the run has a score, they are the run's, and ties go to the lower row as
             everywhere. Where one has none (a hit behind the reranked ones, a reranker that only orders, a judgement that failed)
             the run's scale is "rank": minus the position
    raises   RuntimeError if a ranking is no permutation, which no input can cause
    """
    hits = np.arange(len(run.rows))
    scores = np.zeros(len(run.rows), np.float32)
    scored = True
    for q, ranking in enumerate(rankings):
        at, n = run.hits_of(q), len(ranking.order)
        if sorted(ranking.order) != list(range(n)) or n > at.stop - at.start:
            raise RuntimeError(f"the ranking of query {q} is no permutation of its hits: {ranking.order}")
        if at.stop > at.start and (ranking.scores is None or not ranking.whole or n < at.stop - at.start):
            scored = False
        if ranking.scores is not None and scored:
            scores[at] = ranking.scores
        hits[at.start : at.start + n] = at.start + np.asarray(ranking.order, np.int64)
    if not scored:
        out = run.take(run.indptr, hits)
        return replace(out, scores=(-place_of(run)).astype(np.float32), scale="rank", floor=None)
    for q in range(len(run)):
        at = run.hits_of(q)
        hits[at] = at.start + order(scores[at], run.rows[at])
    return replace(run.take(run.indptr, hits), scores=scores[hits], scale=scale, floor=FLOORS[scale])
