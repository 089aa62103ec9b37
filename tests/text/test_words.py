"""Words: scripts, marks, possessives, identifiers, and the agreement of the two paths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.text.words import MAX_WORD, identifier_parts, words

text = st.text(st.sampled_from("aZ s'’_.09 é\u0301ß漢字かナ한글हिन्दी\u200dﬁ½²😀ไทย"), max_size=60)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("The 2 cats, it's 3.14", ["the", "2", "cats", "it", "s", "3", "14"]),
        ("__init__ _em_ ___ snake_case", ["init", "em", "snake_case"]),
        ("हिन्दी में विद्यार्थी", ["हिन्दी", "में", "विद्यार्थी"]),  # vowel signs and virama stay inside
        ("كِتَابٌ جديد", ["كِتَابٌ", "جديد"]),
        ("東京都 に", ["東京", "京都", "に"]),
        ("漢 x漢字y", ["漢", "x", "漢字", "y"]),
        ("カタカナ語", ["カタ", "タカ", "カナ", "ナ語"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("ﬁle １２ Ｗide", ["file", "12", "wide"]),  # NFKC
        ("e\u0301te\u0301 = été", ["été", "été"]),
        ("10² 6½ CO₂", ["10", "2", "6", "1", "2", "co2"]),  # 6½ becomes 6 1⁄2
        ("co\u00adop می\u200cخواهم", ["coop", "میخواهم"]),
        ("😀🎉 ... !", []),
        ("", []),
    ],
)
def test_words(given_text: str, expected: list[str]) -> None:
    assert words(given_text) == expected


def test_possessive_goes_only_on_request() -> None:
    assert words("John's CAT'S x’s ’sup it'sy", possessive=True) == ["john", "cat", "x", "sup", "it", "sy"]
    assert words("naïve John’s", possessive=True) == ["naïve", "john"]


def test_turkish_letters() -> None:
    assert words("ISI İKİ", turkic=True) == ["ısı", "iki"]
    assert words("ISI", turkic=True) == ["ısı"]


def test_case_can_be_kept() -> None:
    assert words("Ab_C Ünï", lower=False) == ["Ab_C", "Ünï"]


@pytest.mark.parametrize("char", ["a", "é", "_a"])
def test_long_words_are_cut(char: str) -> None:
    found = words(char * 600)
    assert len(found) > 1
    assert max(map(len, found)) <= MAX_WORD
    assert "".join(found) == (char * 600).strip("_")


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=80), st.booleans(), st.booleans(), st.booleans())
def test_ascii_path_equals_the_general_one(ascii_text: str, lower: bool, possessive: bool, turkic: bool) -> None:
    options = {"lower": lower, "possessive": possessive, "turkic": turkic}
    general = words(ascii_text + " é", **options)
    assert words(ascii_text, **options) == general[:-1]


@settings(derandomize=True, deadline=None)
@given(text)
def test_words_are_stable_and_made_of_the_text(sample: str) -> None:
    found = words(sample)
    assert all(w and not any(c.isspace() for c in w) and w == w.strip("_") for w in found)
    assert words(" ".join(found)) == found


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("parseHTTPResponse_v2", ["parse", "http", "response", "v", "2"]),
        ("HTTPServer", ["http", "server"]),
        ("std_vector", ["std", "vector"]),
        ("utf8", ["utf", "8"]),
        ("größeÄndern", ["größe", "ändern"]),
        ("ABC", []),
        ("Word", []),
        ("word", []),
        ("हिन्दी", []),
    ],
)
def test_identifier_parts(word: str, parts: list[str]) -> None:
    assert identifier_parts(word) == [word.lower(), *parts]
