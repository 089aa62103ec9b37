"""The formulas of the retrieval measures, on arrays: one ranking in, one number out.

They follow trec_eval: gain = grade, discount 1 / log2(rank + 1), ideal ranking from all judged
documents, denominators that do not shrink with a short ranking. A negative grade counts as 0. The one
departure is ``Judged``, which trec_eval lacks: its denominator is the number of hits there are, as in
ir_measures, so that it shows holes in the judgements and not short rankings.

Letters in shapes: H hits of the query, J judged documents of the query. Ranks start at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.evaluation.measures import Measure

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """One query's ranking, seen through its judgements.

    grades   (H,)  grade of each hit, best hit first; 0 where unjudged
    judged   (H,)  whether the hit was judged at all
    pool     (J,)  grades of all judged documents, in any order
    """

    grades: Floats
    judged: Flags
    pool: Floats


def ndcg(grades: Floats, pool: Floats, cutoff: int | None) -> float:
    """DCG of the ranking over DCG of the ideal one; 0 where nothing is relevant. grades (H,), pool (J,).

    >>> round(ndcg(np.array([0.0, 1, 0, 1]), np.array([1.0, 1]), None), 4)
    0.6509
    """
    ideal = _dcg(np.sort(pool)[::-1][:cutoff])
    return _dcg(grades[:cutoff]) / ideal if ideal > 0 else 0.0


def _dcg(grades: Floats) -> float:
    return float((np.maximum(grades, 0) / np.log2(np.arange(2, len(grades) + 2))).sum())


def precision(relevant: Flags, cutoff: int) -> float:
    """Share of the first `cutoff` places that hold a relevant document; an empty place holds none. relevant (H,)."""
    return int(relevant[:cutoff].sum()) / cutoff


def recall(relevant: Flags, n_relevant: int, cutoff: int) -> float:
    """Share of the relevant documents that are among the first `cutoff`. relevant (H,)."""
    return int(relevant[:cutoff].sum()) / n_relevant if n_relevant else 0.0


def r_precision(relevant: Flags, n_relevant: int) -> float:
    """Precision, and recall, at as many hits as there are relevant documents. relevant (H,)."""
    return recall(relevant, n_relevant, n_relevant)


def success(relevant: Flags, cutoff: int) -> float:
    """1 if a relevant document is among the first `cutoff`, else 0. relevant (H,)."""
    return float(relevant[:cutoff].any())


def reciprocal_rank(relevant: Flags, cutoff: int | None) -> float:
    """1 / rank of the first relevant document, 0 if there is none. relevant (H,)."""
    places = np.flatnonzero(relevant[:cutoff])
    return 1.0 / (int(places[0]) + 1) if len(places) else 0.0


def average_precision(relevant: Flags, n_relevant: int, cutoff: int | None) -> float:
    """Mean over all relevant documents of the precision at each one's rank, 0 for one not found. relevant (H,).

    A cutoff ends the sum; the denominator stays the number of relevant documents (trec_eval's map_cut).

    >>> average_precision(np.array([True, False, True]), 2, None)  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    ranks = np.flatnonzero(relevant[:cutoff]) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum()) / n_relevant if n_relevant else 0.0


def bpref(grades: Floats, judged: Flags, pool: Floats, rel: int) -> float:
    """Mean over the relevant documents of 1 - (judged others ranked above it) / min(R, N); 0 for one not found.

    R relevant documents, N judged not relevant; unjudged hits and those with a negative grade are passed over, and no
    more than R others count (trec_eval's bpref; Buckley & Voorhees, SIGIR 2004). grades (H,), judged (H,), pool (J,).

    >>> bpref(np.array([0.0, 1, 0, 1]), np.array([True, True, False, True]), np.array([1.0, 1, 0, 0]), 1)
    0.5
    """
    n_relevant, n_others = int((pool >= rel).sum()), int(((pool >= 0) & (pool < rel)).sum())
    if not n_relevant:
        return 0.0
    relevant = grades >= rel
    above = np.cumsum(judged & ~relevant & (grades >= 0))[relevant]
    return float((1 - np.minimum(above, n_relevant) / max(min(n_relevant, n_others), 1)).sum()) / n_relevant


def judged_share(judged: Flags, cutoff: int | None) -> float:
    """Share of the first `cutoff` hits that were judged; 0 for an empty ranking. judged (H,)."""
    return float(judged[:cutoff].mean()) if len(judged) else 0.0


def value(measure: Measure, ranking: Ranking) -> float:
    """The measure's value for one query, in [0, 1]."""
    return _FORMULAS[measure.name](measure, ranking)


def _found(measure: Measure, ranking: Ranking) -> Flags:
    return ranking.grades >= measure.rel


def _wanted(measure: Measure, ranking: Ranking) -> int:
    return int((ranking.pool >= measure.rel).sum())


def _cutoff(measure: Measure) -> int:
    assert measure.cutoff is not None, "Measure admits P, R and Success with a cutoff only"
    return measure.cutoff


_FORMULAS: dict[str, Callable[[Measure, Ranking], float]] = {
    "nDCG": lambda m, r: ndcg(r.grades, r.pool, m.cutoff),
    "R": lambda m, r: recall(_found(m, r), _wanted(m, r), _cutoff(m)),
    "P": lambda m, r: precision(_found(m, r), _cutoff(m)),
    "RR": lambda m, r: reciprocal_rank(_found(m, r), m.cutoff),
    "AP": lambda m, r: average_precision(_found(m, r), _wanted(m, r), m.cutoff),
    "Success": lambda m, r: success(_found(m, r), _cutoff(m)),
    "Rprec": lambda m, r: r_precision(_found(m, r), _wanted(m, r)),
    "Bpref": lambda m, r: bpref(r.grades, r.judged, r.pool, m.rel),
    "Judged": lambda m, r: judged_share(r.judged, m.cutoff),
}
