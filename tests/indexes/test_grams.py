"""Scores by n-grams where passages leave gaps, touch and overlap, against a slow scorer; and what each n-gram adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.indexes.ngram.grams import Gram, GramScorer, Passages, Places
from ragkit.indexes.ngram.ranking import Ranking
from ragkit.indexes.ngram.tokens import TokenSuffixes


@dataclass
class Part:
    index: TokenSuffixes
    passages: Passages

    def places(self, grams: Sequence[Gram]) -> Places:
        return self.index.places(grams)  # type: ignore[arg-type]


def part(tokens: list[int], spans: list[tuple[int, int]]) -> Part:
    index = TokenSuffixes.build([tokens])
    begins, ends = (np.array([s[i] for s in spans], np.int64) + 1 for i in (0, 1))  # a separator stands first
    return Part(index, Passages.of(begins, ends, (ends - begins).astype(np.int32), index.n_places))


Layout = tuple[list[int], list[tuple[int, int]]]
"""Tokens, and the passages among them."""


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    tokens = draw(st.lists(st.integers(0, 3), max_size=16))
    starts = sorted(draw(st.lists(st.integers(0, len(tokens)), max_size=4)))
    ends = sorted(draw(st.lists(st.integers(0, len(tokens)), min_size=len(starts), max_size=len(starts))))
    return tokens, [(a, max(a, b)) for a, b in zip(starts, ends, strict=True)]


@settings(max_examples=150, deadline=None)
@given(
    layouts(), st.dictionaries(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), st.sampled_from([0.0, 0.5, 1.0, 3.0])),
    st.sampled_from([0.0, 0.8]),
)  # fmt: skip
def test_scores_and_what_they_are_made_of(
    layout: tuple[list[int], list[tuple[int, int]]], weights: dict[Gram, float], novelty: float
) -> None:
    tokens, spans = layout
    scorer = GramScorer([(part(tokens, spans), None)])
    asked = scorer.ask(list(weights))
    rows, scores = scorer.scores(asked, weights, scorer.scratch(), [None], k1=0.0, b=0.0, novelty=novelty)
    taken: set[int] = set()
    accepted: list[tuple[Gram, int]] = []
    for gram in sorted((g for g, w in weights.items() if w), key=lambda g: (-weights[g], -len(g), g)):
        for i in range(len(tokens) - len(gram) + 1):
            if tuple(tokens[i : i + len(gram)]) == gram and taken.isdisjoint(range(i, i + len(gram))):
                taken.update(range(i, i + len(gram)))
                accepted.append((gram, i))
    expected = {}
    for row, (begin, end) in enumerate(spans):
        used: set[object] = set()
        total = 0.0
        for gram in dict.fromkeys(g for g, i in accepted if begin <= i < end):
            total += weights[gram] * (1 - novelty + novelty * len(set(gram) - used) / len(set(gram)))
            used |= set(gram)
        if total:
            expected[row] = total
    assert dict(zip(rows.tolist(), scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)
    for row, score in expected.items():
        added = scorer.contributions(asked, weights, row, k1=0.0, b=0.0, novelty=novelty)
        assert sum(amount for _, amount in added) == pytest.approx(score, rel=1e-5)
    for j, gram in enumerate(asked.grams):
        there = [i for i in range(len(tokens) - len(gram) + 1) if tuple(tokens[i : i + len(gram)]) == gram]
        assert scorer.count(asked, j) == sum(any(a <= i < b for a, b in spans) for i in there)
        assert scorer.df(asked, j, scorer.scratch()) == sum(any(a <= i < b for i in there) for a, b in spans)


@settings(max_examples=60, deadline=None)
@given(layouts(), st.lists(st.integers(0, 4), max_size=6))
def test_a_question_may_hold_what_stands_between_passages(layout: Layout, question: list[int]) -> None:
    indptr, rows, scores = Ranking().search(GramScorer([(part(*layout), None)]), [question], k=9, allow=[None])
    assert indptr.tolist() == [0, len(rows)]
    assert (scores > 0).all()


def test_a_word_that_stands_between_passages_alone() -> None:
    scorer = GramScorer([(part([1, 2, 3, 4, 5], [(0, 2), (3, 5)]), None)])
    _, rows, _ = Ranking().search(scorer, [[1, 2, 3, 4]], k=9, allow=[None])
    assert rows.tolist() == [0]  # of the second passage the whole question, which begins in the first, has taken all
