"""Token suffixes and the infinity-gram model against counting by hand."""

from __future__ import annotations

from collections import Counter
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.tokens import SEPARATOR, TokenSuffixes

DOCUMENTS = st.lists(st.lists(st.sampled_from([0, 1, 2, 255, 256, 65_534, 65_535, 70_000]), max_size=12), max_size=6)
PATTERN = st.lists(st.sampled_from([0, 1, 2, 255, 256, 65_534, 65_535, 70_000, 99_999]), min_size=1, max_size=5)


def occurrences(documents: list[list[int]], pattern: list[int]) -> list[tuple[int, int]]:
    """(document, place) of each: the oracle."""
    n = len(pattern)
    return [(d, i) for d, row in enumerate(documents) for i in range(len(row) - n + 1) if row[i : i + n] == pattern]


def followers(documents: list[list[int]], context: list[int]) -> Counter[int]:
    ended = [[*row, SEPARATOR] for row in documents]
    if not context:  # a document also begins behind nothing
        return Counter(token for row in ended for token in row) + Counter([SEPARATOR])
    return Counter(ended[d][i + len(context)] for d, i in occurrences(documents, context))


@settings(max_examples=200)
@given(DOCUMENTS, st.lists(PATTERN, max_size=6))
def test_counts_and_places_are_those_of_the_documents(documents: list[list[int]], patterns: list[list[int]]) -> None:
    index = TokenSuffixes.build(documents)
    assert len(index) == sum(map(len, documents))
    patterns = patterns + [row[i : i + 3] for row in documents for i in range(0, len(row), 4)]
    lows, highs = index.find(patterns)
    for pattern, low, high, count in zip(patterns, lows.tolist(), highs.tolist(), index.count(patterns).tolist(), strict=True):
        expected = occurrences(documents, pattern)
        assert count == len(expected)
        assert sorted(zip(*(a.tolist() for a in index.locate(low, high)), strict=True)) == expected
    assert index.count([[]]).tolist() == [len(index)]


@settings(max_examples=200)
@given(DOCUMENTS, st.lists(st.sampled_from([0, 1, 2, 255, 65_535, 99_999]), max_size=6), st.sampled_from([0, 1, 65_535, 12_345]))
def test_what_follows(documents: list[list[int]], context: list[int], token: int) -> None:
    model = InfinityGram(TokenSuffixes.build(documents))
    expected = followers(documents, context)
    found = model.next_tokens(context)
    assert dict(zip(found.following.tokens.tolist(), found.following.counts.tolist(), strict=True)) == expected
    assert found.following.total == sum(expected.values())
    assert found.sparse == (len(expected) == 1)
    estimate = model.probability(context, token)
    assert (estimate.count, estimate.context_count, estimate.length) == (expected[token], sum(expected.values()), len(context))
    assert isnan(estimate.probability) if not expected else estimate.probability == expected[token] / sum(expected.values())
    longest = next(n for n in range(len(context), -1, -1) if n == 0 or occurrences(documents, context[len(context) - n :]))
    shorter = context[len(context) - longest :]
    behind = model.infinity_next_tokens(context)
    assert behind.length == longest
    assert dict(zip(behind.following.tokens.tolist(), behind.following.counts.tolist(), strict=True)) == followers(documents, shorter)
    assert model.infinity_probability(context, token) == model.probability(shorter, token)
    if len(behind.following.tokens):
        assert behind.following.probabilities.sum() == pytest.approx(1)


def test_a_sample_of_occurrences_is_spread_over_all() -> None:
    documents = [[7, t] for t in range(100) for _ in range(10)]
    model = InfinityGram(TokenSuffixes.build(documents), support=100)
    found = model.next_tokens([7])
    assert not found.exact
    assert found.following.tokens.tolist() == list(range(100))
    assert found.following.counts.tolist() == [1] * 100
    assert model.next_tokens([7, 5]).exact


def test_refusals() -> None:
    with pytest.raises(InputError, match="tokens must be from 0 to 16777214, got -1 to 3"):
        TokenSuffixes.build([[3, -1]])
    with pytest.raises(InputError, match="tokens must be from 0 to 16777214, got 3 to 16777215"):
        TokenSuffixes.build([[3, SEPARATOR]])
    with pytest.raises(InputError, match="support must be at least 1, got 0"):
        InfinityGram(TokenSuffixes.build([]), support=0)


def test_no_documents_and_empty_ones() -> None:
    for documents in ([], [[]], [[]] * 1000):
        index = TokenSuffixes.build(documents)
        assert index.count([[1], []]).tolist() == [0, 0]
        assert np.isnan(InfinityGram(index).probability([1], 2).probability)
