"""Tuning: the choice, the cross-validation and the baselines against plain loops, and what it refuses."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ragkit import BM25, Collection, Query, Retrieve, Run, Stage, evaluate
from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation import load_dataset
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.pipelines.fusion import interpolate, pool, rrf
from ragkit.pipelines.grid import shares
from ragkit.pipelines.reorder import PerDocument, TitleWeight
from ragkit.pipelines.tuning import _best_documents, tune
from ragkit.run import TextTable

N = 30
TABLE = TextTable(tuple(f"d{i}" for i in range(N)), tuple(f"text {i}" for i in range(N)))
CALLS: list[str] = []


@dataclass(frozen=True)
class Noisy(Stage):
    """Scores every row at random, the relevant ones (row q of query q, and the next) higher by `skill`."""

    leg: str
    skill: float
    scale: str = "bm25"

    def apply(self, run: Run, /) -> Run:
        CALLS.append(self.leg)
        rows, scores = [], []
        for query in run.queries:
            rng = np.random.default_rng([len(self.leg), int(query.id)])
            given = rng.random(N, np.float32)
            given[[int(query.id) % N, (int(query.id) + 1) % N]] += np.float32(self.skill)
            order = np.lexsort((np.arange(N), -given))
            rows.append(order)
            scores.append(given[order])
        indptr = np.arange(len(run) + 1) * N
        return run.fill(indptr, np.concatenate(rows), np.concatenate(scores), scale=self.scale, leg=self.leg)


@dataclass
class Table:
    """A collection of the table alone."""

    version: TextTable = TABLE


QUERIES = {str(i): f"question {i}" for i in range(24)}
QRELS = {str(i): {f"d{i % N}": 2, f"d{(i + 1) % N}": 1} for i in range(20)}  # the last four are not judged
A, B = Noisy("a", 0.35), Noisy("bb", 0.6, "cosine")
ON = Table()


def mean_of(stage: Stage, measure: str = "nDCG@10", queries: list[str] | None = None) -> float:
    """The plain way: run the stage on the queries, evaluate, take the mean."""
    ids = queries if queries is not None else list(QRELS)
    run = stage(Run.of([Query(i, QUERIES[i]) for i in ids], TABLE))
    return evaluate({i: QRELS[i] for i in ids}, run.to_dict(), measure).mean[measure]


def test_the_choice_is_the_best_of_the_grid() -> None:
    tuned = tune(interpolate(A, B), QUERIES, QRELS, on=ON)
    means = {alpha: mean_of(interpolate(A, B, alpha=alpha)) for alpha in (i / 20 for i in range(21))}
    best = max(means.values())
    alpha = tuned.parameters["interpolate.alpha"]
    assert means[alpha] == pytest.approx(best)
    assert tuned.pipeline == interpolate(A, B, alpha=alpha)
    assert tuned.fitted == pytest.approx(best)
    assert tuned.untuned == pytest.approx(means[0.5])
    assert tuned.legs == pytest.approx({repr(A): mean_of(A), repr(B): mean_of(B)})
    assert tuned.queries == 20
    assert {p["interpolate.alpha"]: mean for p, mean in tuned.points} == pytest.approx(means)
    assert tuned.fitted > max(tuned.legs.values())


def test_each_fold_is_scored_by_what_was_chosen_on_the_others() -> None:
    torn = 0
    for n, folds, seed, measure in ((20, 4, 3, "RR@10"), (6, 3, 0, "P@1"), (6, 3, 1, "nDCG@10"), (20, 5, 2, "nDCG@10")):
        ids = list(QRELS)[:n]
        tuned = tune(interpolate(A, B), {i: QUERIES[i] for i in ids}, QRELS, measure, on=ON, folds=folds, seed=seed)
        values = {i / 20: [mean_of(interpolate(A, B, alpha=i / 20), measure, [q]) for q in ids] for i in range(21)}
        total = 0.0
        for fold, found in zip(np.array_split(np.random.default_rng(seed).permutation(n), folds), tuned.folds, strict=True):
            means = {alpha: np.mean(np.delete(of_each, fold)) for alpha, of_each in values.items()}
            alpha = found.parameters["interpolate.alpha"]
            best = [a for a, m in means.items() if m > max(means.values()) - 1e-9]
            assert alpha in best
            assert abs(alpha - 0.5) == pytest.approx(min(abs(a - 0.5) for a in best))  # of equals the nearest to the pipeline's own
            assert found.mean == pytest.approx(np.mean(np.array(values[alpha])[fold]))
            assert found.queries == len(fold)
            total += found.mean * len(fold)
            torn += tuned.parameters["interpolate.alpha"] not in best
        assert tuned.cross_validated == pytest.approx(total / n)
    assert torn  # some choice would have been another, had the fold been seen


def test_equal_arguments_give_equal_results_and_the_seed_deals() -> None:
    first = tune(interpolate(A, B), QUERIES, QRELS, on=ON)
    assert tune(interpolate(A, B), QUERIES, QRELS, on=ON) == first
    given = list(QUERIES.items())
    random.Random(7).shuffle(given)
    assert tune(interpolate(A, B), dict(given), QRELS, on=ON).parameters == first.parameters
    assert tune(interpolate(A, B), QUERIES, QRELS, on=ON, seed=8).folds != first.folds


def test_each_leg_retrieves_once() -> None:
    CALLS.clear()
    tune(((A % 20) >> PerDocument()) ^ interpolate(A, B), QUERIES, QRELS, on=ON)
    assert sorted(CALLS) == ["a", "a", "bb"]  # A itself and A % 20 are two pipelines
    CALLS.clear()
    tune((interpolate(A, B, A | A) >> PerDocument(1)) % 10, QUERIES, QRELS, on=ON, grid={"weights": [(1, 1, 1), (1, 2, 3)]})
    assert sorted(CALLS) == ["a", "a", "a", "bb"]


def test_the_pipeline_keeps_its_form() -> None:
    pipeline = (A % 25 >> rrf(A, interpolate(A, B), k=1) >> PerDocument(1)) % 10
    tuned = tune(pipeline, QUERIES, QRELS, on=ON, grid={"k": [5, 50], "alpha": [0.2, 0.7], "normalise": ["zscore", "minmax"]})
    k, outer, inner, normalise = (tuned.parameters[f"{n}"] for n in ("rrf.k", "rrf.alpha", "interpolate.alpha", "interpolate.normalise"))
    fused = rrf(A, interpolate(A, B, alpha=inner, normalise=normalise), k=k, weights=(outer, 1 - outer) if outer != 0.5 else None)
    assert tuned.pipeline == (A % 25 >> fused >> PerDocument(1)) % 10
    assert len(tuned.points) == 2 * 2 * 2 * 2 + 1
    assert tuned.fitted == pytest.approx(mean_of(tuned.pipeline))
    assert set(tuned.legs) == {f"({A!r} % 25 >> {leg!r})" for leg in (A, B)}
    two = tune(interpolate(A, B) ^ interpolate(B, A), QUERIES, QRELS, on=ON, grid={"alpha": [0.1, 0.9]})
    assert list(two.parameters) == ["interpolate[1].alpha", "interpolate[2].alpha"]


def test_other_stages_and_default_grids() -> None:
    assert len(tune(rrf(A, B), QUERIES, QRELS, on=ON).points) == 8
    assert len(tune(rrf(A, B, k=7), QUERIES, QRELS, on=ON).points) == 9  # its own besides
    assert len(tune(interpolate(A, B, alpha=1 / 3), QUERIES, QRELS, on=ON).points) == 22
    assert len(tune(interpolate(A, B, A), QUERIES, QRELS, on=ON).points) == 66 + 1
    for n in (2, 3, 4, 5):
        assert all(sum(w) == pytest.approx(1) and len(w) == n and min(w) >= 0 for w in shares(n))
        assert len(set(shares(n))) == len(shares(n))
    assert all(interpolate(A, B, alpha=w[0]) == interpolate(A, B, weights=(w[0], 1 - w[0])) for w in shares(2))


def test_equal_means_go_to_what_the_pipeline_has() -> None:
    for alpha in (0.3, 0.85):
        tuned = tune(interpolate(A, A, alpha=alpha), QUERIES, QRELS, on=ON)  # no weight makes a difference
        assert tuned.pipeline == interpolate(A, A, alpha=alpha)


@pytest.mark.parametrize("measure", ["nDCG@3", "P@5", "AP", "R@1", "Judged@4", "RR"])
def test_only_the_documents_that_count_are_evaluated_and_nothing_changes(measure: str) -> None:
    tuned = tune(interpolate(A, B), QUERIES, QRELS, measure, on=ON, grid={"alpha": [0.25]})
    assert tuned.fitted == pytest.approx(max(mean_of(interpolate(A, B, alpha=a), measure) for a in (0.25, 0.5)), abs=1e-12)


def test_documents_that_tie_with_the_last_that_counts_are_kept() -> None:
    """trec_eval puts the larger id first among equals, so all of them must reach it."""
    scores = np.array([3.0, *[1.0] * 25, 0.5], np.float32)
    start = Run.of([Query("0", "x"), Query("1", "y")], TABLE)
    run = start.fill(np.array([0, 27, 27]), np.arange(27), scores, scale="bm25")
    for cutoff, kept in ((1, 1), (2, 26), (26, 26), (27, 27), (99, 27)):
        assert len(_best_documents(run, cutoff).rows) == kept
    assert len(_best_documents(run, None).rows) == 27


def test_the_result_reads_well() -> None:
    tuned = tune(interpolate(A, B), QUERIES, QRELS, on=ON)
    text = str(tuned)
    assert text.startswith("nDCG@10, 20 queries, 21 points\n")
    for shown in (f"{tuned.cross_validated:.4f}", f"{tuned.untuned:.4f}", f"{A!r} alone", "interpolate.alpha = ", "of 5 folds"):
        assert shown in text
    assert tuned.gain == tuned.cross_validated - tuned.untuned
    alike = tune(interpolate(A, A), QUERIES, QRELS, on=ON)
    assert alike.gain == 0
    assert "+0.0000; tuning did not help here" in str(alike)
    assert ("did not help" in text) == (tuned.gain <= 0)
    page = tuned._repr_html_()
    assert page.count("<tr>") == 6
    assert "&#x27;" in page  # escaped
    plain = json.loads(json.dumps(tuned.to_dict()))
    assert plain["parameters"] == dict(tuned.parameters)
    assert len(plain["points"]) == 21
    assert [f["queries"] for f in plain["folds"]] == [4] * 5


def test_wrong_use_is_named() -> None:
    pipeline = interpolate(A, B)
    with pytest.raises(InputError, match="no queries were given"):
        tune(pipeline, [], QRELS, on=ON)
    with pytest.raises(InputError, match="5 folds need at least 5 queries with a relevant document, got 1"):
        tune(pipeline, "question", QRELS, on=ON)
    with pytest.raises(InputError, match=r"for none of the 1 queries.*queries have 'x', qrels '0'"):
        tune(pipeline, {"x": "question"}, QRELS, on=ON)
    with pytest.raises(InputError, match="for none of the 1 queries"):
        tune(pipeline, ["question"], {"0": {"d1": 0}}, on=ON)
    for folds in (1, 0, True, 2.5):
        with pytest.raises(InputError, match="folds must be a whole number of at least 2"):
            tune(pipeline, QUERIES, QRELS, on=ON, folds=folds)  # type: ignore[arg-type]
    for plain in (A, pool(A, B), TitleWeight()):
        with pytest.raises(InputError, match="nothing to tune"):
            tune(plain, QUERIES, QRELS, on=ON)
    with pytest.raises(
        InputError, match="no stage of the pipeline has the parameter 'k' to tune; it has: alpha, missing, normalise, weights"
    ):
        tune(pipeline, QUERIES, QRELS, on=ON, grid={"k": [1]})
    for values in ([], "minmax", 3):
        with pytest.raises(InputError, match="needs a list of values for 'normalise'"):
            tune(pipeline, QUERIES, QRELS, on=ON, grid={"normalise": values})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="alpha and weights say the same"):
        tune(pipeline, QUERIES, QRELS, on=ON, grid={"alpha": [1], "weights": [(1, 1)]})
    with pytest.raises(UnknownNameError, match="normalisation"):
        tune(pipeline, QUERIES, QRELS, on=ON, grid={"normalise": ["l2"]})
    for weights in ([3], ["ab"], [("a", "b")], [(0, 0)]):
        with pytest.raises(InputError, match="weights"):
            tune(pipeline, QUERIES, QRELS, on=ON, grid={"weights": weights})
    with pytest.raises(InputError, match="6000 points, more than 5000"):
        tune(pipeline, QUERIES, QRELS, on=ON, grid={"alpha": [i / 6000 for i in range(6000)]})
    with pytest.raises(InputError, match="needs a collection"):
        tune(pipeline, QUERIES, QRELS)
    with pytest.raises(InputError, match="maximises one measure, got 2"):
        tune(pipeline, QUERIES, QRELS, ["nDCG@10", "AP"], on=ON)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tune takes a pipeline, got str"):
        tune("hybrid", QUERIES, QRELS, on=ON)  # type: ignore[arg-type]


def test_on_a_real_collection(data: Path, tmp_path: Path) -> None:
    """Cranfield with two lexical indexes: the cached runs give what the pipelines give in the plain way."""
    cranfield = load_dataset(data / "cranfield")
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en", b=0.75, k1=1.2), RankBM25(b=0.1)], chunker=None)
    made.add(cranfield.documents())
    queries = dict(list(cranfield.judged().items())[:40])
    pipeline = interpolate(Retrieve("bm25", 200), Retrieve("rank_bm25", 200)) % 100
    tuned = tune(pipeline.on(made), queries, cranfield.qrels)
    judged = {q: cranfield.qrels[q] for q in queries}
    given = [Query(i, text) for i, text in queries.items()]
    for stage, mean in (
        (pipeline, tuned.untuned),
        (tuned.pipeline, tuned.fitted),
        (Retrieve("bm25", 200), next(iter(tuned.legs.values()))),
    ):
        assert evaluate(judged, made.search(given, using=stage, k=1000).to_dict(), "nDCG@10").mean["nDCG@10"] == pytest.approx(mean)
    assert tuned.fitted >= max(tuned.untuned, *tuned.legs.values()) - 1e-12
    both = tune(pipeline >> TitleWeight(0.0), queries, cranfield.qrels, on=made, grid={"weight": np.array([0.05, 0.2])}, folds=2)
    assert list(both.parameters) == ["TitleWeight.weight"]
    assert both.legs == {}
