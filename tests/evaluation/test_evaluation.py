"""`evaluate`: worked values, laws, the tie rules, agreement with loops and with trec_eval."""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.evaluation import evaluate
from tests.evaluation import oracle

NAMES = ["nDCG@10", "nDCG", "R@3", "P@5", "RR@2", "RR", "AP", "AP@4", "Success@2", "Rprec", "Bpref", "Judged@3", "Judged"]
GRADED = ["P(rel=2)@5", "R(rel=2)@3", "RR(rel=2)@2", "AP(rel=2)", "AP(rel=2)@4", "Success(rel=2)@2", "Rprec(rel=2)", "Bpref(rel=2)"]


def naive(name: str, docs: list[str], grades: dict[str, int]) -> float:
    rel = 2 if "rel=2" in name else 1
    k = int(name.partition("@")[2] or 0)
    match name.partition("@")[0].partition("(")[0]:
        case "nDCG":
            return oracle.ndcg(docs, grades, k or None)
        case "R":
            return oracle.recall(docs, grades, k, rel)
        case "P":
            return oracle.precision(docs, grades, k, rel)
        case "RR":
            return oracle.reciprocal_rank(docs, grades, k or None, rel)
        case "AP":
            return oracle.average_precision(docs, grades, k or None, rel)
        case "Success":
            return oracle.success(docs, grades, k, rel)
        case "Rprec":
            return oracle.r_precision(docs, grades, rel)
        case "Bpref":
            return oracle.bpref(docs, grades, rel)
        case _:
            return oracle.judged(docs, grades, k or None)


def test_worked_values() -> None:
    # ranking: a (unjudged), b (2), c (-1), d (1); judged besides: e (1). R = 3
    qrels = {"q": {"b": 2, "c": -1, "d": 1, "e": 1}}
    run = {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}
    mean = evaluate(qrels, run, [*NAMES, "P(rel=2)@5", "R(rel=2)@3"]).mean
    dcg, ideal = 2 / math.log2(3) + 1 / math.log2(5), 2 + 1 / math.log2(3) + 1 / math.log2(4)
    expected = {
        "nDCG@10": dcg / ideal,
        "nDCG": dcg / ideal,
        "R@3": 1 / 3,
        "P@5": 2 / 5,  # four hits, five places
        "RR@2": 1 / 2,
        "RR": 1 / 2,
        "AP": (1 / 2 + 2 / 4) / 3,
        "AP@4": (1 / 2 + 2 / 4) / 3,
        "Success@2": 1.0,
        "Rprec": 1 / 3,
        "Bpref": 2 / 3,  # none judged 0 or more is above b and d; e is not found
        "Judged@3": 2 / 3,
        "Judged": 3 / 4,
        "P(rel=2)@5": 1 / 5,
        "R(rel=2)@3": 1.0,
    }
    assert mean == pytest.approx(expected, abs=1e-12)


def test_means_are_over_queries_with_a_relevant_document() -> None:
    qrels = {"hit": {"a": 1}, "miss": {"a": 1}, "none": {"a": 0, "b": -2}, "bare": {}, "empty": {"a": 1}, "": {"b": 1}}
    run = {"hit": {"a": 1.0}, "none": {"a": 1.0}, "empty": {}, "stranger": {"a": 1.0}, "": {"a": 0.0}}
    result = evaluate(qrels, run, ["P@1", "RR"])
    assert result.per_query == {
        "P@1": {"hit": 1.0, "miss": 0.0, "empty": 0.0, "": 0.0},
        "RR": {"hit": 1.0, "miss": 0.0, "empty": 0.0, "": 0.0},
    }
    assert result.mean == {"P@1": 0.25, "RR": 0.25}
    assert result.queries == (4, 2)  # "hit" and "" are answered


def test_a_higher_rel_keeps_the_same_queries() -> None:
    result = evaluate({"q1": {"a": 2}, "q2": {"a": 1}}, {"q1": {"a": 1.0}, "q2": {"a": 1.0}}, ["R(rel=2)@1"])
    assert result.per_query == {"R(rel=2)@1": {"q1": 1.0, "q2": 0.0}}


@pytest.mark.parametrize("run", [{}, {"q": {}}, {"q": {"x": 1.0, "y": 0.5}}])
def test_nothing_found_is_zero(run: dict[str, dict[str, float]]) -> None:
    assert set(evaluate({"q": {"a": 1}}, run, [*NAMES, *GRADED]).mean.values()) == {0.0}


def test_tie_rules() -> None:
    qrels = {"q": {"a": 1}}
    tied = {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}
    assert evaluate(qrels, tied, "RR").mean["RR"] == 1 / 3  # c, b, a
    assert evaluate(qrels, tied, "RR", ties="given").mean["RR"] == 1.0
    # 0.1 and 0.1 + 1e-10 are one 32-bit float, so that trec_eval sees a tie where "given" sees none
    close = {"q": {"a": 0.1 + 1e-10, "b": 0.1}}
    assert evaluate(qrels, close, "RR").mean["RR"] == 1 / 2
    assert evaluate(qrels, close, "RR", ties="given").mean["RR"] == 1.0
    assert evaluate(qrels, {"q": {"b": 1e300, "a": math.inf}}, "RR").mean["RR"] == 1 / 2
    # code points, not any locale: "Z" < "a" < "é"
    assert evaluate({"q": {"Z": 1}}, {"q": {"Z": 1.0, "a": 1.0, "é": 1.0}}, "RR").mean["RR"] == 1 / 3
    assert evaluate(qrels, {"q": {"b": -math.inf, "a": 0.0}}, "RR", ties="given").mean["RR"] == 1.0


@pytest.mark.parametrize(
    ("qrels", "run", "options", "words"),
    [
        ({}, {}, {}, "0 queries"),
        ({"q": {"a": 0, "b": -1}}, {}, {}, "no relevant document"),
        ({"q": {"a": 1}}, {"q": {"a": 1.0, "b": math.nan}}, {}, "document 'b' of query 'q' has the score NaN"),
        ({"q": {"a": 1}}, {"q": {"a": None}}, {}, "query 'q'"),
        ({"q": {"a": 1}}, {"q": {"a": "high"}}, {}, "query 'q' has a score that is no number"),
        ({"q": {"a": 1}}, {"q": {7: 1.0}}, {}, "ranks the document 7"),
        ({"q": {"a": 1}}, {7: {"a": 1.0}}, {}, "the run hold the query id 7"),
        ({7: {"a": 1}}, {}, {}, "the qrels hold the query id 7"),
        ({"q": {"b": 1, "a": 0.5}}, {}, {}, "document 'a' of query 'q' has the grade 0.5"),
        ({"q": {"a": math.nan}}, {}, {}, "grade nan"),
        ({"q": {"a": "yes"}}, {}, {}, "no number"),
        ({"q": {"a": 1}}, {"q": {"a": 1.0}}, {"ties": "random"}, "ties must be one of trec, given"),
    ],
)
def test_input_that_has_no_value_is_refused(qrels: Any, run: Any, options: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(qrels, run, ["nDCG@10"], **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numpy_scalars_and_bools_are_numbers() -> None:
    qrels: Any = {"q": {"a": np.int64(1), "b": True}}
    run: Any = {"q": {"a": np.float32(0.5), "b": np.float64(0.25)}}
    assert evaluate(qrels, run, "AP").mean == {"AP": 1.0}


def test_the_result_prints_and_becomes_json() -> None:
    result = evaluate({"q<1>": {"a": 1}}, {"q<1>": {"b": 2.0, "a": 1.0}}, ["RR", "Success@10"])
    assert str(result) == "RR          0.5000\nSuccess@10  1.0000\n1 of 1 judged queries answered"
    page = result._repr_html_()
    assert page.startswith("<table>")
    assert "<td>RR</td><td>0.5000</td>" in page
    assert json.loads(json.dumps(result.to_dict())) == {
        "mean": {"RR": 0.5, "Success@10": 1.0},
        "per_query": {"RR": {"q<1>": 0.5}, "Success@10": {"q<1>": 1.0}},
        "queries": {"judged": 1, "answered": 1},
        "ties": "trec",
    }


documents = st.sampled_from("abcdefghij")
judgements = st.dictionaries(documents, st.integers(-2, 4), max_size=10).filter(lambda d: any(g > 0 for g in d.values()))
scores = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])
rankings = st.dictionaries(documents, scores, max_size=10)


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from("uvwxyz"), judgements, min_size=1), st.dictionaries(st.sampled_from("uvwxyz"), rankings))
def test_equals_the_loops(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> None:
    result = evaluate(qrels, run, [*NAMES, *GRADED])
    for name, values in result.per_query.items():
        expected = {q: naive(name, oracle.order(run.get(q, {})), grades) for q, grades in qrels.items()}
        assert values == pytest.approx(expected, abs=1e-12), name
        assert list(values) == list(qrels)
        assert result.mean[name] == pytest.approx(sum(expected.values()) / len(expected), abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(judgements, rankings)
def test_laws(grades: dict[str, int], hits: dict[str, float]) -> None:
    names = ["nDCG", "nDCG@3", "AP", "RR", "Rprec", "R@10", "Success@1"]
    values = evaluate({"q": grades}, {"q": hits}, names).mean
    assert all(0.0 <= v <= 1.0 + 1e-12 for v in values.values())
    # the ideal run is worth 1 by every measure that can reach it
    ideal = evaluate({"q": grades}, {"q": {d: float(g) for d, g in grades.items()}}, names).mean
    assert ideal == pytest.approx(dict.fromkeys(ideal, 1.0))
    # an unjudged document at the end changes nothing but Judged
    longer = evaluate({"q": grades}, {"q": {**hits, "zz": -5.0}}, names).mean
    assert longer == pytest.approx(values)
    # only the order of the scores matters (doubling is exact, so that ties stay ties)
    assert evaluate({"q": grades}, {"q": {d: 2 * s + 1 for d, s in hits.items()}}, names).mean == values


def random_runs(n: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """n queries over a pool of 40 documents: graded, negative, unjudged; ties, 32-bit ties, short and absent rankings."""
    rng = np.random.default_rng(7)
    pool = np.array([f"d{i}" for i in range(40)])
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for i in range(n):
        judged = rng.choice(pool, rng.integers(1, 25), replace=False)
        qrels[f"q{i}"] = {str(d): int(g) for d, g in zip(judged, rng.integers(-1, 4, len(judged)), strict=True)}
        size = int(rng.integers(0, 41))
        docs = rng.choice(pool, size, replace=False)
        kind = i % 4
        values: NDArray[Any] = rng.normal(size=size) if kind == 0 else rng.integers(0, 4, size) / 3.0
        if kind == 2:
            values = 0.1 + rng.integers(0, 4, size) * 2e-9  # distinct in 64 bits, mostly equal in 32
        if kind == 3:
            values = values * 1e300  # beyond 32 bits
        if size and i % 17:
            run[f"q{i}"] = {str(d): float(s) for d, s in zip(docs, values, strict=True)}
    return qrels, run


def test_equals_trec_eval_on_random_runs() -> None:
    """Per query, 10,000 runs, the first 2,000 also by higher grades; trec_eval does its sums in 64 bits, so that 1e-9 holds."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    qrels, run = random_runs(10_000)
    names = {
        "nDCG": "ndcg",
        "nDCG@1": "ndcg_cut_1",
        "nDCG@10": "ndcg_cut_10",
        "nDCG@100": "ndcg_cut_100",
        "R@5": "recall_5",
        "R@100": "recall_100",
        "P@5": "P_5",
        "P@100": "P_100",
        "RR": "recip_rank",
        "AP": "map",
        "AP@5": "map_cut_5",
        "AP@1000": "map_cut_1000",
        "Success@1": "success_1",
        "Success@5": "success_5",
        "Rprec": "Rprec",
        "Bpref": "bpref",
    }
    asked = {"ndcg", "ndcg_cut.1,10,100", "recall.5,100", "P.5,100", "recip_rank", "map", "map_cut.5,1000", "success.1,5", "Rprec", "bpref"}
    ours = {q for q, grades in qrels.items() if max(grades.values()) > 0}
    assert len(ours) > 9000
    for level in (1, 2, 3):
        if level == 2:
            qrels = {q: qrels[q] for q in islice(qrels, 2000)}
            ours &= set(qrels)
        asked_of_us = {at_level(name, level): trec_name for name, trec_name in names.items()}
        result = evaluate(qrels, run, list(asked_of_us))
        assert result.queries == (len(ours), len(ours & set(run)))
        theirs = pytrec_eval.RelevanceEvaluator(qrels, asked, relevance_level=level).evaluate(run)
        for name, trec_name in asked_of_us.items():
            values = result.per_query[name]
            assert values.keys() == ours
            expected = [theirs[q][trec_name] if q in theirs else 0.0 for q in values]
            np.testing.assert_allclose(list(values.values()), expected, rtol=0, atol=1e-9, err_msg=f"{name}, level {level}")


def at_level(name: str, level: int) -> str:
    """The measure with another lowest relevant grade; nDCG has none, it uses the grades."""
    base, at, cutoff = name.partition("@")
    return name if level == 1 or base == "nDCG" else f"{base}(rel={level}){at}{cutoff}"


def test_equals_ir_measures_where_trec_eval_has_no_measure() -> None:
    """RR with a cutoff and Judged are ir_measures' own there, with another tie rule: the scores of this run are distinct."""
    ir_measures = pytest.importorskip("ir_measures")
    qrels, tied = random_runs(400)
    run = {q: {d: float(-i) for i, d in enumerate(hits)} for q, hits in tied.items()}
    names = ["RR@3", "RR(rel=2)@3", "Judged@5", "P(rel=2)@10", "R(rel=2)@10", "AP(rel=2)@10", "nDCG@10"]
    measures = [ir_measures.parse_measure(name) for name in names]
    theirs: dict[str, dict[str, float]] = {name: {} for name in names}
    for metric in ir_measures.iter_calc(measures, qrels, run):
        theirs[str(metric.measure)][metric.query_id] = metric.value
    for name, values in evaluate(qrels, run, names).per_query.items():
        assert values == pytest.approx({q: theirs[name][q] for q in values}, abs=1e-9), name
