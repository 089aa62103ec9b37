"""`compare`: figures against the single functions, significance, latency, single queries, every refusal."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ragkit
from ragkit import BM25, Collection, Document, Query, Retrieve, Tokens
from ragkit.errors import Cancelled, InputError, ScaleError, UnknownNameError
from ragkit.evaluation import bootstrap_interval, compare, evaluate, holm, randomization_test, write_run
from ragkit.evaluation.table import Rows, text_table
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.run import Run

TEXTS = {
    "pump": "The pump has a gasket. The gasket of the pump is replaced every 200 hours.",
    "boiler": "The boiler is checked in spring. Its valve opens at 3.5 bar.",
    "parking": "Staff may park behind building C. Visitors use the <front>.",
    "valve": "A valve is turned by hand.",
}
QUERIES = {"q1": "gasket of the pump", "q2": "valve of the boiler", "q3": "where to park?", "q4": "never judged"}
QRELS = {"q1": {"pump": 1}, "q2": {"boiler": 2, "valve": 1}, "q3": {"parking": 1, "lost": 1}, "q9": {"pump": 1}, "q4": {"pump": 0}}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    made = Collection.create(tmp_path_factory.mktemp("c") / "c", indexes=[BM25(language="en"), RankBM25()], chunker=None)
    made.add([Document(text, id=id, title=id.title()) for id, text in TEXTS.items()])
    return made


def random_systems(n: int, seed: int = 7) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, dict[str, float]]]]:
    """Judgements of n queries, and three systems: one, a little noisier, and much noisier."""
    rng = np.random.default_rng(seed)
    docs = [f"d{i}" for i in range(30)]
    qrels = {
        f"q{q}": {d: int(g) for d, g in zip(docs, rng.integers(0, 3, 30), strict=True) if rng.random() < 0.5 or d == "d0"} for q in range(n)
    }
    for grades in qrels.values():
        grades["d0"] = 1
    noise = {"base": 1.0, "near": 1.05, "far": 4.0}
    runs = {
        name: {q: {d: float(grades.get(d, 0) + rng.normal(0, sigma)) for d in docs} for q, grades in qrels.items()}
        for name, sigma in noise.items()
    }
    return qrels, runs


def test_figures_are_those_of_the_single_functions() -> None:
    qrels, runs = random_systems(60)
    found = compare(runs, dict.fromkeys(qrels, "?"), qrels, ["nDCG@5", "AP"], seed=3)
    assert (found.baseline, found.measures, list(found.systems)) == ("base", ("nDCG@5", "AP"), ["base", "near", "far"])
    alone = {name: evaluate(qrels, run, ["nDCG@5", "AP"]) for name, run in runs.items()}
    apart = {}
    for name, system in found.systems.items():
        assert system.evaluation == alone[name]
        assert (system.latency, system.seconds, system.pipeline) == (None, None, "ready run")
        for measure, score in system.scores.items():
            values = np.array(list(alone[name].per_query[measure].values()))
            base = np.array(list(alone["base"].per_query[measure].values()))
            assert score.mean == pytest.approx(alone[name].mean[measure])
            assert score.interval == bootstrap_interval(values, seed=3)
            if name == "base":
                assert score.difference is None
                continue
            d = score.difference
            assert d is not None
            apart[name, measure] = d
            assert d.mean == pytest.approx(values.mean() - base.mean())
            assert d.interval == pytest.approx(bootstrap_interval(values - base, seed=3))
            assert d.p == randomization_test(values - base, seed=3)
            assert (d.wins, d.ties, d.losses) == ((values > base).sum(), (values == base).sum(), (values < base).sum())
    assert [d.p_holm for d in apart.values()] == pytest.approx(holm([d.p for d in apart.values()]).tolist())
    assert apart["far", "AP"].p_holm < 0.01 < apart["near", "AP"].p_holm
    assert apart["far", "AP"].mean < 0


def test_another_baseline_turns_the_signs() -> None:
    qrels, runs = random_systems(20)
    runs.pop("near")
    one, other = (compare(runs, None, qrels, "AP", baseline=b) for b in ("base", "far"))
    forth, back = one.systems["far"].scores["AP"].difference, other.systems["base"].scores["AP"].difference
    assert forth is not None
    assert back is not None
    assert forth.mean == pytest.approx(-back.mean)
    assert (forth.wins, forth.losses, forth.p) == (back.losses, back.wins, back.p)


def test_pipelines_names_runs_and_dicts_see_the_same_queries(collection: Collection) -> None:
    bound = collection.retriever("bm25")
    run = bound([Query(id, text) for id, text in QUERIES.items()])
    given = {
        "name": "bm25",
        "stage": Retrieve("bm25"),
        "bound": bound,
        "run": run,
        "dict": run.to_dict(),
        "joined": Retrieve("bm25") | Retrieve("bm25"),
    }
    found = compare(given, QUERIES, QRELS, ["RR", "nDCG@10"], on=collection)
    assert found.totals == (type(found.totals))(compared=3, unjudged=1, not_given=1)
    assert found.queries == {q: QUERIES[q] for q in ("q1", "q2", "q3")}
    first = found.systems["name"].evaluation
    assert first.per_query["RR"] == {"q1": 1.0, "q2": 1.0, "q3": 1.0}
    for name, system in found.systems.items():
        assert system.evaluation == first, name
        assert (system.latency is None) == (name in ("run", "dict"))
        assert (system.seconds is None) == (name in ("run", "dict"))
    difference = found.systems["dict"].scores["RR"].difference
    assert difference is not None
    assert (difference.p, difference.p_holm, difference.ties, difference.interval) == (1.0, 1.0, 3, (0.0, 0.0))
    assert found.missing_documents == 1, "'lost' is judged relevant and not stored"
    queries = [Query(id, text) for id, text in QUERIES.items()]
    assert compare({"bm25": "bm25"}, queries, QRELS, "RR", on=collection).queries == found.queries


def test_latency_is_of_single_queries() -> None:
    """A stage that sleeps as long as its query says: the percentiles are known."""
    import time
    from dataclasses import dataclass

    from ragkit import Stage
    from ragkit.evaluation.latency import TIMED, measure_latency

    seen: list[int] = []

    @dataclass(frozen=True)
    class Sleepy(Stage):
        def apply(self, run: Run, /) -> Run:
            seen.append(len(run))
            time.sleep(sum(float(q.text) for q in run.queries) if len(run) == 1 else 0)
            return run.fill(np.zeros(len(run) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), scale="bm25")

    @dataclass(frozen=True)
    class Table:
        version: Any = None

    queries = {str(i): "0.002" if i else "0.05" for i in range(10)}
    qrels = {q: {"d": 1} for q in queries}
    found = compare({"a": Sleepy().on(Table(EMPTY))}, queries, qrels, "RR", repeats=2)
    latency = found.systems["a"].latency
    assert latency is not None
    assert (latency.queries, latency.repeats) == (10, 2)
    assert 2 <= latency.p50 < 20 <= latency.p95 <= latency.p99
    assert seen == [10] + [1] * 3 + [1] * 20, "all at once, three to warm up, then one by one"
    assert compare({"a": Sleepy().on(Table(EMPTY))}, queries, qrels, "RR", repeats=0).systems["a"].latency is None

    calls: list[str] = []
    many = [Query(str(i), "") for i in range(1000)]
    times = measure_latency({"x": lambda q: calls.append(q[0].id)}, many, seed=1)
    assert (times["x"].queries, len(calls), len(set(calls[3:]))) == (TIMED, TIMED + 3, TIMED)
    assert calls[3:] == sorted(calls[3:], key=int)
    again: list[str] = []
    measure_latency({"x": lambda q: again.append(q[0].id)}, many, seed=1)
    assert again == calls


def test_one_query_has_an_answer(collection: Collection) -> None:
    found = compare({"a": "bm25", "b": "rank_bm25"}, {"q1": "gasket"}, QRELS, "RR", on=collection)
    score = found.systems["b"].scores["RR"]
    assert score.interval == (1.0, 1.0)
    assert score.difference is not None
    assert (score.difference.p, score.difference.p_holm) == (1.0, 1.0)
    assert "\n1 query; differences to a;" in str(found)
    assert "\n3 of the judged queries are left out: they were not given" in str(found)


def test_passages_count_by_document(tmp_path: Path, collection: Collection) -> None:
    """Collections that cut the same documents otherwise can be compared; those of other documents can't."""
    cut = Collection.create(tmp_path / "cut", indexes=[BM25(language="en")], chunker=Tokens(size=8, overlap=0))
    cut.add([Document(text, id=id, title=id.title()) for id, text in TEXTS.items()])
    assert cut.version.n_passages > len(cut)
    found = compare({"whole": collection.retriever("bm25"), "cut": cut.retriever("bm25")}, QUERIES, QRELS, ["RR", "R@10"])
    assert found.systems["cut"].evaluation.mean["RR"] == 1.0
    texts = found.wins("whole", "R@10", against="cut") + found.losses("whole", "R@10", against="cut")
    assert list(texts) == []
    cut.add([Document("one more", id="more")])
    with pytest.raises(InputError, match=r"'whole' and 'cut' search different documents \(1 are in one collection only, such as 'more'\)"):
        compare({"whole": collection.retriever("bm25"), "cut": cut.retriever("bm25")}, QUERIES, QRELS, ["RR"])


def test_drop_self_reaches_pipelines_and_ready_runs(collection: Collection) -> None:
    queries, qrels = {"pump": TEXTS["pump"]}, {"pump": {"valve": 1}}
    run = {"pump": {"pump": 9.0, "valve": 1.0}}
    given = {"bm25": "bm25", "dict": run, "run": collection.retriever("bm25")(Query("pump", "pump valve"))}
    kept = compare(given, queries, qrels, "P@1", on=collection)
    assert [s.evaluation.mean["P@1"] for s in kept.systems.values()] == [0.0, 0.0, 0.0]
    found = compare(given, queries, qrels, "RR", on=collection, drop_self=True)
    assert all("pump" not in r["pump"] for r in found.rankings.values())
    assert found.systems["dict"].evaluation.mean["RR"] == 1.0
    assert "is the query itself is left out" in str(found)
    assert found.to_dict()["settings"]["drop_self"] is True


def test_the_depth_holds_for_all(collection: Collection) -> None:
    run = {"q2": {"valve": 3.0, "pump": 2.0, "boiler": 1.0}}
    found = compare({"bm25": "bm25", "dict": run}, QUERIES, {"q2": QRELS["q2"]}, "AP", on=collection, k=2)
    assert {name: len(r["q2"]) for name, r in found.rankings.items()} == {"bm25": 2, "dict": 2}
    assert found.systems["dict"].evaluation.mean["AP"] == 0.5


def test_ties_at_a_cutoff_are_counted() -> None:
    run = {"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0, "y": 0.5, "z": 0.5}, "c": {"x": 0.1, "y": 0.1 + 1e-10}}
    qrels = {q: {"x": 1} for q in run}
    found = compare({"r": run}, None, qrels, ["P@1", "RR"])
    assert found.systems["r"].tied_at_cutoff == 2, "of a, and of c, whose scores are one 32-bit float"
    assert compare({"r": run}, None, qrels, ["P@2"]).systems["r"].tied_at_cutoff == 1


def test_text_html_and_json() -> None:
    qrels, runs = random_systems(30)
    found = compare({"<b>": runs["base"], "far": runs["far"]}, {q: f"text <{q}>" for q in qrels}, qrels, ["nDCG@10", "AP"])
    lines = str(found).splitlines()
    assert lines[0].split() == ["measure", "system", "mean", "95", "%", "difference", "95", "%", "p", "p", "(Holm)", "wins/ties/losses"]
    assert lines[4].startswith("AP       far     0.")
    assert lines[4].count("*") == 1
    assert lines[5] == "30 queries; differences to <b>; * significant at 0.05 after Holm's correction"
    assert len({line.index("0.") for line in lines[1:5]}) == 1, "aligned"
    page = found._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["systems"]["far"]["scores"]["AP"]["difference"]["p_holm"] == found.systems["far"].scores["AP"].difference.p_holm  # type: ignore[union-attr]
    assert record["settings"] == {"k": 1000, "drop_self": False, "repeats": 1, "seed": 7, "alpha": 0.05}
    assert record["ragkit"] == ragkit.__version__
    assert (record["ties"], record["missing_documents"], record["queries"]["compared"]) == ("trec", None, 30)
    assert record["per_query"]["AP"]["far"] == found.systems["far"].evaluation.per_query["AP"]
    frame = found.to_frame()
    assert frame.shape == (4, 16)
    assert frame.loc[3, "difference"] == found.rows()[3]["difference"]
    assert math.isnan(frame.loc[0, "p"])
    long = compare({"a": {"q": {"d": 1.0}}}, {"q": "two\nlines " * 50}, {"q": {"d": 1}}, "RR").per_query()
    assert [len(line) < 110 for line in str(long).splitlines()] == [True, True]
    table = found.per_query("map")
    assert list(table[0]) == ["id", "text", "<b>", "far"]
    assert [row["far"] for row in table] == list(found.systems["far"].evaluation.per_query["AP"].values())
    assert len(str(table).splitlines()) == 31
    assert html.escape("text <q0>") in table._repr_html_()
    assert table.to_frame().shape == (30, 4)
    assert (str(Rows()), repr(table), repr(found)) == ("(no rows)", str(table), str(found))
    with pytest.raises(UnknownNameError, match="measure of this comparison"):
        found.per_query("P@5")
    assert text_table(["a"], [["-1.5"], ["+10.0"]]) == "    a\n -1.5\n+10.0"


def test_wins_and_losses_show_the_queries(collection: Collection) -> None:
    worse = {"q1": {"boiler": 2.0, "pump": 1.0}, "q2": {"parking": 3.0}, "q3": {"parking": 1.0, "strange": 2.0}}
    found = compare({"worse": worse, "bm25": "bm25"}, QUERIES, QRELS, ["RR", "nDCG@10"], on=collection)
    cases = found.wins("bm25", "RR")
    assert [(c.query, c.difference) for c in cases] == [("q2", 1.0), ("q1", 0.5), ("q3", 0.5)]
    assert [c.query for c in found.wins("bm25", "RR", 1)] == ["q2"]
    assert found.losses("bm25", "RR") == []
    assert [c.query for c in found.losses("worse", "RR", against="bm25")] == ["q2", "q1", "q3"]
    case = cases[0]
    assert case.values == {"bm25": 1.0, "worse": 0.0}
    assert (case.text, case.measure) == (QUERIES["q2"], "RR")
    assert [(h.rank, h.document, h.grade) for h in case.hits["bm25"]] == [(1, "boiler", 2), (2, "valve", 1)]
    assert case.hits["bm25"][0].text == TEXTS["boiler"]
    assert case.hits["worse"][0].text == f"Parking\n{TEXTS['parking']}", "a dict has no texts: the collection gives them"
    assert [(d.document, d.grade, d.ranks) for d in case.relevant] == [
        ("boiler", 2, {"bm25": 1, "worse": None}),
        ("valve", 1, {"bm25": 2, "worse": None}),
    ]
    assert case.relevant[0].text == f"Boiler\n{TEXTS['boiler']}"
    third = cases[2]
    assert [d.text is None for d in third.relevant] == [False, True], "'lost' is nowhere"
    assert third.hits["worse"][0].text is None
    shown = str(cases)
    assert "q2  valve of the boiler\n  RR: bm25 1.0000, worse 0.0000 (+1.0000)" in shown
    assert "     1 + boiler  The boiler is checked" in shown
    assert "     1 ? parking  Parking Staff may park" in shown
    assert "    valve  grade 1, bm25 rank 2, worse not found  Valve A valve is turned" in shown
    assert "&lt;front&gt;" in cases._repr_html_()
    assert "<front>" not in cases._repr_html_()
    assert json.loads(json.dumps(cases.to_dict()))[0]["hits"]["bm25"][0]["document"] == "boiler"
    assert str(found.losses("bm25", "RR")) == "(no such query)"
    assert len(found.wins("bm25", "RR", hits=1)[0].hits["bm25"]) == 1
    with pytest.raises(InputError, match="compared with itself"):
        found.wins("worse")
    with pytest.raises(UnknownNameError, match="did you mean 'bm25'"):
        found.wins("bm52")


def test_ready_runs_from_files(tmp_path: Path) -> None:
    write_run({"q1": {"b": 2.0, "a": 1.0}}, tmp_path / "one.run")
    write_run({"q1": {"a": 2.0, "b": 1.0}}, tmp_path / "two.run.gz")
    runs = {n: Run.from_trec(tmp_path / n, {"q1": "which?"}, texts={"a": "text of a"}) for n in ("one.run", "two.run.gz")}
    found = compare(runs, None, {"q1": {"a": 1}}, "RR")
    assert {n: s.evaluation.mean["RR"] for n, s in found.systems.items()} == {"one.run": 0.5, "two.run.gz": 1.0}
    case = found.wins("two.run.gz")[0]
    assert (case.text, case.relevant[0].text, case.hits["one.run"][1].text) == ("which?", "text of a", "text of a")
    assert found.missing_documents is None


def test_progress_is_told_and_can_cancel(collection: Collection) -> None:
    seen: list[tuple[int, int, str]] = []
    compare({"a": "bm25", "b": "rank_bm25"}, QUERIES, QRELS, "RR", on=collection, progress=lambda *told: seen.append(told))
    assert seen[-1] == (12, 12, "comparing")  # two systems: three queries at once, then one by one
    with pytest.raises(Cancelled):
        compare({"a": "bm25"}, QUERIES, QRELS, "RR", on=collection, progress=lambda *told: False)


EMPTY = Run.from_texts("?", ["x"]).source


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"systems": {}}, InputError, "name each system"),
        ({"systems": ["bm25"]}, InputError, "name each system"),
        ({"systems": {"a": 7}}, InputError, "the system 'a' is int, which is no pipeline"),
        ({"systems": {"a": None}}, InputError, "NoneType, which is no pipeline"),
        ({"on": None}, InputError, "'a' is not bound to a collection: give on=collection"),
        ({"systems": {"a": Retrieve("bm25")}, "on": None}, InputError, "not bound to a collection"),
        ({"systems": {"a": "bm52"}}, UnknownNameError, "did you mean 'bm25'"),
        ({"queries": {}}, InputError, "none of the 0 queries has a relevant document"),
        ({"queries": {"q4": "never judged"}}, InputError, "none of the 1 queries"),
        ({"queries": None}, InputError, "'a' needs the texts of the queries"),
        ({"queries": [Query("q", "x"), Query("q", "y")]}, InputError, "different ids"),
        ({"queries": ["gasket"]}, InputError, "got 'gasket'"),
        ({"queries": {"q1": 7}}, InputError, "both strings"),
        ({"qrels": {}}, InputError, "in the qrels of 0 queries"),
        ({"qrels": {"q1": {"pump": "yes"}}}, InputError, "query 'q1' has a grade that is no number"),
        ({"qrels": {"q1": {"pump": 0.5}}}, InputError, "grades must be whole numbers"),
        ({"measures": []}, InputError, "no measure"),
        ({"measures": ["ndgc@10"]}, UnknownNameError, "did you mean 'ndcg'"),
        ({"baseline": "b"}, UnknownNameError, "no system is called 'b'"),
        ({"k": 0}, InputError, "k must be"),
        ({"repeats": -1}, InputError, "repeats must be"),
        ({"repeats": 1.5}, InputError, "repeats must be"),
        ({"alpha": 0}, InputError, "alpha must lie between"),
        ({"systems": {"a": {"q1": {"pump": math.nan}}}}, InputError, "the score NaN"),
        ({"systems": {"a": {"q1": {7: 1.0}}}}, InputError, "ids must be strings"),
        ({"systems": {"a": Run.of("x")}}, InputError, "no source"),
        ({"systems": {"a": Retrieve("bm25") + (Retrieve("bm25") ^ Retrieve("bm25"))}}, ScaleError, "scale"),
    ],
)
def test_what_has_no_answer_is_refused(collection: Collection, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    given: dict[str, Any] = {"systems": {"a": "bm25"}, "queries": QUERIES, "qrels": QRELS, "measures": ["RR"], "on": collection}
    with pytest.raises(error, match=words) as caught:
        compare(**{**given, **arguments})
    assert "\n" not in str(caught.value)


def test_sources_that_cannot_list_their_documents_are_not_compared() -> None:
    from dataclasses import dataclass

    from ragkit import Stage
    from ragkit.run import TextTable

    @dataclass(frozen=True)
    class Nothing(Stage):
        def apply(self, run: Run, /) -> Run:
            return run

    @dataclass(frozen=True)
    class Table:
        version: TextTable

    one, other = (Nothing().on(Table(TextTable((id,), ("",)))) for id in "ab")
    with pytest.raises(InputError, match="search different documents"):
        compare({"one": one, "other": other}, {"q": "?"}, {"q": {"a": 1}}, "RR")
