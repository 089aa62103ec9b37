"""Analyzer: stop words, stems, languages, threads; and counts against a plain loop."""

from __future__ import annotations

import threading
import unicodedata

import numpy as np
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ragkit.errors import InputError, UnknownNameError
from ragkit.text import Analyzer, count, function_words, languages, stop_list
from ragkit.text.analyzer import ALGORITHMS
from ragkit.text.stop_words import STOP_WORDS


def test_english() -> None:
    analyzer = Analyzer()
    assert analyzer.split("The indexes of John's 3 libraries") == ["the", "indexes", "of", "john", "3", "libraries"]
    assert analyzer.terms("The indexes of John's 3 libraries") == ["index", "john", "3", "librari"]
    assert analyzer.term("the") is None
    assert analyzer.term("running") == "run"


@pytest.mark.parametrize(
    ("analyzer", "text", "terms"),
    [
        (Analyzer(stop_words=False), "the cats", ["the", "cat"]),
        (Analyzer(stem=False), "the cats", ["cats"]),
        (Analyzer(language="none"), "The cats' its", ["the", "cats", "its"]),
        (Analyzer(language="de"), "Die Häuser und das Haus", ["haus", "haus"]),
        (Analyzer(language="fr"), "L'homme qu'il aime", ["homm", "aim"]),
        (Analyzer(language="hi"), "किताबों में", ["किताब"]),
        (Analyzer(language="zh"), "北京大学 of", ["北京", "京大", "大学", "of"]),
        (Analyzer(language="ru"), "Книги и книга", ["книг", "книг"]),
        (Analyzer(identifiers=True), "the parseFiles", ["parsefil", "pars", "file"]),
        (Analyzer(identifiers=True), "isA", ["isa"]),  # its parts are stop words
    ],
)
def test_terms(analyzer: Analyzer, text: str, terms: list[str]) -> None:
    assert analyzer.terms(text) == terms
    assert analyzer.open().terms(f"{text} {text}") == terms * 2
    assert [t for t in map(analyzer.term, analyzer.split(text)) if t is not None] == terms


def test_every_snowball_algorithm_has_a_code() -> None:
    variants = {"porter", "dutch_porter"}  # older algorithms for English and Dutch
    assert set(Stemmer.algorithms()) - variants <= set(ALGORITHMS.values())
    for language in languages():
        assert Analyzer(language=language).terms("abc 1") == ["abc", "1"] or language in ALGORITHMS


def test_unknown_language_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no language is called 'eng'; known: ar, .*did you mean 'en'"):
        Analyzer(language="eng")


def test_spec_is_frozen_comparable_json() -> None:
    assert Analyzer() == Analyzer()
    assert hash(Analyzer()) == hash(Analyzer(language="en"))
    adapter = TypeAdapter(Analyzer)
    assert adapter.validate_json(adapter.dump_json(Analyzer(language="de", stem=False))) == Analyzer(language="de", stem=False)
    with pytest.raises(InputError, match="stems"):
        Analyzer(stems=True)  # type: ignore[call-arg]


def test_lists() -> None:
    assert len(stop_list("en")) == 33
    assert stop_list("fi") == frozenset() == stop_list("none")
    for language, listed in STOP_WORDS.items():
        assert language == "en" or 30 <= len(listed) <= 120, language
        assert all(w == unicodedata.normalize("NFKC", w).lower() for w in listed)
        analyzer = Analyzer(language=language)
        assert all(analyzer.terms(w) == [] for w in listed), language
        assert stop_list(language) <= function_words(language)
    assert {"what", "does", "you", "about"} <= function_words("en")
    assert {"wer", "welche"} <= function_words("de")
    assert "quién" in function_words("es")
    assert "pourquoi" in function_words("fr")


pieces = st.text(st.sampled_from("aA bB's_X1 the runs é漢字ह"), max_size=40)
analyzers = st.builds(Analyzer, language=st.sampled_from(["en", "de", "none", "zh"]), stop_words=..., stem=..., identifiers=...)


@settings(derandomize=True, deadline=None)
@given(st.lists(pieces, max_size=6), analyzers)
def test_count_equals_a_plain_loop(texts: list[str], analyzer: Analyzer) -> None:
    got = count(iter(texts), analyzer)
    expected = [analyzer.terms(t) for t in texts]
    assert got.ids.dtype == np.int32
    assert got.indptr.dtype == np.int64
    assert got.indptr.tolist() == [sum(map(len, expected[:n])) for n in range(len(texts) + 1)]
    assert [got.terms[i] for i in got.ids] == [t for terms in expected for t in terms]
    assert got.terms == list(dict.fromkeys(t for terms in expected for t in terms))  # first seen, first numbered
    assert got.lengths.tolist() == list(map(len, expected))


def test_count_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"the word{n % 7} cat" * (n % 3) for n in range(50)]
    whole = count(texts, Analyzer())
    monkeypatch.setattr("ragkit.text.counts._BLOCK", 5)
    cut = count(texts, Analyzer())
    assert cut.terms == whole.terms
    assert np.array_equal(cut.ids, whole.ids)
    assert np.array_equal(cut.indptr, whole.indptr)


def test_threads_share_a_spec() -> None:
    texts = [f"running {n} houses falling{n}" for n in range(300)]
    analyzer, got = Analyzer(), {}

    def work(n: int) -> None:
        got[n] = count(texts, analyzer)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    alone = count(texts, analyzer)
    assert all(c.terms == alone.terms and np.array_equal(c.ids, alone.ids) for c in got.values())
    assert len(got) == 4
