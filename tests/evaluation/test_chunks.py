"""Recall and IoU of retrieved spans: by hand, against sets of positions, and over real token borders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.chunking import count_tokens
from ragkit.errors import InputError
from ragkit.evaluation.chunks import Range, SpanScores, TokenOffsets, span_scores, within_budget

ranges = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 20), st.integers(0, 8)).map(lambda t: (t[0], t[1], t[1] + t[2])), max_size=8
)


def positions(given: Sequence[Range]) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for document, start, end in given:
        for at in range(start, end):
            found.add((document, at))
    return found


@settings(derandomize=True, deadline=None, max_examples=500)
@given(ranges, ranges.filter(positions))
def test_scores_are_those_of_sets_of_positions(retrieved: list[Range], references: list[Range]) -> None:
    found, wanted = positions(retrieved), positions(references)
    both = len(found & wanted)
    expected = SpanScores(both / len(wanted), both / len(found) if found else 0.0, both / len(found | wanted))
    assert span_scores(retrieved, references) == expected
    assert span_scores(retrieved[::-1] + retrieved, references[::-1]) == expected  # order and repetition change nothing
    assert expected.iou <= min(expected.recall, expected.precision) or not both


@pytest.mark.parametrize(
    ("retrieved", "references", "recall", "precision", "iou"),
    [
        ([("a", 0, 10)], [("a", 0, 10)], 1, 1, 1),
        ([("a", 0, 10)], [("b", 0, 10)], 0, 0, 0),  # the same offsets of another document
        ([], [("a", 0, 10)], 0, 0, 0),
        ([("a", 5, 5)], [("a", 0, 10)], 0, 0, 0),  # an empty range holds nothing
        ([("a", 0, 5)], [("a", 5, 10)], 0, 0, 0),  # neighbours share nothing
        ([("a", 0, 8), ("a", 6, 14)], [("a", 4, 8), ("a", 12, 16)], 6 / 8, 6 / 14, 6 / 16),  # 14 retrieved, not 16
        ([("a", 0, 10)], [("a", 2, 6), ("a", 4, 8)], 1, 6 / 10, 6 / 10),  # references that overlap
        ([("b", 0, 4), ("a", 0, 4)], [("a", 2, 6), ("b", 2, 6)], 4 / 8, 4 / 8, 4 / 12),
    ],
)
def test_scores_by_hand(retrieved: list[Range], references: list[Range], recall: float, precision: float, iou: float) -> None:
    assert span_scores(retrieved, references) == SpanScores(recall, precision, iou)


@pytest.mark.parametrize(
    ("retrieved", "references", "words"),
    [
        ([("a", 0, 1)], [], "at least one position, got none"),
        ([("a", 0, 1)], [("a", 3, 3)], "at least one position, got none"),
        ([("a", 4, 3)], [("a", 0, 1)], "0 <= start <= end, got 4 to 3 of 'a'"),
        ([("a", 0, 1)], [("b", -1, 3)], "got -1 to 3 of 'b'"),
    ],
)
def test_scores_refuse(retrieved: list[Range], references: list[Range], words: str) -> None:
    with pytest.raises(InputError, match=words):
        span_scores(retrieved, references)


@given(ranges, st.integers(0, 60))
def test_a_budget_is_spent_best_first(retrieved: list[Range], budget: int) -> None:
    taken = within_budget(retrieved, budget)
    sizes = [end - start for _, start, end in taken]
    assert sum(sizes) == min(budget, sum(end - start for _, start, end in retrieved))
    assert taken[:-1] == retrieved[: len(taken)][:-1]
    assert all(t[:2] == r[:2] and t[2] <= r[2] for t, r in zip(taken, retrieved, strict=False))


def test_a_budget_by_hand() -> None:
    best = [("a", 0, 6), ("b", 2, 9), ("a", 3, 8)]
    assert within_budget(best, 6) == [("a", 0, 6)]
    assert within_budget(best, 10) == [("a", 0, 6), ("b", 2, 6)]
    assert within_budget(best, 18) == within_budget(best, 99) == best
    assert within_budget(best, 0) == []
    with pytest.raises(InputError, match="budget must be at least 0, got -1"):
        within_budget(best, -1)


@given(st.text(st.sampled_from("ab1 \n-.,é漢ไ"), max_size=40), st.integers(0, 45), st.integers(0, 45))
def test_tokens_of_a_range_are_those_it_touches(text: str, start: int, end: int) -> None:
    offsets = TokenOffsets(text)
    assert offsets.range(0, len(text)) == (0, count_tokens(text))
    first, last = offsets.range(start, end)
    touched = [n for n in range(count_tokens(text)) if _touches(text, n, start, end)]
    assert list(range(first, last)) == touched


def _touches(text: str, n: int, start: int, end: int) -> bool:
    """Whether a visible character of text[start:end] is part of the n-th token: it is token n where n tokens end before it does."""
    return any(count_tokens(text[: at + 1]) - 1 == n for at in range(start, min(end, len(text))) if not text[at].isspace())


def test_tokens_by_hand() -> None:
    offsets = TokenOffsets("One isn't  enough.")
    assert offsets.range(0, 3) == (0, 1)
    assert offsets.range(2, 5) == (0, 2)  # parts of One and isn
    assert offsets.range(9, 11) == (4, 4)  # white space alone
    assert offsets.range(9, 12) == (4, 5)
    assert offsets.range(17, 18) == (5, 6)
    assert offsets.range(18, 40) == (6, 6)
    assert offsets.range(5, 5) == (0, 0)
    assert TokenOffsets("").range(0, 3) == (0, 0)


def test_neighbouring_passages_cover_a_text_once() -> None:
    """A question with one reference in the middle: hand-counted over words."""
    text = "zero one two three four five six seven eight nine"
    offsets = TokenOffsets(text)
    wanted = [("t", *offsets.range(text.index("three"), text.index(" six")))]  # three four five
    first = ("t", *offsets.range(0, text.index("four")))  # zero one two three
    second = ("t", *offsets.range(text.index("four"), len(text)))  # four … nine
    assert span_scores([first], wanted) == SpanScores(1 / 3, 1 / 4, 1 / 6)
    assert span_scores([first, second], wanted) == SpanScores(1.0, 3 / 10, 3 / 10)
    assert span_scores(within_budget([second, first], 3), wanted).recall == pytest.approx(2 / 3)
    assert math.isclose(span_scores([second], wanted).iou, 2 / 7)
