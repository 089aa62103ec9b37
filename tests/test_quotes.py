"""Quotes of answers: which of them the documents hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragkit import Answer, Collection, Document, NGram, verify_quotes
from ragkit.errors import InputError
from ragkit.quotes import Quotes

TEXT = 'Replace the outer  gasket every year. He said "it leaks" on the red lid of the old pump house. Café au lait.'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    c = Collection.create(tmp_path_factory.mktemp("quotes") / "c", indexes=[NGram()])
    c.add([Document(TEXT, id="a"), Document("The gone text is no more.", id="gone"), Document("the old pump house on the red lid", id="b")])
    c.delete("gone")
    return c


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It says “the outer gasket every year”.", [("the outer gasket every year", "exact", "a")]),
        ('It says "the outer gasket every year".', [("the outer gasket every year", "exact", "a")]),
        ("«outer gasket», „every year“", [("outer gasket", "exact", "a"), ("every year", "exact", "a")]),
        ("「red lid」", [("red lid", "exact", "a")]),
        ("“Outer gasket,”", [("Outer gasket,", "loose", "a")]),
        ("“the outer gaskat every year”", [("the outer gaskat every year", "missing", "a")]),
        ("“nothing of this”", [("nothing of this", "missing", "")]),
        ("“The gone text”", [("The gone text", "missing", "")]),
        ("“outer … the red lid” and “outer [...] red”", [("outer … the red lid", "exact", "a"), ("outer [...] red", "exact", "a")]),
        ("“red lid … outer gasket”", [("red lid … outer gasket", "missing", "a")]),  # the wrong way round
        ("“cafe\u0301 au lait”", [("cafe\u0301 au lait", "loose", "a")]),
        ("“Cafe\u0301 au lait”", [("Cafe\u0301 au lait", "exact", "a")]),
        ("“Cafe au lait”", [("Cafe au lait", "missing", "")]),
        ("> on the red\n> lid of\n\nsays the manual", [("on the red\n> lid of", "exact", "a")]),
        ('“said "it leaks" on”', [('said "it leaks" on', "exact", "a")]),
        ('A 5" pipe, a 6" pipe, “ ” and “…”, and no quote', []),
    ],
)  # fmt: skip
def test_quotes_of_an_answer(made: Collection, answer: str, found: list[tuple[str, str, str]]) -> None:
    quotes = verify_quotes(answer, made)
    assert [(q.text, q.support) for q in quotes] == [(text, support) for text, support, _ in found]
    for q, (_, support, document) in zip(quotes, found, strict=True):
        assert answer[q.start : q.end] == q.text
        if document and q.place is not None:
            assert q.place.document == document
            assert made.get(document).text[q.place.start : q.place.end] == q.place.text
        else:
            assert (q.place, document, support) == (None, "", "missing")


def test_an_answer_is_taken_and_the_rest_refused(made: Collection) -> None:
    answer = Answer("why", "“the outer gasket” and “a hoax of some kind”")
    found = verify_quotes(answer, made)
    assert [q.text for q in found.missing] == ["a hoax of some kind"]
    assert found.to_dict()["exact"] == found.to_dict()["missing"] == 1
    assert repr(found) == "2 quotes, 1 of them in no document\nexact    a:8-25  'the outer gasket'\nmissing  'a hoax of some kind'"
    assert "<td>missing</td>" in found._repr_html_()
    assert isinstance(found, Quotes)
    with pytest.raises(InputError, match="an answer must be a text or an Answer, got list"):
        verify_quotes(["a"], made)  # type: ignore[arg-type]


def test_without_an_index_of_strings(tmp_path: Path) -> None:
    c = Collection.create(tmp_path / "c")
    c.add([Document(TEXT, id="a")])
    assert [q.support for q in verify_quotes("“the outer gasket” and “the outer gaskat”", c)] == ["exact", "missing"]
