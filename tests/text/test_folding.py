"""Folded texts: the same for what counts as the same, and with a way back for every character."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.text.folding import Folding, occurrences

FOLDINGS = [Folding(case=c, unicode=u, spaces=s) for c in (False, True) for u in ("none", "canonical", "compatible") for s in (False, True)]  # type: ignore[arg-type]
ODD = "aA \n\t\u00a0éÉe\u0301\u0327ßẞǰŉİıſﬁ①\u0344\u0f73\u0f75\u0345각\u1100\u1161\u11a8\u11a9시한ΣςσΌ\u212b𝐀\u09c7\u09be"
TEXT = st.one_of(st.text(max_size=30), st.text(st.sampled_from(ODD), max_size=12))


@pytest.mark.parametrize(
    ("folding", "one", "other", "same"),
    [
        (Folding(), "Straße", "STRASSE", True),
        (Folding(case=True), "Straße", "STRASSE", False),
        (Folding(), "caf\u00e9", "cafe\u0301", True),
        (Folding(unicode="none"), "caf\u00e9", "cafe\u0301", False),
        (Folding(), "\ufb01le", "file", True),  # full case folding takes two letters in one sign apart
        (Folding(case=True), "\ufb01le", "file", False),
        (Folding(case=True, unicode="compatible"), "\ufb01le", "file", True),
        (Folding(), "a \n\tb", "a b", True),
        (Folding(spaces=True), "a \n\tb", "a b", False),
        (Folding(), "ΌΣΟΣ", "όσος", True),
        (Folding(), "\u1100\u1161\u11a8", "각", True),
        (Folding(), "\u09c7\u09be", "\u09cb", True),
    ],
)
def test_what_is_the_same(folding: Folding, one: str, other: str, same: bool) -> None:
    assert (folding.fold(one) == folding.fold(other)) == same


@pytest.mark.parametrize(("text", "part"), [("시각", "가"), ("Café", "cafe"), ("\u1109\u1175\u1100\u1161\u11a8", "가")])
def test_a_character_is_no_part_of_another(text: str, part: str) -> None:
    assert Folding().encode(part) not in Folding().encode(text)


@given(TEXT, st.sampled_from(FOLDINGS))
def test_it_is_unicodes_own_folding(text: str, folding: Folding) -> None:
    """Folding at once gives what folding in pieces does, and folding again changes nothing."""
    expected = text if folding.spaces else re.sub(r"\s+", " ", text)
    forms: Any = {"none": (), "canonical": ("NFD", "NFC"), "compatible": ("NFKD", "NFKC")}[folding.unicode]
    before = None
    while expected != before:
        before = expected
        expected = unicodedata.normalize(forms[0], expected) if forms else expected
        expected = expected if folding.case else expected.casefold()
        expected = unicodedata.normalize(forms[1], expected) if forms else expected
    assert folding.fold(text) == expected


@given(TEXT, st.sampled_from(FOLDINGS), st.data())
def test_every_character_has_its_place(text: str, folding: Folding, data: st.DataObject) -> None:
    folded = folding.fold(text)
    starts, ends = folding.spans(text)
    assert len(starts) == len(ends) == len(folded)
    assert (starts < ends).all()
    if not len(folded):
        return
    assert starts[0] == 0
    assert ends[-1] == len(text)
    assert ((starts[1:] == ends[:-1]) | ((starts[1:] == starts[:-1]) & (ends[1:] == ends[:-1]))).all()  # pieces touch, none is skipped
    at = data.draw(st.integers(0, len(folded) - 1))
    piece = text[starts[at] : ends[at]]
    assert folded[at] in folding.fold(piece)


@given(TEXT, st.sampled_from(FOLDINGS))
def test_what_is_folded_stays(text: str, folding: Folding) -> None:
    once = folding.fold(text)
    assert folding.fold(once) == once


@given(st.text(st.sampled_from("ab"), max_size=60), st.text(st.sampled_from("ab"), min_size=1, max_size=7), st.integers(1, 4))
def test_overlapping_occurrences(text: str, pattern: str, times: int) -> None:
    data, wanted = (text * times).encode(), (pattern * times).encode()
    assert list(occurrences(data, wanted)) == [i for i in range(len(data)) if data.startswith(wanted, i)]


def test_what_repeats_itself_takes_no_longer() -> None:
    data = b"ab" * 500_000 + b"a" * 1_000_000
    assert sum(1 for _ in occurrences(data, b"a" * 100_000)) == 900_001
    assert sum(1 for _ in occurrences(data, b"ab" * 100_000)) == 400_001
