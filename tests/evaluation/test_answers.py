"""Answer scores: a table of the edge cases, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.evaluation import contains, exact_match, f1, normalize_answer


@pytest.mark.parametrize(
    ("text", "plain", "unicode"),
    [
        ("The Cat", "cat", "cat"),
        ("  a\tcat \n the  dog ", "cat dog", "cat dog"),
        ("Theatre and an anvil", "theatre and anvil", "theatre and anvil"),  # articles as words only
        ("the-end", "theend", "theend"),  # punctuation goes before articles: no article is left
        ("a.m.", "am", "am"),
        ("A.", "", ""),  # and here one appears
        ("$1,000.50", "100050", "100050"),
        ("“quoted” — so…", "“quoted” — so…", "quoted so"),
        ("\ufb01ne\u3000\uff41 Cat\u00b2", "\ufb01ne \uff41 cat\u00b2", "fine cat2"),  # ligature, wide space, wide a, superscript
        ("È vero", "è vero", "è vero"),
        ("¿qué?", "¿qué", "qué"),
        ("", "", ""),
        ("?!", "", ""),
    ],
)
def test_normalisation(text: str, plain: str, unicode: str) -> None:
    assert normalize_answer(text) == plain
    assert normalize_answer(text, unicode=True) == unicode


@pytest.mark.parametrize(
    ("prediction", "golds", "em", "overlap"),
    [
        ("Paris", ["Paris"], 1.0, 1.0),
        ("the paris.", "Paris", 1.0, 1.0),
        ("Paris, France", ["Paris"], 0.0, 2 / 3),  # P 1/2, R 1
        ("Paris", ["Paris France"], 0.0, 2 / 3),
        ("France Paris", ["Paris France"], 0.0, 1.0),  # F1 has no order
        ("Paris", ["Rome", "Paris France", "paris"], 1.0, 1.0),  # the maximum over the gold answers
        ("Paris", ["Rome"], 0.0, 0.0),
        ("la la land", ["la land"], 0.0, 0.8),  # a multiset: P 2/3, R 1
        ("la la la", ["la"], 0.0, 0.5),
        ("", [""], 1.0, 1.0),  # unanswerable, and so answered
        ("the", [""], 1.0, 1.0),  # empty after normalisation
        ("Paris", [""], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("", ["Paris", ""], 1.0, 1.0),
        ("yes", ["yes"], 1.0, 1.0),
        ("Yes.", ["yes"], 1.0, 1.0),
        ("yes it is", ["yes"], 0.0, 0.0),  # a verdict is right or wrong
        ("no", ["no way"], 0.0, 0.0),
        ("noanswer", ["noanswer given"], 0.0, 0.0),
        ("yes it is", ["yes", "yes it was"], 0.0, 2 / 3),
        ("yes sir", ["no sir"], 0.0, 0.5),  # neither side is a bare verdict
    ],
)
def test_exact_match_and_f1(prediction: str, golds: str | list[str], em: float, overlap: float) -> None:
    assert exact_match(prediction, golds) == em
    assert f1(prediction, golds) == pytest.approx(overlap)


def test_languages_without_spaces() -> None:
    assert f1("北京市", ["北京"]) == 0.0
    assert f1("北京市", ["北京"], characters=True) == pytest.approx(0.8)  # P 2/3, R 1
    assert f1("", [""], characters=True) == 1.0
    assert f1("。", ["北京"], characters=True, unicode=True) == 0.0
    assert exact_match("「北京」", ["北京"]) == 0.0
    assert exact_match("「北京」", ["北京"], unicode=True) == 1.0


@pytest.mark.parametrize(
    ("prediction", "golds", "found"),
    [
        ("He was born in Paris, in 1901.", ["Paris"], 1.0),
        ("He was born in PARIS", ["paris"], 1.0),
        ("parisian", ["Paris"], 0.0),  # tokens, not characters
        ("in 1901", ["190"], 0.0),
        ("New Jersey and York", ["New York"], 0.0),  # side by side
        ("new new york", ["New York"], 1.0),
        ("york new", ["new york"], 0.0),
        ("the U.S. army", ["U.S."], 1.0),
        ("the US army", ["U.S."], 0.0),  # a full stop is a token: nothing is normalised away
        ("the cat", ["a cat"], 0.0),  # neither are articles
        ("Cafe\u0301 noir", ["Caf\u00e9"], 1.0),  # decomposed and composed accents are one
        ("Cafe noir", ["Café"], 0.0),
        ("STRASSE", ["Straße"], 1.0),  # folded, not only lower case
        ("a", ["b", "c", "a"], 1.0),
        ("gold is longer", ["gold is longer than this"], 0.0),
        ("", ["x"], 0.0),
        ("x", [""], 0.0),
        ("", [""], 1.0),
        ("\u200b \n", [" "], 1.0),  # controls and spaces are no tokens
    ],
)
def test_contains(prediction: str, golds: list[str], found: float) -> None:
    assert contains(prediction, golds) == found


@pytest.mark.parametrize("score", [exact_match, f1, contains])
def test_no_gold_answer_is_refused(score: object) -> None:
    assert callable(score)
    with pytest.raises(InputError, match="no gold answer"):
        score("Paris", [])


words = st.lists(st.sampled_from(["a", "the", "red", "Red", "cat", "cat.", "yes", "no", "é", "!"]), max_size=5).map(" ".join)


@settings(derandomize=True, deadline=None)
@given(words, words, words)
def test_laws(x: str, y: str, z: str) -> None:
    assert f1(x, x) == exact_match(x, x) == contains(x, x) == 1.0
    assert f1(x, y) == f1(y, x)
    assert exact_match(x, y) <= f1(x, y) <= 1.0
    assert normalize_answer(normalize_answer(x)) == normalize_answer(x)
    for score in (exact_match, f1, contains):
        assert score(x, [y, z]) == max(score(x, y), score(x, z))


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["red", "blue", "cat"]), min_size=1), st.lists(st.sampled_from(["red", "cat", "dog"]), min_size=1))
def test_f1_equals_the_definition(said: list[str], gold: list[str]) -> None:
    left, shared = list(gold), 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    p, r = shared / len(said), shared / len(gold)
    assert f1(" ".join(said), " ".join(gold)) == pytest.approx(2 * p * r / (p + r) if shared else 0.0)
