"""The promises that every chunker keeps, over texts of every kind."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragkit.chunking import Headings, Recursive, Sentences, Tokens, chunker_for, count_tokens
from ragkit.errors import InputError
from ragkit.protocols import Chunker
from ragkit.registry import resolve
from ragkit.spec import from_config, to_config
from ragkit.types import Document, Heading

FAMILY = [Tokens, Sentences, Recursive, Headings]

units = st.sampled_from(
    [
        "word",
        "Two. ",
        "a",
        " ",
        " ",
        "\n",
        "\r\n",
        "\n\n",
        "\r",
        "\t",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\x85",
        "\u3000",
        "漢字",
        "。",
        "かな",
        "हिन्दी ",
        "e\u0301",
        "😀",
        "👩\u200d💻",
        "```\n",
        "# H\n",
        "===\n",
        "-----",
        "| x |\n",
        "x" * 95,
        "ไทย" * 5,
        "!",
        "1.5",
    ]
)
texts = st.lists(units, max_size=50).map("".join)
chunkers = st.one_of(
    st.builds(
        lambda kind, size: kind(size=size, **({} if kind is Headings else {"overlap": 0})), st.sampled_from(FAMILY), st.integers(1, 12)
    ),
    st.tuples(st.sampled_from(FAMILY[:3]), st.integers(2, 12), st.integers(1, 11)).map(
        lambda t: t[0](size=t[1], overlap=min(t[2], t[1] - 1))
    ),
)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(texts, chunkers, st.integers(0, 12), st.lists(st.tuples(st.integers(0, 150), st.integers(1, 3)), max_size=6))
@example("x" * 95, Recursive(size=1), 0, [])
@example("\r\n" * 5, Headings(size=3), 1, [(0, 1)])
@example("# A\n# B\n" + "w " * 30, Headings(size=5), 0, [(0, 1), (4, 1)])
def test_promises(text: str, chunker: Any, body_start: int, places: list[tuple[int, int]]) -> None:
    headings = tuple(Heading(start, level, f"h{start}") for start, level in sorted(places))
    body_start = min(body_start, len(text))
    document = Document(text, headings=tuple(h for h in headings if h.start <= len(text)), body_start=body_start)
    spans = chunker.split(document)
    covered = body_start
    previous = (-1, -1)
    for span in spans:
        passage = text[span.start : span.end]
        assert body_start <= span.start < span.end <= len(text)
        assert passage == passage.strip()
        assert count_tokens(passage) == count_tokens(text, span.start, span.end) <= chunker.size
        assert span.start > previous[0]
        assert span.end > previous[1]
        assert text[covered : span.start].strip() == ""  # "" where spans overlap
        if isinstance(chunker, Headings) or chunker.overlap == 0:
            assert span.start >= previous[1]
        covered, previous = span.end, (span.start, span.end)
    assert text[covered:].strip() == ""
    assert spans == chunker.split(document)


@settings(derandomize=True, deadline=None)
@given(texts, st.data())
def test_tokens_add_up(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    assert count_tokens(text) <= count_tokens(text[:at]) + count_tokens(text[at:]) <= count_tokens(text) + 1
    assert count_tokens(text + " 漢") == count_tokens(text) + 1  # ASCII has a pattern of its own


@pytest.mark.parametrize("kind", FAMILY)
def test_registered_and_plain_json(kind: type[Any]) -> None:
    chunker = kind(size=50)
    assert resolve("chunkers", chunker.name) is kind
    assert from_config("chunkers", to_config(chunker)) == chunker
    assert isinstance(chunker, Chunker)
    assert hash(chunker) == hash(kind(size=50))
    with pytest.raises(InputError, match="size: Input should be greater than or equal to 1"):
        kind(size=0)


@pytest.mark.parametrize("kind", FAMILY[:3])
def test_overlap_must_be_below_size(kind: type[Any]) -> None:
    with pytest.raises(InputError, match="overlap must be smaller than size, got overlap=5 and size=5"):
        kind(size=5, overlap=5)
    with pytest.raises(InputError, match="overlap"):
        kind(size=5, overlap=-1)


@pytest.mark.parametrize("kind", FAMILY)
def test_nothing_but_white_space(kind: type[Any]) -> None:
    for text in ("", " \n\t\u3000\r\n"):
        assert kind(size=50).split(Document(text)) == []
    assert kind(size=50).split(Document("text", body_start=4)) == []


def test_sizes_without_bound() -> None:
    assert Tokens(size=1 << 40, overlap=1 << 39).split(Document("a b")) == [(0, 3, ())]


def test_chunker_for() -> None:
    assert chunker_for(Document("a")) == Recursive()
    assert chunker_for(Document("# a", headings=(Heading(0, 1, "a"),))) == Headings()


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("unit", ["x", "漢", "!", "aé1!", "a\u0301", "a\n", "ab\u00a0"], ids=repr)
def test_time_is_linear(kind: type[Any], unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    begun = time.perf_counter()
    spans = kind().split(Document(text, headings=(Heading(0, 1, "a"),)))
    assert time.perf_counter() - begun < 5  # about half a second
    assert sum(s.end - s.start for s in spans) >= len(text) * 0.4


def test_time_is_linear_in_headings() -> None:
    text = "# a\nb\n\n" * 50_000
    headings = tuple(Heading(start, 1 + n % 3, "a") for n, start in enumerate(range(0, len(text), 7)))
    begun = time.perf_counter()
    spans = Headings().split(Document(text, headings=headings))
    assert time.perf_counter() - begun < 10
    assert text[: spans[-1].end].count("b") == 50_000
