"""Reordering stages against plain loops, and what each refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit import BM25, Analyzer, Collection, Document, Passage, Query, Retrieve, Run, Stage
from ragkit.compile import compile_pipeline
from ragkit.errors import InputError, ScaleError, ShapeError, UnknownNameError
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.pipelines.reorder import MMR, MinScore, PerDocument, Recency, TitleWeight
from ragkit.run import TextTable
from tests.fixed_stage import Fixed

DOCUMENTS = (0, 0, 1, 1, 1, 2, 3, 3)
NOW = datetime(2024, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shelf:
    """A source of eight passages of four documents, with what each test needs of them."""

    meta: tuple[dict[str, Any], ...] = field(default=({},) * 8, hash=False)
    titles: tuple[str, ...] = ("",) * 8
    grid: tuple[tuple[float, float], ...] = ((1.0, 0.0),) * 8
    key: str = "shelf"

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        return [f"d{DOCUMENTS[r]}" for r in rows]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        return [f"passage {r}" for r in rows]

    def passages(self, rows: NDArray[np.int64]) -> list[Passage]:
        return [Passage(f"passage {r}", f"d{DOCUMENTS[r]}", 0, 9, title=self.titles[r], meta=self.meta[r]) for r in rows]

    def document_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array(DOCUMENTS, np.int64)[rows]

    def vectors(self, index: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        assert index == "dense"
        found = np.array(self.grid, np.float32).reshape(8, 2)
        return (found / np.linalg.norm(found, axis=1, keepdims=True))[rows]

    def term_statistics(self) -> Words:
        return Words()


class Words:
    """ "pump" is in 1 of 10 rows, "valve" in 5, others in none."""

    analyzer = Analyzer(language="en")
    n_rows = 10

    def df(self, term: str) -> int:
        return {"pump": 1, "valv": 5}.get(term, 0)


def of(*hits: dict[int, float], scale: str = "bm25") -> Fixed:
    return Fixed((*(tuple(h.items()) for h in hits), *(((),) * (2 - len(hits)))), scale)


def fixed() -> st.SearchStrategy[Fixed]:
    one = st.dictionaries(st.integers(0, 7), st.integers(-4, 9).map(float), max_size=8).map(lambda d: tuple(sorted(d.items())))
    return st.tuples(one, one).map(Fixed)


def start(shelf: Shelf | TextTable | None = None, queries: Sequence[Query] = (Query("q1", "x"), Query("q2", "y"))) -> Run:
    return Run.of(list(queries), shelf or Shelf())


def hits(run: Run, q: int = 0) -> list[tuple[int, float]]:
    at = run.hits_of(q)
    return list(zip(run.rows[at].tolist(), run.scores[at].tolist(), strict=True))


def unit(ranking: list[tuple[int, float]]) -> dict[int, float]:
    """Min-max of one query, written out."""
    scores = [s for _, s in ranking]
    return {r: 1.0 if min(scores) == max(scores) else (s - min(scores)) / (max(scores) - min(scores)) for r, s in ranking}


def assert_close(run: Run, q: int, want: dict[int, float]) -> None:
    got = hits(run, q)
    assert got == sorted(got, key=lambda rs: (-rs[1], rs[0]))
    assert {r for r, _ in got} == want.keys()
    np.testing.assert_allclose([s for _, s in got], [want[r] for r, _ in got], atol=1e-6)


def assert_legs_follow(run: Run, before: Fixed) -> None:
    for q in range(2):
        assert run.legs["fixed"][run.hits_of(q)].tolist() == [dict(before.hits[q])[r] for r, _ in hits(run, q)]


# --- dropping -----------------------------------------------------------------------------------------------------------------


@given(fixed(), st.integers(-5, 9))
def test_min_score(a: Fixed, score: int) -> None:
    run = (a >> MinScore(score))(start())
    for q in range(2):
        assert hits(run, q) == [(r, s) for r, s in a.ranking(q) if s >= score]
    assert (run.scale, run.floor) == ("bm25", 0.0)
    assert_legs_follow(run, a)


def test_min_score_keeps_equal_scores_in_the_precision_of_a_run() -> None:
    for score in (0.1, 0.3, 0.7, 1e-3, 1 / 3):
        assert len((of({0: score}) >> MinScore(score))(start()).rows) == 1


@given(fixed(), st.integers(1, 4))
def test_per_document(a: Fixed, n: int) -> None:
    run = (a >> PerDocument(n))(start())
    for q in range(2):
        want, seen = [], dict.fromkeys(DOCUMENTS, 0)
        for r, s in a.ranking(q):
            seen[DOCUMENTS[r]] += 1
            if seen[DOCUMENTS[r]] <= n:
                want.append((r, s))
        assert hits(run, q) == want
    assert_legs_follow(run, a)
    one, best = (a >> PerDocument())(start()), a(start()).by_document()
    np.testing.assert_array_equal(one.rows, best.rows)


# --- recency ------------------------------------------------------------------------------------------------------------------


@given(
    fixed(),
    st.tuples(*[st.none() | st.integers(-20, 400)] * 8),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.sampled_from([1.0, 30.0]),
)
def test_recency(a: Fixed, ages: tuple[int | None, ...], weight: float, half_life: float) -> None:
    shelf = Shelf(meta=tuple({} if age is None else {"when": NOW - timedelta(days=age)} for age in ages))
    run = (a >> Recency("when", half_life, weight, now=NOW))(start(shelf))
    assert (run.scale, run.floor) == ("unit", 0.0)
    for q in range(2):
        want = {}
        for r, s in unit(a.ranking(q)).items() if a.ranking(q) else ():
            age = ages[r]
            want[r] = (1 - weight) * s + weight * (0.0 if age is None else 2 ** (-max(age, 0) / half_life))
        assert_close(run, q, want)
    assert_legs_follow(run, a)


def test_recency_counts_to_the_time_of_the_question() -> None:
    shelf = Shelf(meta=({"when": NOW - timedelta(days=10)}, {"when": NOW}, *({},) * 6))
    a = of({0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0})
    queries = [Query("then", "x", time=NOW - timedelta(days=10)), Query("now", "y", time=NOW)]
    run = (a >> Recency("when", 10.0, 1.0))(start(shelf, queries))
    assert hits(run, 0) == [(0, 1.0), (1, 1.0)]
    assert hits(run, 1) == [(1, 1.0), (0, 0.5)]
    (_, clock), *_ = hits((a >> Recency("when", 1e6, 1.0))(start(shelf)))
    assert 0.9 < clock < 1.0  # by the clock these are years old, of a half-life of thousands


def test_recency_over_a_collection(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    made.add([Document("pump news", id="old", meta={"at": NOW - timedelta(days=100)}), Document("pump news", id="new", meta={"at": NOW})])
    recent = Retrieve("bm25") >> Recency("at", 30, now=NOW)
    assert [h.id for h in made.search("pump", using=recent)] == ["new", "old"]
    with pytest.raises(UnknownNameError, match="no metadata field is called 'on'"):
        made.search("pump", using=Retrieve("bm25") >> Recency("on", 30))
    assert len(made.search("unknown", using=Retrieve("bm25") >> Recency("on", 30))) == 0


# --- maximal marginal relevance -----------------------------------------------------------------------------------------------

points = st.tuples(*[st.tuples(st.sampled_from([1.0, 0.6, -1.0]), st.sampled_from([0.8, 0.0, 2.0]))] * 8)


@given(fixed(), points, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(1, 8))
def test_mmr(a: Fixed, grid: tuple[tuple[float, float], ...], diversity: float, depth: int) -> None:
    shelf = Shelf(grid=grid)
    vectors = shelf.vectors("dense", np.arange(8))
    run = (a >> MMR(diversity, depth=depth))(start(shelf))
    for q in range(2):
        ranking = a.ranking(q)
        head = unit(ranking[:depth]) if ranking else {}
        left, chosen = list(head), []
        while left:
            worth = [(1 - diversity) * head[r] - diversity * max([0.0, *(float(vectors[r] @ vectors[c]) for c in chosen)]) for r in left]
            near = next(i for i, w in enumerate(worth) if w > max(worth) - 1e-6)  # equal up to rounding: the better placed
            chosen.append(left.pop(near))
        got = [r for r, _ in hits(run, q)]
        assert got[len(head) :] == [r for r, _ in ranking[depth:]]
        assert sorted(got) == sorted(r for r, _ in ranking)
        assert_greedy(got[: len(head)], head, vectors, diversity)
        if diversity == 0:
            assert got == [r for r, _ in ranking] == (chosen + [r for r, _ in ranking[depth:]])
        assert [s for _, s in hits(run, q)] == [-float(i) for i in range(len(got))]
    assert (run.scale, run.floor) == ("rank", None)
    assert_legs_follow(run, a)


def assert_greedy(chosen: list[int], relevance: dict[int, float], vectors: NDArray[np.float32], diversity: float) -> None:
    """Each choice is worth no less than any that was left, up to rounding."""
    for n, row in enumerate(chosen):
        worth = {
            r: (1 - diversity) * relevance[r] - diversity * max([0.0, *(float(vectors[r] @ vectors[c]) for c in chosen[:n])])
            for r in chosen[n:]
        }
        assert worth[row] >= max(worth.values()) - 1e-5


def test_mmr_by_hand() -> None:
    shelf = Shelf(grid=((1, 0), (1, 0), (0, 1), *((1.0, 0.0),) * 5))
    a = of({0: 10.0, 1: 9.0, 2: 2.0})  # relevance 1, .875, 0; 1 repeats 0, and 2 is at right angles to both
    assert [r for r, _ in hits((a >> MMR(0.3))(start(shelf)))] == [0, 1, 2]  # .7·.875 - .3·1 = .3125 against 0
    assert [r for r, _ in hits((a >> MMR(0.5))(start(shelf)))] == [0, 2, 1]  # .5·.875 - .5·1 = -.0625 against 0
    assert [r for r, _ in hits((a >> MMR(0.5, depth=2))(start(shelf)))] == [0, 1, 2]


# --- title weight -------------------------------------------------------------------------------------------------------------


@given(
    fixed(),
    st.tuples(*[st.sampled_from(["", "Pumps", "Valves", "The pump and its valve", "Boilers"])] * 8),
    st.sampled_from([0.0, 0.2, 2.0]),
)
def test_title_weight(a: Fixed, titles: tuple[str, ...], weight: float) -> None:
    idf = {"pump": math.log(1 + 9.5 / 1.5), "valv": math.log(1 + 5.5 / 5.5), "gasket": math.log(1 + 10.5 / 0.5)}
    words = {"": (), "Pumps": ("pump",), "Valves": ("valv",), "The pump and its valve": ("pump", "valv"), "Boilers": ()}
    queries = [Query("q1", "Where is the valve of the pump, and the pump gasket?"), Query("q2", "Who is it?")]
    run = (a >> TitleWeight(weight))(start(Shelf(titles=titles), queries))
    assert (run.scale, run.floor) == ("unit", 0.0)
    for q in range(2):
        want = {}
        for r, s in unit(a.ranking(q)).items() if a.ranking(q) else ():
            share = sum(idf[w] for w in words[titles[r]]) / sum(idf.values()) if q == 0 else 0.0
            want[r] = (s + weight * share) / (1 + weight)
        assert_close(run, q, want)
    assert_legs_follow(run, a)


def test_title_weight_over_a_collection(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")])
    text = "Intro.\n\nThe gasket is worn by the pump.\n"
    made.add([Document(text, id="a"), Document(text, id="b", title="Pump"), Document("Rain fell on the pump", id="c")])
    assert [h.id for h in made.search("the gasket of a pump", using=Retrieve("bm25") >> TitleWeight(1.0))][:1] == ["b"]


# --- as stages ----------------------------------------------------------------------------------------------------------------

STAGES = [MinScore(0.5), PerDocument(2), Recency("when", 3, now=NOW), MMR(), TitleWeight()]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: type(s).__name__)
def test_stages_are_data_and_keep_cuts_outside(stage: Stage) -> None:
    assert eval(repr(stage), {**globals(), "datetime": __import__("datetime")}) == stage
    assert len({stage, stage}) == 1
    a = of({0: 4.0, 1: 3.0, 2: 2.0, 5: 1.0}, {6: 1.0})
    pipeline = (a >> stage) % 2
    x, y = pipeline(start()), compile_pipeline(pipeline)(start())
    np.testing.assert_array_equal(x.rows, y.rows)
    assert compile_pipeline(pipeline) == a >> (stage % 2)
    assert len((of() >> stage)(start()).rows) == 0
    assert x.report[-1].stage == repr(stage)


def test_wrong_use_is_named() -> None:
    ranks = of({0: 1.0, 1: 0.5}) ^ of({2: 1.0})
    for stage in (MinScore(0.5), Recency("when", 3), MMR(), TitleWeight()):
        with pytest.raises(ScaleError, match="positions"):
            (ranks >> stage)(start())
    assert len((ranks >> PerDocument())(start()).rows) == 2
    for make in (
        lambda: MinScore(math.nan),
        lambda: MinScore("x"),  # type: ignore[arg-type]
        lambda: Recency("when", 0),
        lambda: Recency("when", 3, weight=1.5),
        lambda: MMR(-0.1),
        lambda: MMR(True),
        lambda: TitleWeight(-1),
    ):
        with pytest.raises(InputError, match="must be a finite number"):
            make()
    with pytest.raises(InputError, match="n must be a whole number of at least 1, got 0"):
        PerDocument(0)
    with pytest.raises(InputError, match="depth must be a whole number"):
        MMR(depth=0)
    with pytest.raises(InputError, match="the now must be a datetime with a zone"):
        Recency("when", 3, now=datetime(2024, 1, 1))
    with pytest.raises(InputError, match="time of query 'q'"):
        (of({0: 1.0}) >> Recency("when", 3))(Run.of([Query("q", "x", time=datetime(2024, 1, 1)), Query("p", "x")], Shelf()))
    with pytest.raises(InputError, match="field 'year' of document 'd0' holds 2020"):
        (of({0: 1.0}) >> Recency("year", 3))(start(Shelf(meta=({"year": 2020}, *({},) * 7))))
    table = TextTable(tuple("abcdefgh"), tuple("abcdefgh"))
    with pytest.raises(InputError, match="MMR needs vectors and a TextTable has none"):
        (of({0: 1.0}) >> MMR())(start(table))
    with pytest.raises(InputError, match="add BM25 to the collection"):
        (of({0: 1.0}) >> TitleWeight())(start(table))
    for stage in (PerDocument(), MMR(), TitleWeight(), Recency("when", 3)):
        with pytest.raises(InputError, match=r"bind the pipeline with .on\(collection\)"):
            stage(replace(of({0: 1.0})(start()), source=None))

    @dataclass(frozen=True)
    class Flat(Shelf):
        def vectors(self, index: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.zeros(3, np.float32)

    with pytest.raises(ShapeError, match="vectors of 1 hits"):
        (of({0: 1.0}) >> MMR())(start(Flat()))


def test_a_collection_without_term_statistics_is_told(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[RankBM25()], chunker=None)
    made.add([Document("a pump", id="a")])
    with pytest.raises(InputError, match="lexical index"):
        made.search("pump", using=Retrieve("rank_bm25") >> TitleWeight())
