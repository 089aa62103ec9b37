"""The laws of the stage algebra, on any runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.compile import Shared, compile_pipeline, push_cuts
from ragkit.errors import InputError, ScaleError, SnapshotMismatch
from ragkit.run import Run, TextTable
from ragkit.stage import Identity, Retrieve, Stage, Then
from ragkit.types import Query
from tests.fixed_stage import Fixed

TABLE = TextTable(tuple("abcdefgh"), tuple("abcdefgh"))


def one_query() -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    return st.dictionaries(st.integers(0, 7), st.integers(0, 9), max_size=6).map(lambda d: tuple(sorted(d.items())))


def fixed(leg: str = "fixed") -> st.SearchStrategy[Fixed]:
    return st.tuples(one_query(), one_query()).map(lambda h: Fixed(h, leg=leg))


START = Run.of([Query("q1", "x"), Query("q2", "y")], TABLE)


def same(x: Stage, y: Stage) -> None:
    a, b = x(START), y(START)
    np.testing.assert_array_equal(a.indptr, b.indptr)
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (a.scale, a.floor, set(a.legs)) == (b.scale, b.floor, set(b.legs))
    for name in a.legs:
        np.testing.assert_array_equal(a.legs[name], b.legs[name])
    assert_order(a)


def assert_order(run: Run) -> None:
    for q in range(len(run)):
        hits = list(zip((-run.scores[run.hits_of(q)]).tolist(), run.rows[run.hits_of(q)].tolist(), strict=True))
        assert hits == sorted(hits)
        assert len({r for _, r in hits}) == len(hits)


ks = st.integers(1, 9)


@given(fixed("a"), fixed("b"), fixed("c"), ks, ks)
def test_cuts_and_lattice(a: Fixed, b: Fixed, c: Fixed, k: int, m: int) -> None:
    same((a % k) % m, a % min(k, m))
    same(a | b, b | a)
    same(a & b, b & a)
    same((a | b) | c, a | (b | c))
    same((a & b) & c, a & (b & c))
    same(a | a, a)
    same(a & a, a)


@given(fixed(), fixed())
def test_absorption(a: Fixed, b: Fixed) -> None:
    for x, y in ((a | (a & b), a), (a & (a | b), a)):
        left, right = x(START), y(START)
        np.testing.assert_array_equal(left.rows, right.rows)
        np.testing.assert_array_equal(left.scores, right.scores)


@given(fixed("a"), fixed("b"), fixed("c"), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_sums_and_weights(a: Fixed, b: Fixed, c: Fixed, w: float) -> None:
    same(a + b, b + a)
    same((a + b) + c, a + (b + c))
    same(w * (a + b), w * a + w * b)
    same(1.0 * a, a)


@given(fixed("a"), fixed("b"))
def test_sum_is_what_it_says(a: Fixed, b: Fixed) -> None:
    """A plain dictionary oracle; a row absent from one side counts as the floor, 0 for bm25."""
    run = (a + b)(START)
    for q in range(2):
        x, y = dict(a.hits[q]), dict(b.hits[q])
        want = {r: x.get(r, 0) + y.get(r, 0) for r in x.keys() | y.keys()}
        at = run.hits_of(q)
        assert dict(zip(run.rows[at].tolist(), run.scores[at].tolist(), strict=True)) == want
        for leg, side in (("a", x), ("b", y)):
            values = run.legs[leg][at] if leg in run.legs else np.full(at.stop - at.start, np.nan)
            assert [side.get(r) for r in run.rows[at].tolist()] == [None if np.isnan(v) else v for v in values]


def test_floor_of_cosine_counts_for_absent_rows() -> None:
    a, b = Fixed((((0, 1),), ()), "cosine", "a"), Fixed((((1, 1),), ()), "cosine", "b")
    run = (a + b)(START)
    assert run.rows.tolist() == [0, 1]
    assert run.scores.tolist() == [0.0, 0.0]  # 1 + (-1) each
    assert run.floor == -2.0


@given(fixed("a"), fixed("b"))
def test_concatenation(a: Fixed, b: Fixed) -> None:
    first, second, both = a(START), b(START), (a ^ b)(START)
    for q in range(2):
        x, y = first.rows[first.hits_of(q)].tolist(), second.rows[second.hits_of(q)].tolist()
        assert both.rows[both.hits_of(q)].tolist() == x + [r for r in y if r not in x]
    assert both.scale == "rank"
    assert_order(both)


@given(fixed(), fixed(), fixed())
def test_sequence(a: Fixed, b: Fixed, c: Fixed) -> None:
    assert (a >> b) >> c == a >> (b >> c)
    assert Identity() >> a == a == a >> Identity()
    same((a >> b) >> c, c)


def pipelines() -> st.SearchStrategy[Stage]:
    leaf = st.one_of(fixed("a"), fixed("b"))
    return st.recursive(
        leaf,
        lambda s: st.one_of(
            st.tuples(s, ks).map(lambda t: t[0] % t[1]),
            st.tuples(s, s).map(lambda t: t[0] | t[1]),
            st.tuples(s, s).map(lambda t: t[0] & t[1]),
            st.tuples(s, s).map(lambda t: t[0] + t[1]),
            st.tuples(s, s).map(lambda t: t[0] >> t[1]),
            s.map(lambda a: 2.0 * a),
        ),
        max_leaves=8,
    )


@given(pipelines(), ks)
def test_compiling_keeps_the_result(pipeline: Stage, k: int) -> None:
    cut = pipeline % k
    try:
        same(compile_pipeline(cut), cut)
    except ScaleError:
        with pytest.raises(ScaleError):
            cut(START)
    same((pipeline ^ pipeline) % k, compile_pipeline((pipeline ^ pipeline) % k))


def test_cuts_reach_the_retriever() -> None:
    assert push_cuts((Retrieve("bm25") % 50) % 7) == Retrieve("bm25", 7)
    assert push_cuts((Identity() >> Retrieve("bm25")) % 7) == Retrieve("bm25", 7)
    union = (Retrieve("a", 100) | Retrieve("b", 5)) % 10
    assert push_cuts(union) == union  # the legs of the hits that stay need both sides whole


@given(fixed("a"), fixed("b"), ks)
def test_compiling_keeps_every_leg(a: Fixed, b: Fixed, k: int) -> None:
    for pipeline in ((a | b) % k, (a ^ b) % k, (a + b) % k, (a & b) % k, ((a % 9) | (b % 9)) % k):
        same(pipeline, compile_pipeline(pipeline))


def test_stages_of_any_class_run_and_unhashable_ones_are_named() -> None:
    class Plain(Stage):
        def apply(self, run: Run, /) -> Run:
            return Fixed((((1, 2),), ()))(run)

    assert compile_pipeline(Plain() % 1)(START).rows.tolist() == [1]

    @dataclass
    class Loose(Stage):
        words: list[str]

        def apply(self, run: Run, /) -> Run:
            return run

    with pytest.raises(InputError, match="must be hashable"):
        compile_pipeline(Loose(["a"]) >> Retrieve("bm25"))


def test_shared_parts_run_once() -> None:
    calls: list[int] = []

    @dataclass(frozen=True)
    class Counted(Fixed):
        def apply(self, run: Run, /) -> Run:
            calls.append(1)
            return super().apply(run)

    part = Counted((((1, 2), (3, 4)), ()))
    pipeline = (part + part) ^ (part % 1)
    plain = pipeline(START)
    assert len(calls) == 3
    calls.clear()
    compiled = compile_pipeline(pipeline)(START)
    assert len(calls) == 1
    np.testing.assert_array_equal(plain.rows, compiled.rows)
    assert not isinstance(compile_pipeline(part), Shared)


def test_nodes_are_data() -> None:
    a, b = Retrieve("bm25"), Retrieve("dense", 5)
    assert (a | b) % 5 == (a | b) % 5
    assert len({a | b, a | b, a & b}) == 2
    assert repr(2 * (a % 3)) == "2.0 * (Retrieve('bm25', k=1000) % 3)"
    assert repr((2 * a) % 3) == "(2.0 * Retrieve('bm25', k=1000)) % 3"
    assert repr(0.1234567891 * a).startswith("0.1234567891 * ")
    assert repr(0.5 * a + b % 3) == "(0.5 * Retrieve('bm25', k=1000) + Retrieve('dense', k=5) % 3)"
    assert repr(a >> b | a) == "((Retrieve('bm25', k=1000) >> Retrieve('dense', k=5)) | Retrieve('bm25', k=1000))"
    assert isinstance(a >> b >> a, Then)


def test_wrong_use_is_named() -> None:
    a = Fixed(((), ()))
    with pytest.raises(ScaleError, match="'bm25' and 'cosine'"):
        (a + Fixed(((), ()), "cosine"))(START)
    with pytest.raises(ScaleError):
        ((a ^ a) + (a ^ a))(START)
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        a % 0
    with pytest.raises(InputError, match="got -1"):
        Retrieve("bm25", -1)
    with pytest.raises(InputError, match="weight must be"):
        -1.0 * a
    with pytest.raises(InputError, match="must be a stage, got str"):
        a >> "bm25"  # type: ignore[operator]
    for weight in ("x", True, None):
        with pytest.raises(InputError, match="weight must be"):
            weight * a  # type: ignore[operator]
    with pytest.raises(InputError, match="needs a collection"):
        Retrieve("bm25")(START)
    other = replace(a(START), source=TextTable(("z",), ("z",)))
    with pytest.raises(SnapshotMismatch, match="different sources"):
        a(START).same_source(other)


def test_reports_tell_what_each_stage_did() -> None:
    a, b = Fixed((((1, 2),), ()), leg="a"), Fixed((((1, 3), (2, 1)), ()), leg="b")
    report = ((a + b) % 1)(START).report
    assert [(r.queries, r.hits) for r in report] == [(2, 1), (2, 2), (2, 2)]
    assert all(r.seconds >= 0 for r in report)


def test_run_from_texts_and_its_views() -> None:
    run = Run.from_texts("which?", ["one", "two"], ["x", "y"])
    assert run.texts() == ["one", "two"]
    assert run.to_dict() == {"0": {"x": 0.0, "y": -1.0}}
    assert run.to_frame().columns.tolist() == ["qid", "query", "docno", "start", "end", "score", "rank", "text"]
    with pytest.raises(InputError, match="different ids"):
        Run.of([Query("q", "a"), Query("q", "b")])
    with pytest.raises(InputError, match="NaN"):
        replace(run, scores=np.array([np.nan, 0], np.float32))
