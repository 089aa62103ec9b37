"""Fusions against plain loops, and their laws on any runs."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, Query, Retrieve, Run, Stage
from ragkit.compile import compile_pipeline, push_cuts
from ragkit.errors import InputError, ScaleError, SnapshotMismatch, UnknownNameError
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.named import named_pipeline
from ragkit.pipelines.fusion import interpolate, pool, rrf
from ragkit.pipelines.fusion.bounds import score_bounds
from ragkit.pipelines.fusion.legs import total
from ragkit.pipelines.fusion.normalise import minmax
from ragkit.pipelines.hybrid import DEPTH, NORMALISE, WEIGHTS, hybrid
from ragkit.run import TextTable
from tests.fixed_stage import Fixed

TABLE = TextTable(tuple("abcdefgh"), tuple("abcdefgh"))
START = Run.of([Query("q1", "x"), Query("q2", "y")], TABLE)

Scores = dict[int, float]


def of(first: Scores, second: Scores | None = None, scale: str = "bm25", leg: str = "fixed") -> Fixed:
    return Fixed((tuple(first.items()), tuple((second or {}).items())), scale, leg)


def fixed(leg: str) -> st.SearchStrategy[Fixed]:
    one = st.dictionaries(st.integers(0, 7), st.integers(-4, 9).map(float), max_size=6).map(lambda d: tuple(sorted(d.items())))
    return st.tuples(one, one).map(lambda h: Fixed(h, leg=leg))


def hits(run: Run, q: int = 0) -> Scores:
    at = run.hits_of(q)
    return dict(zip(run.rows[at].tolist(), run.scores[at].tolist(), strict=True))


def ordered(scores: Scores) -> list[int]:
    """Rows by the law of order, from scores as a run holds them."""
    return [r for _, r in sorted((-float(np.float32(s)), r) for r, s in scores.items())]


def assert_same(a: Run, b: Run) -> None:
    for x, y in ((a.indptr, b.indptr), (a.rows, b.rows), (a.scores, b.scores)):
        np.testing.assert_array_equal(x, y)
    assert (a.scale, a.floor, set(a.legs)) == (b.scale, b.floor, set(b.legs))
    for name in a.legs:
        np.testing.assert_array_equal(a.legs[name], b.legs[name])


def assert_is(run: Run, q: int, want: Scores) -> None:
    """A query's hits are these, in order."""
    got = hits(run, q)
    assert got.keys() == want.keys()
    np.testing.assert_allclose([got[r] for r in want], list(want.values()), rtol=1e-6, atol=1e-7)
    assert list(got) == ordered(got)


# --- reciprocal rank fusion ---------------------------------------------------------------------------------------------------


def test_rrf_by_hand() -> None:
    a, b = of({0: 9.0, 1: 5.0, 2: 1.0}, leg="a"), of({2: 0.9, 0: 0.1}, scale="cosine", leg="b")
    run = rrf(a, b)(START)
    # row 0: 1/61 + 1/62; row 2: 1/63 + 1/61; row 1: 1/62
    assert_is(run, 0, {0: 1 / 61 + 1 / 62, 2: 1 / 63 + 1 / 61, 1: 1 / 62})
    assert (run.scale, run.floor) == ("rrf", 0.0)
    np.testing.assert_array_equal(run.legs["a"], np.array([9, 1, 5], np.float32))
    np.testing.assert_array_equal(run.legs["b"], np.array([0.1, 0.9, np.nan], np.float32))
    assert_is(rrf(a, b, k=0, weights=(2, 1))(START), 0, {0: 2 / 1 + 1 / 2, 1: 2 / 2, 2: 2 / 3 + 1 / 1})


@given(fixed("a"), fixed("b"), fixed("c"), st.sampled_from([0, 1, 60]), st.tuples(*[st.integers(0, 3)] * 3).filter(any))
def test_rrf_is_what_it_says(a: Fixed, b: Fixed, c: Fixed, k: int, weights: tuple[int, int, int]) -> None:
    run = rrf(a, b, c, k=k, weights=weights)(START)
    for q in range(2):
        want: Scores = {}
        for leg, w in zip((a, b, c), weights, strict=True):
            for rank, row in enumerate(leg.rows(q), 1):
                if w:
                    want[row] = want.get(row, 0.0) + w / (k + rank)
        assert_is(run, q, want)


@given(fixed("a"), fixed("b"), fixed("c"), st.tuples(*[st.sampled_from([0.0, 0.3, 1.0, 1.7])] * 3).filter(any))
def test_order_of_the_legs_does_not_matter(a: Fixed, b: Fixed, c: Fixed, weights: tuple[float, ...]) -> None:
    for fuse in (rrf, interpolate):
        first = fuse(a, b, c, weights=weights)(START)
        for order in itertools.permutations(range(3)):
            again = fuse(*((a, b, c)[i] for i in order), weights=[weights[i] for i in order])(START)
            if fuse is rrf:
                assert_same(first, again)
            else:  # the sum of the weights, by which they are divided, may differ in its last bit
                np.testing.assert_allclose(*(sorted(hits(run).values()) for run in (first, again)), rtol=1e-6)
    assert_same(interpolate(a, b)(START), interpolate(b, a)(START))


def test_sums_do_not_depend_on_the_order_in_which_they_round() -> None:
    parts = [np.array([x]) for x in (1e16, 1.0, -1e16)]  # added in turn 0, 0 or 1
    assert len({total(order).tobytes() for order in itertools.permutations(parts)}) == 1


def test_a_leg_that_several_stages_have_keeps_the_larger_score() -> None:
    run = rrf(of({0: 1.0, 1: 5.0}), of({0: 2.0, 2: 3.0}))(START)
    assert dict(zip(run.rows.tolist(), run.legs["fixed"].tolist(), strict=True)) == {0: 2.0, 1: 5.0, 2: 3.0}


@given(fixed("a"), fixed("b"))
def test_rrf_sees_only_ranks(a: Fixed, b: Fixed) -> None:
    grown = replace(a, hits=tuple(tuple((r, math.exp(s / 3) - 5) for r, s in h) for h in a.hits), scale="cosine")
    x, y = rrf(a, b)(START), rrf(grown, b)(START)
    np.testing.assert_array_equal(x.rows, y.rows)
    np.testing.assert_array_equal(x.scores, y.scores)
    assert_same(rrf(a ^ b, b)(START), rrf(a ^ b, b)(START))  # positions are welcome


def test_rrf_of_positions() -> None:
    a, b = of({0: 2.0, 1: 1.0}), of({2: 1.0})
    assert_is(rrf(a ^ b, b)(START), 0, {0: 1 / 61, 1: 1 / 62, 2: 1 / 63 + 1 / 61})


# --- interpolation ------------------------------------------------------------------------------------------------------------


def normalised(leg: Scores, method: str) -> Scores:
    """Normalisation of one query, written out."""
    if not leg:
        return {}
    low, high = min(leg.values()), max(leg.values())
    if low == high:
        return dict.fromkeys(leg, 1.0)
    if method == "minmax":
        return {r: (s - low) / (high - low) for r, s in leg.items()}
    mean = sum(leg.values()) / len(leg)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in leg.values()) / len(leg))
    return {r: (s - mean) / deviation for r, s in leg.items()}


@given(
    fixed("a"),
    fixed("b"),
    fixed("c"),
    st.tuples(*[st.integers(0, 3)] * 3).filter(any),
    st.sampled_from(["minmax", "zscore"]),
    st.sampled_from(["min", "zero", "drop"]),
)
def test_interpolate_is_what_it_says(a: Fixed, b: Fixed, c: Fixed, weights: tuple[int, ...], method: str, missing: str) -> None:
    run = interpolate(a, b, c, weights=weights, normalise=method, missing=missing)(START)
    assert (run.scale, run.floor) == (("unit", 0.0) if method == "minmax" else ("zscore", None))
    for q in range(2):
        legs = [normalised(dict(leg.hits[q]), method) for leg in (a, b, c)]
        counted = [leg.keys() for leg, w in zip(legs, weights, strict=True) if w]
        rows = set.intersection(*map(set, counted)) if missing == "drop" else set().union(*counted)
        want = {}
        for row in rows:
            want[row] = 0.0
            for leg, w in zip(legs, weights, strict=True):
                same = len(set(leg.values())) <= 1
                absent = min(leg.values()) if missing == "min" and not same else 0.0
                want[row] += w / sum(weights) * leg.get(row, absent)
        assert_is(run, q, want)
        for name, leg in (("a", a), ("b", b), ("c", c)):
            at, own = run.hits_of(q), dict(leg.hits[q])
            got = run.legs[name][at].tolist()
            assert [None if math.isnan(v) else v for v in got] == [own.get(r) for r in run.rows[at].tolist()]


def test_interpolate_by_hand() -> None:
    a, b = of({0: 10.0, 1: 6.0, 2: 2.0}, leg="a"), of({2: 0.9, 3: 0.5}, scale="cosine", leg="b")
    # a: 1, 0.5, 0; b: row 2 1, row 3 0
    assert_is(interpolate(a, b, alpha=0.25)(START), 0, {0: 0.25, 1: 0.125, 2: 0.75, 3: 0.0})
    assert_is(interpolate(a, b, missing="drop")(START), 0, {2: 0.5})
    # z-scores of a: ±sqrt(3/2), 0; of b: ±1; a row that a leg lacks gets the leg's lowest
    z = math.sqrt(1.5)
    assert_is(interpolate(a, b, normalise="zscore")(START), 0, {0: (z - 1) / 2, 1: -0.5, 2: (1 - z) / 2, 3: (-1 - z) / 2})


def test_a_leg_whose_hits_all_score_the_same_is_not_erased() -> None:
    for one in (of({3: 7.0}), of({3: 7.0, 4: 7.0})):
        for method in ("minmax", "zscore"):
            assert hits(interpolate(one, of({0: 2.0, 1: 1.0}), normalise=method)(START))[3] > hits(
                interpolate(one, of({0: 2.0, 1: 1.0}), normalise=method)(START)
            ).get(1, -9)
        assert_is(interpolate(one, of({}))(START), 0, dict.fromkeys((r for r, _ in one.hits[0]), 0.5))
    assert minmax(of({3: 7.0})(START)).tolist() == [1.0]


@given(fixed("a"), fixed("b"), st.sampled_from(["minmax", "zscore"]))
def test_alpha_0_and_1_are_the_single_runs(a: Fixed, b: Fixed, method: str) -> None:
    for alpha, alone in ((1.0, a), (0.0, b)):
        run = interpolate(a, b, alpha=alpha, normalise=method)(START)
        assert [run.rows[run.hits_of(q)].tolist() for q in range(2)] == [alone.rows(q) for q in range(2)]
        assert set(run.legs) == {"a", "b"}
    w = rrf(a, b, weights=(1, 0))(START)
    assert [w.rows[w.hits_of(q)].tolist() for q in range(2)] == [a.rows(q) for q in range(2)]


@given(fixed("a"), fixed("b"), st.sampled_from([0.5, 2.0, 8.0]), st.integers(-8, 8), st.sampled_from(["minmax", "zscore"]))
def test_positive_affine_changes_do_not_matter(a: Fixed, b: Fixed, times: float, plus: int, method: str) -> None:
    moved = replace(a, hits=tuple(tuple((r, times * s + plus) for r, s in h) for h in a.hits))
    x, y = (interpolate(leg, b, normalise=method)(START) for leg in (a, moved))
    for q in range(2):
        assert hits(x, q).keys() == hits(y, q).keys()
        np.testing.assert_allclose([hits(y, q)[r] for r in hits(x, q)], list(hits(x, q).values()), atol=1e-6)


def test_bounds_of_scales() -> None:
    cosine, unit, bm25 = of({0: 0.5, 1: -0.5}, scale="cosine"), of({0: 0.25, 2: 0.75}, scale="unit"), of({0: 4.0, 1: 1.0})
    # cosine: .75, .25; unit as it is; bm25: from 0 to the highest, as the source knows no index: 1, .25
    assert_is(interpolate(cosine, unit, normalise="bounds")(START), 0, {0: 0.5, 1: 0.25, 2: 0.5})  # absent: .25 each
    assert_is(interpolate(cosine, bm25, normalise="bounds", missing="zero")(START), 0, {0: 0.875, 1: 0.25})
    assert_is(interpolate(cosine + cosine, bm25, normalise="bounds")(START), 0, {0: 0.875, 1: 0.25})  # bounds -2 and 2
    with pytest.raises(ScaleError, match="'okapi' have no known bounds"):
        interpolate(of({0: 1.0}, scale="okapi"), unit, normalise="bounds")(START)
    with pytest.raises(ScaleError, match="outside the bounds 0 and 1 of the scale 'unit'"):
        interpolate(2 * unit, cosine, normalise="bounds")(START)


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire", "l", "plus"])
def test_no_row_scores_above_the_bm25_bound(tmp_path: Path, method: str) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(method=method, language="en")], chunker=None)
    made.add([Document(t, id=str(i)) for i, t in enumerate(["cat " * 4000, "a cat and a dog", "birds fly", "fish", "bees hum"])])
    run = Retrieve("bm25").on(made)(["cat", "cat cat dog", "unknown"])
    lower, upper = score_bounds(run)
    assert lower.tolist() == [0, 0, 0]
    best = [run.scores[run.hits_of(q)].max(initial=0) for q in range(3)]
    assert best[0] == pytest.approx(upper[0], rel=2e-3)  # a row that says nothing but the question comes near it
    assert best[1] < upper[1]
    assert upper[2] == 0
    weighted = (2 * Retrieve("bm25")).on(made)(["cat"])
    assert score_bounds(weighted)[1].tolist() == [weighted.scores.max()]  # scores of another amount: their own highest


# --- pooling ------------------------------------------------------------------------------------------------------------------


@given(fixed("a"), fixed("b"), fixed("c"), st.integers(1, 7))
def test_pool_is_a_round_robin(a: Fixed, b: Fixed, c: Fixed, depth: int) -> None:
    run = pool(a, b, c, depth=depth)(START)
    for q in range(2):
        want: list[int] = []
        for place in range(depth):
            for leg in (a, b, c):
                ranking = leg.rows(q)
                if place < len(ranking) and ranking[place] not in want:
                    want.append(ranking[place])
        at = run.hits_of(q)
        assert run.rows[at].tolist() == want
        assert run.scores[at].tolist() == [-float(i) for i in range(len(want))]
    assert (run.scale, run.floor) == ("rank", None)
    assert set(run.legs) == {"a", "b", "c"}


# --- as stages ----------------------------------------------------------------------------------------------------------------


def test_every_leg_retrieves_to_its_own_depth() -> None:
    a, b = Retrieve("bm25", 500), Retrieve("dense", 300)
    for fused in (rrf(a, b), interpolate(a, b), pool(a, b)):
        assert push_cuts(fused % 10) == fused % 10
        assert push_cuts((a >> fused) % 10) == a >> (fused % 10)
    assert push_cuts(rrf(a % 20, b) % 10) == rrf(Retrieve("bm25", 20), b) % 10
    expected = interpolate(Retrieve("bm25", 50), Retrieve("dense", 50), weights=(0.3, 0.7), normalise="zscore")
    assert hybrid(depth=50) == expected
    assert push_cuts(hybrid(depth=50) % 10) == expected % 10


@given(fixed("a"), fixed("b"), st.integers(1, 9))
def test_compiling_keeps_the_result(a: Fixed, b: Fixed, k: int) -> None:
    for fused in (rrf(a, b, a), interpolate(a % 2, b), pool(a, b), rrf(interpolate(a, b), a | b)):
        assert_same(compile_pipeline(fused % k)(START), (fused % k)(START))


def test_shared_legs_run_once_and_reports_are_kept() -> None:
    a, b = of({0: 1.0}, leg="a"), of({1: 1.0}, leg="b")
    report = rrf(a, interpolate(a, b))(START).report
    assert [r.stage.split("(")[0] for r in report] == ["Fixed", "Fixed", "Fixed", "interpolate", "rrf"]
    calls = []

    @dataclass(frozen=True)
    class Counted(Fixed):
        def apply(self, run: Run, /) -> Run:
            calls.append(1)
            return super().apply(run)

    counted = Counted((((0, 1.0),), ()))
    compile_pipeline(rrf(counted, interpolate(counted, b)) % 3)(START)
    assert len(calls) == 1


def test_equal_scores_are_in_order_of_rows_whatever_their_sign_of_zero() -> None:
    weighted = 1.0 * of({5: 0.0, 2: -0.0, 7: 1.0, 1: -1.0, 3: -2.0})
    assert weighted(START).rows.tolist() == [7, 2, 5, 1, 3]
    assert (weighted + of({6: 0.0, 4: -3.0}))(START).rows.tolist() == [7, 2, 5, 6, 1, 3, 4]


def test_hybrid_is_a_pipeline_by_name() -> None:
    assert named_pipeline("hybrid", ["bm25", "dense"]) == hybrid()
    assert hybrid() == interpolate(Retrieve("bm25", DEPTH), Retrieve("dense", DEPTH), weights=WEIGHTS, normalise=NORMALISE)
    assert hybrid(weights=(2, 1), depth=9) == interpolate(Retrieve("bm25", 9), Retrieve("dense", 9), weights=(2, 1), normalise=NORMALISE)


def test_nodes_are_data() -> None:
    a, b = Retrieve("bm25"), Retrieve("dense", 5)
    assert rrf(a, b) == rrf(a, b, k=60, weights=[1, 1])
    assert len({rrf(a, b), rrf(b, a), rrf(a, b, k=10), pool(a, b), interpolate(a, b), interpolate(a, b, alpha=0.5)}) == 5
    for stage in (
        rrf(a, b, k=7, weights=(1, 2)),
        interpolate(a, b, alpha=0.35),
        interpolate(a, b, a, weights=(1, 2, 3)),
        pool(a, b, depth=9),
    ):
        assert eval(repr(stage)) == stage


def test_empty_legs() -> None:
    nothing, b = of({}), of({1: 3.0})
    for fused in (rrf(nothing, b), interpolate(nothing, b), interpolate(nothing, b, normalise="zscore"), pool(nothing, b)):
        assert fused(START).rows.tolist() == [1]
    for fused in (rrf(nothing, nothing), interpolate(nothing, nothing), pool(nothing, nothing)):
        assert len(fused(START).rows) == 0
    assert len(interpolate(nothing, b, missing="drop")(START).rows) == 0


def test_wrong_use_is_named() -> None:
    a, b = of({0: 1.0}), of({0: 2.0})
    with pytest.raises(ScaleError, match="fuse them with rrf"):
        interpolate(a ^ b, b)(START)
    with pytest.raises(ScaleError, match="'unit' and 'rrf'"):
        (interpolate(a, b) + rrf(a, b))(START)
    with pytest.raises(ScaleError, match="'zscore' don't add"):
        (interpolate(a, b, normalise="zscore") + interpolate(a, b, normalise="zscore"))(START)
    with pytest.raises(InputError, match="infinite"):
        interpolate(of({0: math.inf, 1: 1.0}), b)(START)
    with pytest.raises(InputError, match="at least two stages, got 1"):
        rrf(a)
    with pytest.raises(InputError, match=r"got str; write Retrieve\('bm25'\)"):
        rrf("bm25", "dense")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got list; write pool\(a, b\)"):
        pool([a, b], a)  # type: ignore[arg-type]
    for k in (-1, math.nan, "x", True):
        with pytest.raises(InputError, match="k of rrf must be a number"):
            rrf(a, b, k=k)  # type: ignore[arg-type]
    for weights in ((1,), (1, -1), (0, 0), (1, math.inf), (1, "x")):
        with pytest.raises(InputError, match="weights"):
            rrf(a, b, weights=weights)  # type: ignore[arg-type]
    for alpha in (-0.1, 1.1, math.nan, "x", True):
        with pytest.raises(InputError, match="alpha must be a number from 0 to 1"):
            interpolate(a, b, alpha=alpha)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="alpha weighs two stages and 3 were given"):
        interpolate(a, b, a, alpha=0.5)
    with pytest.raises(InputError, match="alpha and weights say the same"):
        interpolate(a, b, alpha=0.5, weights=(1, 1))
    with pytest.raises(UnknownNameError, match="did you mean 'minmax'"):
        interpolate(a, b, normalise="min-max")
    with pytest.raises(UnknownNameError, match="no policy for missing rows is called 'none'"):
        interpolate(a, b, missing="none")
    with pytest.raises(InputError, match="depth must be a whole number of at least 1, got 0"):
        pool(a, b, depth=0)
    with pytest.raises(InputError, match="list of names"):
        hybrid(indexes="bm25")
    with pytest.raises(SnapshotMismatch):
        rrf(a, Elsewhere())(START)


@dataclass(frozen=True)
class Elsewhere(Stage):
    def apply(self, run: Run, /) -> Run:
        return replace(run, source=TextTable(("z",), ("z",)))


def test_bound_pipelines_and_a_real_collection(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en"), RankBM25()], chunker=None)
    made.add([Document(t, id=str(i)) for i, t in enumerate(["the cat sat", "a dog and a cat", "birds fly", "cat cat", "sea and sky"])])
    a, b = Retrieve("bm25"), Retrieve("rank_bm25")
    hit = made.search("cat", using=interpolate(a, b, alpha=0.3) % 2)[0]
    assert set(hit.scores) == {"bm25", "rank_bm25"}
    assert hit.scores["bm25"] == pytest.approx(made.search("cat", using="bm25")[0].score)
    assert [h.id for h in made.search("cat", using=hybrid(indexes=("bm25", "rank_bm25")))] == [h.id for h in made.search("cat")]
    with pytest.raises(InputError, match=r"bind the whole: rrf\(a, b\).on\(collection\)"):
        rrf(made.retriever("bm25"), b)  # type: ignore[arg-type]
    assert len(hybrid(indexes=("bm25", "rank_bm25")).on(made)(["cat", "nothing known"]).rows) == 3


def test_a_thousand_queries_of_a_thousand_hits_take_well_under_a_second() -> None:
    rng = np.random.default_rng(7)
    n = 1000
    start = Run.of([Query(str(i), "x") for i in range(n)], TABLE)

    def leg(name: str) -> Stage:
        rows = np.concatenate([rng.permutation(5 * n)[:n] for _ in range(n)])
        scores = -np.sort(-rng.random((n, n), np.float32), axis=1).ravel()
        run = start.fill(np.arange(n + 1) * n, rows, scores, scale="unit", leg=name)

        @dataclass(frozen=True)
        class Given(Stage):
            def apply(self, _: Run, /) -> Run:
                return run

        return Given()

    a, b = leg("a"), leg("b")
    for fused in (rrf(a, b), interpolate(a, b), pool(a, b, depth=n)):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            fused(start)
            seconds.append(time.perf_counter() - began)
        assert min(seconds) < 2  # 0.3 on an idle core; a loop over rows takes ten times that
