"""Traces of texts in a collection: every piece is there word for word, and nothing of some length is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragkit import BM25, Collection, Document, NGram
from ragkit.cli import main
from ragkit.errors import InputError
from ragkit.protocols import IndexSpec

PUMP = "Replace the outer  gasket every year. The inner gasket lasts for the life of the pump."
VALVE = "A valve opens at 3 bar; the inner gasket lasts for two years."


@pytest.fixture(params=[True, False], ids=["indexed", "in memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Collection:
    specs: list[IndexSpec] = [BM25(language="en"), *([NGram()] if request.param else [])]
    c = Collection.create(tmp_path / "c", indexes=specs)
    c.add([Document(PUMP, id="pump", title="Pumps"), Document("to be deleted: a wholly secret formula of old", id="gone")])
    c.add([Document(VALVE, id="valve"), Document("", id="empty")])
    c.delete("gone")
    return c


def test_pieces_and_their_places(made: Collection) -> None:
    text = "One should REPLACE the outer gasket\nevery year, as the inner gasket lasts for ever, by a wholly secret formula of old"
    found = made.trace(text, least=10)
    assert [s.text for s in found] == ["REPLACE the outer gasket\nevery year", "the inner gasket lasts for"]
    assert [(s.total, s.documents) for s in found] == [(1, 1), (2, 2)]
    for s in found:
        assert text[s.start : s.end] == s.text
        for place in s.places:
            assert made.get(place.document).text[place.start : place.end] == place.text
    assert [p.document for p in found[1].places] == ["pump", "valve"]
    assert found[0].places[0].text == "Replace the outer  gasket every year"
    assert found.sources == {"pump": 35 + 26, "valve": 26}
    letters = sum(not c.isspace() for c in text)
    assert found.covered == pytest.approx(sum(not c.isspace() for s in found for c in s.text) / letters)
    assert "<mark title='pump'>REPLACE the outer gasket\nevery year</mark>" in found._repr_html_()
    assert repr(found).startswith("2 pieces of the text stand in documents, 54 % of its characters\n")


def test_nothing_shared_and_wrong_arguments(made: Collection) -> None:
    for text in ("", "short", "something quite different from all of that"):
        found = made.trace(text, least=12)
        assert (len(found), found.covered, found.sources) == (0, 0.0, {})
    assert made.trace(PUMP).covered == 1.0
    with pytest.raises(InputError, match="least must be a number of characters of at least 1, got 0"):
        made.trace("a", least=0)
    with pytest.raises(InputError, match="k must be a whole number"):
        made.trace("a", k=0)


def test_on_the_command_line(made: Collection, tmp_path: Path) -> None:
    answer = tmp_path / "answer.txt"
    answer.write_text("It says “replace the outer gasket”, and “replace the outer gaskets”.")

    def run(*arguments: str, input: str | None = None) -> str:
        done = CliRunner().invoke(main, ["trace", str(made.folder), *arguments], input=input)
        assert done.exit_code == 0, done.output
        return done.stdout

    record = json.loads(run(str(answer), "--least", "12", "--json"))
    assert [s["text"] for s in record["shared"]] == ["replace the outer gasket"] * 2
    assert run("-", "--least", "5", input="the outer gasket").startswith("1 piece of the text stands in documents, 100 %")
    quotes = json.loads(run(str(answer), "--quotes", "--json"))
    assert (quotes["exact"], quotes["loose"], quotes["missing"]) == (0, 1, 1)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    wrong = CliRunner().invoke(main, ["trace", str(made.folder), str(tmp_path / "bad.txt")])
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "is no text in UTF-8" in wrong.stderr
