"""Token suffixes, the FM-index over tokens, and the infinity-gram model over both, against counting by hand."""

from __future__ import annotations

from collections import Counter
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, TokenNGram
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.token_fm import TokenFM
from ragkit.indexes.ngram.tokens import SEPARATOR, TokenSuffixes

KINDS = pytest.mark.parametrize("kind", [TokenSuffixes, TokenFM])

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


@KINDS
@settings(max_examples=120)
@given(documents=DOCUMENTS, patterns=st.lists(PATTERN, max_size=6))
def test_counts_and_places_are_those_of_the_documents(
    kind: type[TokenSuffixes | TokenFM], documents: list[list[int]], patterns: list[list[int]]
) -> None:
    index = kind.build(documents)
    assert len(index) == sum(map(len, documents))
    patterns = patterns + [row[i : i + 3] for row in documents for i in range(0, len(row), 4)]
    lows, highs = index.find(patterns)
    for pattern, low, high, count in zip(patterns, lows.tolist(), highs.tolist(), index.count(patterns).tolist(), strict=True):
        expected = occurrences(documents, pattern)
        assert count == len(expected)
        assert sorted(zip(*(a.tolist() for a in index.locate(low, high, pattern)), strict=True)) == expected
    assert index.count([[]]).tolist() == [len(index)]


@KINDS
@settings(max_examples=120)
@given(
    documents=DOCUMENTS, context=st.lists(st.sampled_from([0, 1, 2, 255, 65_535, 99_999]), max_size=6),
    token=st.sampled_from([0, 1, 65_535, 12_345]),
)  # fmt: skip
def test_what_follows(kind: type[TokenSuffixes | TokenFM], documents: list[list[int]], context: list[int], token: int) -> None:
    index = kind.build(documents)
    model = InfinityGram(index)
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
    low, high = index.interval(context)
    for follower, first, last in zip(*(a.tolist() for a in index.states_after(low, high, len(context))), strict=True):
        assert (first, last) == index.extend(low, high, len(context), follower)
        assert last - first == expected[follower]
        if SEPARATOR not in (*context, follower):
            assert (first, last) == index.interval([*context, follower])
    few = InfinityGram(index, support=2).next_tokens(context)
    assert few.exact == (kind is TokenFM or high - low <= 2)
    assert set(few.following.tokens.tolist()) <= set(expected)
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


@KINDS
def test_refusals(kind: type[TokenSuffixes | TokenFM]) -> None:
    with pytest.raises(InputError, match="tokens must be from 0 to 16777214, got -1 to 3"):
        kind.build([[3, -1]])
    with pytest.raises(InputError, match="tokens must be from 0 to 16777214, got 3 to 16777215"):
        kind.build([[3, SEPARATOR]])
    for wrong in ([1 << 31], [-2], [0.5], ["a"]):
        with pytest.raises(InputError, match="tokens must be whole numbers from 0 to 16777214"):
            kind.build([wrong])  # type: ignore[list-item]


@KINDS
def test_what_was_saved_is_mapped_and_damage_refused(kind: type[TokenSuffixes | TokenFM], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    documents = [rng.zipf(1.5, int(n)).clip(0, 70_000).tolist() for n in rng.integers(0, 300, 60)]
    documents += [list(range(70_000, 73_000)), rng.integers(70_000, 73_000, 3000).tolist()]  # characters of one, two and three bytes
    made = kind.build(documents)
    made.save(tmp_path)
    mapped = kind.load(tmp_path, len(documents))
    for context in ([1], [1, 1, 2], [2, 70_000], [3], documents[5][:4], [72_998], [70_007, 70_008], documents[-1][9:11]):
        assert mapped.interval(context) == made.interval(context)
        one, other = (InfinityGram(index).infinity_next_tokens(context) for index in (made, mapped))
        assert one.following.counts.tolist() == other.following.counts.tolist()
        assert followers(documents, context[len(context) - one.length :]) == dict(
            zip(one.following.tokens.tolist(), one.following.counts.tolist(), strict=True)
        )
    with pytest.raises(CorruptCollectionError):
        kind.load(tmp_path, len(documents) + 1)
    for file in tmp_path.glob("*.npy"):
        whole = np.load(file)
        np.save(file, whole[:-1])
        if len(whole):
            with pytest.raises(CorruptCollectionError):
                kind.load(tmp_path, len(documents))
        np.save(file, whole)


def test_support_must_be_positive() -> None:
    with pytest.raises(InputError, match="support must be at least 1, got 0"):
        InfinityGram(TokenSuffixes.build([]), support=0)


@KINDS
def test_no_documents_and_empty_ones(kind: type[TokenSuffixes | TokenFM]) -> None:
    for documents in ([], [[]], [[]] * 1000):
        index = kind.build(documents)
        assert index.count([[1], []]).tolist() == [0, 0]
        assert np.isnan(InfinityGram(index).probability([1], 2).probability)


@settings(max_examples=80)
@given(
    documents=DOCUMENTS,
    context=st.lists(st.sampled_from([0, 1, 2, 255]), max_size=5),
    token=st.sampled_from([0, 1, 2]),
    cut=st.integers(0, 6),
)
def test_parts_of_a_corpus_are_counted_together(documents: list[list[int]], context: list[int], token: int, cut: int) -> None:
    one = InfinityGram(TokenSuffixes.build(documents))
    parts = InfinityGram(TokenSuffixes.build(documents[:cut]), TokenFM.build(documents[cut:]))
    assert len(parts) == len(one)
    assert parts.infinity_probability([7, *context, 1], token).length == one.infinity_probability([7, *context, 1], token).length
    if context:  # else each part has a separator of its own in front
        assert parts.probability(context, token).count == one.probability(context, token).count
        assert parts.probability(context, token).context_count == one.probability(context, token).context_count
        mine, theirs = parts.next_tokens(context).following, one.next_tokens(context).following
        assert (mine.tokens.tolist(), mine.counts.tolist()) == (theirs.tokens.tolist(), theirs.counts.tolist())


def test_over_a_collection(tmp_path: Path) -> None:
    from tests.generation.tiny_models import byte_tokenizer

    byte_tokenizer().save_pretrained(tmp_path / "tokenizer")
    for structure in ("suffix-array", "fm"):
        spec = TokenNGram(str(tmp_path / "tokenizer"), structure=structure)  # type: ignore[arg-type]
        c = Collection.create(tmp_path / structure, indexes=[BM25(language="en"), spec])
        c.add([Document("the pump is old", id="a")])
        c.add([Document("the pump is new", id="b"), Document("the old pump is old", id="c"), *map(Document, ("is", "old", "new", "pump"))])
        tokens = [byte_tokenizer()(d.text, add_special_tokens=False)["input_ids"] for d in c]
        expected = InfinityGram(TokenSuffixes.build(tokens))
        model = InfinityGram.over(c)
        context = tokens[0][:-1]
        assert model.next_tokens(context[1:]).following.counts.tolist() == expected.next_tokens(context[1:]).following.counts.tolist()
        c.delete("b")
        with pytest.raises(InputError, match=r"their tokens would be counted; compact\(\) the collection first"):
            InfinityGram.over(c)
        c.compact()
        assert len(InfinityGram.over(c)) == sum(map(len, [tokens[0], *tokens[2:]]))
        with pytest.raises(InputError, match="needs an index of tokens, and 'bm25' is none"):
            InfinityGram.over(c, "bm25")
