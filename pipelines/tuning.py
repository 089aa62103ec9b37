"""Tuning: the free parameters of a pipeline's fusions, chosen on judged queries and judged by cross-validation.

Whatever comes before the tuned stages runs once; every point of the grid is then evaluated on those same runs. The
figure to report is the cross-validated one: each query scored by parameters that were chosen without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.bound import Bound, Searchable
from ragkit.compile import Shared, children, map_children, push_cuts
from ragkit.errors import InputError
from ragkit.evaluation import Measure, evaluate, parse_measures
from ragkit.pipelines.fusion import Fusion
from ragkit.pipelines.grid import Grid, Point, distance, named
from ragkit.pipelines.reorder.keep import keep_hits
from ragkit.pipelines.tuned import Fold, Tuned
from ragkit.run import Run
from ragkit.stage import Identity, Stage, Then
from ragkit.types import Query


def tune(
    pipeline: Stage | Bound,
    queries: Mapping[str, str] | Sequence[str | Query],
    qrels: Mapping[str, Mapping[str, int]],
    measure: str | Measure = "nDCG@10",
    *,
    on: Searchable | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    folds: int = 5,
    seed: int = 7,
) -> Tuned:
    """Choose the parameters of a pipeline's fusions by k-fold cross-validation over queries.

    queries  {id: text}, or texts (ids "0", "1", …) or Query objects; those that have a relevant document take part
    qrels    query id → document id → grade
    on       the collection; not needed for a bound pipeline
    grid     {parameter: values} in place of the default: "alpha", "weights", "normalise" and "missing" of interpolate; "k",
             "alpha" and "weights" of rrf; "weight" of TitleWeight and Recency, "half_life_days" of Recency, "diversity" of MMR.
             A parameter is set for every stage that has it, and all combinations are tried. Default: the weights of each
             interpolate (0, 0.05, … 1 for two stages, coarser for more) and the k of each rrf
    folds    parts that the queries are dealt into at random, at least 2
    seed     of the dealing: equal arguments give equal results
    returns  the refitted pipeline, the cross-validated mean, the baselines, each fold's choice
    raises   InputError where there is nothing to tune or nothing to tune on

    Equal means go to the parameters nearest to those that the pipeline has, which are always among those tried.
    """
    if isinstance(pipeline, Bound):
        on, pipeline = on or pipeline.collection, pipeline.stage
    if not isinstance(pipeline, Stage):
        raise InputError(f"tune takes a pipeline, got {type(pipeline).__name__}; write for example tune(hybrid(), …)")
    if on is None:
        raise InputError("tune needs a collection; name it, as in tune(pipeline, queries, qrels, on=collection)")
    wanted = parse_measures(measure)
    if len(wanted) != 1:
        raise InputError(f"tune maximises one measure, got {len(wanted)}; name one")
    tried = Grid.of(grid)
    points = tried.points(pipeline)
    judged = _judged(queries, qrels)
    dealt = _deal(len(judged), folds, seed)
    score = _Scorer(wanted[0], judged, qrels, on)

    ready = _cached(push_cuts(pipeline), tried, {})
    table = np.stack([score(tried.set(ready, point)) for point in points])  # (points, queries)
    chosen = [_best(np.delete(table, fold, axis=1), points) for fold in dealt]
    best = _best(table, points)
    unseen = np.empty(len(judged))  # (queries,) each by the choice that was made without it
    for choice, fold in zip(chosen, dealt, strict=True):
        unseen[fold] = table[choice, fold]
    names = [named(pipeline, tried, point) for point in points]
    return Tuned(
        pipeline=tried.set(pipeline, points[best]),
        measure=str(wanted[0]),
        queries=len(judged),
        parameters=names[best],
        cross_validated=float(unseen.mean()),
        untuned=float(table[0].mean()),
        legs={repr(leg): float(score(leg).mean()) for leg in dict.fromkeys(_legs(ready, tried, Identity()))},
        fitted=float(table[best].mean()),
        folds=tuple(Fold(len(fold), names[c], float(unseen[fold].mean())) for c, fold in zip(chosen, dealt, strict=True)),
        points=tuple((name, float(values.mean())) for name, values in zip(names, table, strict=True)),
    )


class _Scorer:
    """Runs stages on the judged queries, from one and the same empty run, so that cached stages know it again."""

    def __init__(self, measure: Measure, judged: Sequence[Query], qrels: Mapping[str, Mapping[str, int]], on: Searchable) -> None:
        self.measure = measure
        self.qrels = {query.id: qrels[query.id] for query in judged}
        self.start = Run.of(judged, on.version)

    def __call__(self, stage: Stage) -> NDArray[np.float64]:
        """(Q,) the measure of each query."""
        run = stage(self.start)
        found = evaluate(self.qrels, _best_documents(run, self.measure.cutoff).to_dict(), self.measure)
        return np.array(list(found.per_query[str(self.measure)].values()))


def _judged(queries: Mapping[str, str] | Sequence[str | Query], qrels: Mapping[str, Mapping[str, int]]) -> list[Query]:
    """The queries with a relevant document."""
    if isinstance(queries, str | Query):
        queries = [queries]
    given = [Query(id=i, text=text) for i, text in queries.items()] if isinstance(queries, Mapping) else queries
    made = Run.of(given).queries
    if not made:
        raise InputError("no queries were given; tuning needs queries with judgements")
    judged = [query for query in made if any(grade > 0 for grade in qrels.get(query.id, {}).values())]
    if not judged:
        raise InputError(
            f"the qrels name a relevant document for none of the {len(made)} queries; their ids must be the same "
            f"(queries have {made[0].id!r}, qrels {next(iter(qrels), 'none')!r})"
        )
    return judged


def _deal(n: int, folds: int, seed: int) -> list[NDArray[np.intp]]:
    """Positions of n queries dealt into folds at random."""
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"folds must be a whole number of at least 2, got {folds!r}")
    if n < folds:
        raise InputError(f"{folds} folds need at least {folds} queries with a relevant document, got {n}; judge more, or give fewer folds")
    return [np.sort(fold) for fold in np.array_split(np.random.default_rng(seed).permutation(n), folds)]


def _best(table: NDArray[np.float64], points: Sequence[Point]) -> int:
    """The point with the highest mean; among equals the one nearest to the first, which is the pipeline's own."""
    means = table.mean(axis=1).round(10)  # so that sums in another order are equal means
    return min(range(len(points)), key=lambda p: (-means[p], distance(points[p], points[0]), p))


def _cached(stage: Stage, grid: Grid, memo: dict[Stage, Shared]) -> Stage:
    """The pipeline with every part that no tuned stage comes before, or in, made to run once."""
    if not grid.tunes(stage):
        return memo.setdefault(stage, Shared(stage))
    if isinstance(stage, Then):
        first = next(n for n, s in enumerate(stage.stages) if grid.tunes(s))
        before = Then.of(*stage.stages[:first])
        ahead = [] if isinstance(before, Identity) else [memo.setdefault(before, Shared(before))]
        return Then.of(*ahead, _cached(stage.stages[first], grid, memo), *stage.stages[first + 1 :])
    return map_children(stage, lambda child: _cached(child, grid, memo))


def _legs(stage: Stage, grid: Grid, before: Stage) -> Iterator[Stage]:
    """What goes into the tuned fusions, each with what comes before it."""
    if isinstance(stage, Then):
        for n, step in enumerate(stage.stages):
            if grid.tunes(step):
                yield from _legs(step, grid, Then.of(before, *stage.stages[:n]))
        return
    for child in children(stage):
        if grid.tunes(child):
            yield from _legs(child, grid, before)
        elif isinstance(stage, Fusion):
            yield Then.of(before, child)


def _best_documents(run: Run, cutoff: int | None) -> Run:
    """The hits that a measure with this cutoff looks at: the best documents of each query, with all that tie with the last."""
    if cutoff is None:
        return run
    depth = 4 * cutoff
    while True:
        best = run.cut(depth).by_document()
        counts, deep = np.diff(best.indptr), np.diff(run.indptr) > depth
        scores = np.append(best.scores, np.float32(-np.inf))
        least = scores[np.where(counts >= cutoff, best.indptr[:-1] + cutoff - 1, len(best.scores))]
        lowest = run.scores[np.where(deep, run.indptr[:-1] + depth - 1, 0)] if len(run.scores) else least
        if not (deep & (lowest >= least)).any():
            return keep_hits(best, best.scores >= np.repeat(least, counts))
        depth *= 4
