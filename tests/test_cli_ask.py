"""``ragkit ask --model``: text as it is written, one JSON document, histories, honest exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ragkit import Collection, Document
from ragkit.cli import main
from ragkit.cli.search import read_history
from ragkit.errors import InputError, ServerError
from ragkit.generation.calling import CallableModel
from ragkit.registry import BUILT_IN
from tests.pipelines import stub_model as stub

GASKET = "The outer gasket is replaced every 200 hours of running."
QUESTION = "How often is the outer gasket replaced?"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    Collection.create(tmp_path / "c.rag").add(
        [Document(f"The pump has two gaskets. {GASKET}", id="pump.txt"), Document("The boiler is checked in spring.", id="boiler.txt")]
    )
    return tmp_path / "c.rag"


def honest() -> CallableModel:
    return stub.model(stub.honest)


def refuses() -> CallableModel:
    return stub.model(stub.refuses)


def fails() -> CallableModel:
    def write(prompt: stub.Prompt) -> str:
        raise ServerError("the server at localhost:1 can't be reached; is it running?")

    return stub.model(write)


def colours() -> CallableModel:
    return stub.saying(f"\x1b[2J\x1b]0;title\x07{GASKET} [1]")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models by name, as plug-ins register them."""
    monkeypatch.setitem(BUILT_IN, "models", {make.__name__: f"{__name__}:{make.__name__}" for make in (honest, refuses, fails, colours)})


def ask(*args: object, **kwargs: Any) -> Result:
    return CliRunner().invoke(main, ["ask", *map(str, args)], **kwargs)


def test_an_answer_of_a_model(made: Path) -> None:
    out = ask(made, QUESTION, "--model", "honest")
    assert out.exit_code == 0
    assert out.stdout == f"{GASKET} [1]\n\n[1] pump.txt, characters 26-82\n"
    assert out.stderr == ""


def test_json_holds_the_usage(made: Path) -> None:
    record = json.loads(ask(made, QUESTION, "--model", "honest", "--json").stdout)
    assert (record["answer"], record["found"], record["confidence"]) == (f"{GASKET} [1]", True, 1.0)
    assert record["citations"][0]["quote"] == GASKET
    assert record["trace"]["model"] == "honest"
    assert record["trace"]["usage"]["calls"] == 1
    assert record["trace"]["usage"]["prompt_tokens"] > 100


def test_text_is_shown_while_it_is_written(made: Path) -> None:
    out = ask(made, QUESTION, "--model", "honest", "--stream")
    assert out.exit_code == 0
    assert out.stdout == f"{GASKET} [1]\n\n{GASKET} [1]\n\n[1] pump.txt, characters 26-82\n"
    without = ask(made, QUESTION, "--stream")  # quoted sentences are there at once
    assert without.stdout == ask(made, QUESTION).stdout


def test_a_terminal_streams_unless_told_otherwise(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    drafted = "\x1b[2mThe out\x1b[0m"
    assert drafted in ask(made, QUESTION, "--model", "honest", color=True).stdout
    assert drafted not in ask(made, QUESTION, "--model", "honest", "--no-stream", color=True).stdout
    assert json.loads(ask(made, QUESTION, "--model", "honest", "--json").stdout)["found"]


def test_a_terminal_is_not_steered(made: Path) -> None:
    for options in (("--stream",), ("--no-stream",), ("--json",)):
        assert not set("\x1b\x07") & set(ask(made, QUESTION, "--model", "colours", *options).stdout)


def test_a_document_does_not_steer_a_terminal(tmp_path: Path) -> None:
    """Whatever a command prints for people; in JSON the characters stand as escapes, and none is lost."""
    evil = GASKET.replace(" ", "\x1b\x07\x9b\u202e\x7f ")
    Collection.create(tmp_path / "c.rag").add(
        [Document(evil, id="a\x1b[2Jb.txt", title="t\x07"), Document("The boiler is checked in spring.", id="boiler.txt")]
    )
    for words in (["ask", QUESTION], ["ask", QUESTION, "--model", "honest", "--stream"], ["search", "gasket"], ["get", "a\x1b[2Jb.txt"]):
        command, *rest = words
        said = CliRunner().invoke(main, [command, str(tmp_path / "c.rag"), *rest])
        assert said.exit_code == 0
        assert GASKET in said.stdout
        assert not set("\x1b\x07\x9b\u202e\x7f") & set(said.output)
    for command, rest in (("search", "gasket"), ("get", "a\x1b[2Jb.txt")):
        told = CliRunner().invoke(main, [command, str(tmp_path / "c.rag"), rest, "--json"]).stdout
        assert not set("\x1b\x07\x9b\u202e\x7f") & set(told)
        found = json.loads(told)
        assert (found["hits"][0] if command == "search" else found)["text"] == evil
    missing = CliRunner().invoke(main, ["get", str(tmp_path / "c.rag"), "\x1b[2Jx"])
    assert missing.exit_code == 1
    assert "\x1b" not in missing.output


def test_not_found_is_a_success(made: Path) -> None:
    out = ask(made, QUESTION, "--model", "refuses")
    assert (out.exit_code, out.stdout) == (0, "Not found in these documents.\n")


def test_a_history(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    record = json.loads(ask(made, "Where is the outer gasket?", "--model", "honest", "--json").stdout)
    file.write_text(f'{json.dumps(record)}\n\n{{"role": "user", "content": "Fine."}}\n{{"role": "assistant", "content": "Yes."}}\n')
    said = json.loads(ask(made, "And how often is it replaced?", "--model", "honest", "--history", file, "--json").stdout)
    assert said["trace"]["condensed"]["question"] == "And how often is it replaced (outer gasket)?"
    assert said["citations"][0]["quote"] == GASKET
    assert read_history(file)[0] == ("Where is the outer gasket?", record["answer"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"question": "a"}', "line 1 is no turn"),
        ('\n{"a"', "line 2 is no JSON"),
        ('{"role": "system", "content": "x"}', "line 1 is no turn"),
    ],
)
def test_a_history_that_is_none(made: Path, tmp_path: Path, content: str, what: str) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text(content)
    out = ask(made, QUESTION, "--model", "honest", "--history", file)
    assert out.exit_code == 1
    assert f"history.jsonl, {what}" in out.stderr
    assert out.stderr.count("\n") == 1
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_history(file)


def test_wrong_usage_is_two_and_failure_is_one(made: Path, tmp_path: Path) -> None:
    for wrong in (("--stream", "--json", "--model", "honest"), ("--history", tmp_path / "x.jsonl")):
        assert ask(made, QUESTION, *wrong).exit_code == 2
    for failing, words in (
        (("--model", "fails"), "the server at localhost:1 can't be reached"),
        (("--model", "fails", "--stream"), "the server at localhost:1 can't be reached"),
        (("--model", "honest", "--history", tmp_path / "none.jsonl"), "none.jsonl"),
        (("--model", tmp_path / "no-such-model"), "no-such-model"),
    ):
        out = ask(made, QUESTION, *failing)
        assert out.exit_code == 1
        assert words in out.stderr
        assert out.stderr.startswith("ragkit: ")
        assert "Traceback" not in out.output
