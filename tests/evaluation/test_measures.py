"""Names of measures: every spelling that is read, the one that is printed, and what is refused."""

from __future__ import annotations

import pytest

from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation import Measure, parse_measure, parse_measures


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nDCG@10", "nDCG@10"),
        ("nDCG", "nDCG"),
        ("NDCG@10", "nDCG@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("R@100", "R@100"),
        ("Recall@100", "R@100"),
        ("recall_100", "R@100"),
        ("R(rel=2)@100", "R(rel=2)@100"),
        ("P@5", "P@5"),
        ("P_5", "P@5"),
        ("precision@5", "P@5"),
        ("P(rel=2)@10", "P(rel=2)@10"),
        ("P(rel=1)@10", "P@10"),
        ("RR", "RR"),
        ("RR@10", "RR@10"),
        ("MRR@10", "RR@10"),
        ("recip_rank", "RR"),
        ("RR(rel=2)@10", "RR(rel=2)@10"),
        ("AP", "AP"),
        ("MAP", "AP"),
        ("AP@1000", "AP@1000"),
        ("map_cut_1000", "AP@1000"),
        ("AP( rel = 3 )", "AP(rel=3)"),
        ("Success@5", "Success@5"),
        ("success_5", "Success@5"),
        ("hit_rate@5", "Success@5"),
        ("Rprec", "Rprec"),
        ("R-precision", "Rprec"),
        ("bpref", "Bpref"),
        ("Bpref(rel=2)", "Bpref(rel=2)"),
        ("Judged@10", "Judged@10"),
        ("Judged", "Judged"),
        (" nDCG@10 ", "nDCG@10"),
    ],
)
def test_every_spelling_is_printed_in_one_form(text: str, canonical: str) -> None:
    measure = parse_measure(text)
    assert str(measure) == canonical
    assert parse_measure(canonical) == measure


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nDCG@-5", "'-5'"),
        ("nDCG@0", "'0'"),
        ("nDCG@", "''"),
        ("nDCG@ten", "'ten'"),
        ("P_-5", "'-5'"),
        ("nDCG@²", "'²'"),
        ("P(rel=0)@5", "rel"),
        ("P(rel=-1)@5", "'-1'"),
        ("P(rel=x)@5", "'x'"),
        ("P(k=2)@5", "'k=2'"),
        ("P()@5", "''"),
        ("nDCG(rel=2)@10", "nDCG takes no rel"),
        ("Judged(rel=2)@10", "Judged takes no rel"),
        ("Rprec@10", "Rprec takes no cutoff"),
        ("Bpref@10", "Bpref takes no cutoff"),
        ("P", "P@10"),
        ("recall", "R@10"),
        ("Success", "Success@10"),
    ],
)
def test_a_bad_parameter_is_named_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_measure(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"cutoff": 0}, {"cutoff": -1}, {"cutoff": True}, {"cutoff": 2.5}, {"cutoff": 5, "rel": 0}])
def test_a_measure_built_by_hand_is_checked_too(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Measure("P", **arguments)


def test_an_unknown_name_gets_a_near_match() -> None:
    with pytest.raises(UnknownNameError, match=r"no measure is called 'ndgc'.*did you mean 'ndcg'"):
        parse_measure("ndgc@10")
    for text in ("", "@10", "11pt_avg", "F@5"):
        with pytest.raises(UnknownNameError):
            parse_measure(text)
    with pytest.raises(UnknownNameError, match="nDCG"):
        Measure("ndcg", 10)


def test_a_list_of_measures_keeps_order_and_drops_doubles() -> None:
    assert [str(m) for m in parse_measures(["MRR@10", Measure("AP"), "RR@10", "map"])] == ["RR@10", "AP"]
    assert parse_measures("AP") == [Measure("AP")]
    with pytest.raises(InputError, match="no measure"):
        parse_measures([])
