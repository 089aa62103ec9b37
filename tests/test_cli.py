"""The command line: one JSON document on stdout, one sentence on stderr, honest exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ragkit import Collection, Document
from ragkit.cli import main


def ragkit(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "pump.md").write_text(
        "# Pump\n\nThe outer gasket is replaced every 200 hours of running.\n\n## Valve\n\nThe valve opens at 3 bar.\n"
    )
    (folder / "boiler.txt").write_text("The boiler is checked in spring.")
    return folder


@pytest.fixture
def made(docs: Path, tmp_path: Path) -> Path:
    assert ragkit("index", docs, "-o", tmp_path / "c.rag", "--index", "bm25").exit_code == 0
    return tmp_path / "c.rag"


def test_index_reports_and_updates(docs: Path, tmp_path: Path) -> None:
    (docs / "odd.xyz").write_text("?")
    out = ragkit("index", docs, "-o", tmp_path / "c", "--json")
    record = json.loads(out.stdout)
    assert out.exit_code == 0
    assert (record["added"], record["documents"]) == (["boiler.txt", "pump.md"], 2)
    assert [s["path"] for s in record["skipped"]] == ["odd.xyz"]
    assert "skipped odd.xyz:" in out.stderr
    again = json.loads(ragkit("index", docs, "-o", tmp_path / "c", "--json", "--quiet").stdout)
    assert again["unchanged"] == 2
    options = ("--language", "de", "--chunker", "tokens", "--index", "bm25", "--index", "rank_bm25")
    other = json.loads(ragkit("index", docs, "-o", tmp_path / "d", "--json", *options).stdout)
    assert other["indexes"]["bm25"]["language"] == other["indexes"]["rank_bm25"]["language"] == "de"
    assert other["chunker"]["type"] == "tokens"


def test_grep(made: Path, docs: Path, tmp_path: Path) -> None:
    assert ragkit("index", docs, "-o", tmp_path / "n.rag", "--index", "bm25", "--index", "ngram").exit_code == 0
    for collection in (made, tmp_path / "n.rag"):
        record = json.loads(ragkit("grep", collection, "OUTER  gasket", "--json").stdout)
        assert (record["total"], record["documents"]) == (1, 1)
        assert [(m["document"], m["start"], m["text"]) for m in record["matches"]] == [("pump.md", 12, "outer gasket")]
        assert "[outer gasket] is replaced" in ragkit("grep", collection, "outer gasket").stdout
        nothing = ragkit("grep", collection, "inner gasket")
        assert (nothing.exit_code, nothing.stdout) == (0, "0 occurrences in 0 documents of 'inner gasket'\n")
    wrong = ragkit("grep", made, "")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert wrong.stderr == "ragkit: an empty text stands everywhere; give at least one character to look for\n"


def test_search(made: Path) -> None:
    record = json.loads(ragkit("search", made, "outer gasket", "-k", 1, "--json").stdout)
    assert [h["document"] for h in record["hits"]] == ["pump.md"]
    assert record["hits"][0]["headings"] == ["Pump"]
    text = ragkit("search", made, "outer gasket").stdout
    assert "pump.md" in text
    assert "1 hits" in text
    assert ragkit("search", made, "xyzzy").exit_code == 0
    assert json.loads(ragkit("search", made, "the", "--json").stdout)["hits"] == []


def test_ask(made: Path, docs: Path) -> None:
    record = json.loads(ragkit("ask", made, "How often is the outer gasket replaced?", "--json").stdout)
    assert record["answer"].startswith("The outer gasket is replaced every 200 hours")
    for c in record["citations"]:
        assert (docs / c["document"]).read_text()[c["start"] : c["end"]] == c["quote"]
    assert ragkit("ask", docs, "When is the boiler checked?").stdout.startswith("The boiler is checked in spring. [1]")
    refused = ragkit("ask", docs, "Who painted the Mona Lisa?", "--json")
    assert refused.exit_code == 0
    assert json.loads(refused.stdout)["found"] is False


def test_what_json_can_not_say_is_null(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    made.add([Document("odd numbers", id="a", meta={"x": float("nan"), "y": float("inf")})])
    record = json.loads(ragkit("get", tmp_path / "c", "a", "--json").stdout, parse_constant=lambda name: pytest.fail(name))
    assert record["meta"] == {"x": None, "y": None}


def test_replace(made: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("Another folder.")
    assert "--replace" in ragkit("index", tmp_path / "other", "-o", made).stderr
    record = json.loads(ragkit("index", tmp_path / "other", "-o", made, "--replace", "--json").stdout)
    assert (record["added"], record["documents"]) == (["new.txt"], 1)
    (tmp_path / "other" / "new.txt").unlink()
    assert "holds no files any more" in ragkit("sync", made).stderr
    assert json.loads(ragkit("sync", made, "--replace", "--json").stdout)["documents"] == 0


def test_sync_get_and_info(made: Path, docs: Path) -> None:
    (docs / "new.txt").write_text("Something new.")
    assert json.loads(ragkit("sync", made, "--json").stdout)["added"] == ["new.txt"]
    assert ragkit("get", made, "new.txt").stdout == "Something new.\n"
    assert json.loads(ragkit("get", made, "pump.md", "--json").stdout)["title"] == "Pump"
    assert json.loads(ragkit("info", made, "--json").stdout)["documents"] == 3
    assert "documents    3" in ragkit("info", made).stdout


def test_eval(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "a", "title": "", "text": "red apple"}\n{"_id": "b", "title": "", "text": "blue sky"}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "apple"}\n{"_id": "2", "text": "sky apple apple"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n")
    out = ragkit("eval", "--beir", tmp_path, "--pipeline", "bm25", "-m", "nDCG@10", "-m", "RR@10", "--json")
    record = json.loads(out.stdout)
    assert record["measures"] == {"nDCG@10": round((1 + 1 / 1.5849625) / 2, 5), "RR@10": 0.75}
    assert record["queries"] == {"judged": 2, "answered": 2}
    assert "nDCG@10" in ragkit("eval", "--beir", tmp_path).stdout
    wrong = ragkit("eval", "--beir", tmp_path, "--split", "dev")
    assert wrong.exit_code == 1
    assert "it has: test" in wrong.stderr


def test_scifact_reaches_the_reference(data: Path) -> None:
    """Anserini's flat BM25 has nDCG@10 0.679 and R@100 0.925."""
    record = json.loads(ragkit("eval", "--beir", data / "scifact", "--pipeline", "bm25", "-m", "nDCG@10", "-m", "R@100", "--json").stdout)
    assert record["measures"]["nDCG@10"] >= 0.670
    assert record["measures"]["R@100"] >= 0.91
    assert (record["documents"], record["queries"]["judged"]) == (5183, 300)


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("search", "{nowhere}", "x"), 1, "does not exist; give a folder of documents"),
        (("search", "{made}", "x", "-k", "0"), 2, "0 is not in the range x>=1"),
        (("ask", "{made}", "x", "-k", "-3"), 2, "-3 is not in the range x>=1"),
        (("search", "{made}", "x", "--using", "bm52"), 1, "did you mean 'bm25'?"),
        (("ask", "{made}", ""), 1, "the question is empty"),
        (("ask", "{empty}", "x"), 1, "holds no readable documents (0 files skipped)"),
        (("index", "{empty}", "-o", "{out}"), 1, "holds no readable documents (0 files skipped)"),
        (("index", "{empty}", "-o", "{made}"), 1, "holds the files of"),
        (("index", "{docs}", "-o", "{out}", "--encoding", "klingon"), 1, "encoding must name a text encoding"),
        (("index", "{docs}", "-o", "{out}", "--max-bytes", "0"), 2, "not in the range"),
        (("get", "{made}", "nothing"), 1, "no document has the id 'nothing'"),
        (("index", "{nowhere}", "-o", "{out}"), 1, "does not exist; give a folder of documents or a file"),
        (("index", "{docs}", "-o", "{docs}"), 1, "is not an empty folder"),
        (("index", "{docs}", "-o", "{out}", "--index", "dens"), 1, "no index is called 'dens'"),
        (("index", "{docs}", "-o", "{out}", "--language", "xx"), 1, "no language is called 'xx'"),
        (("index", "{docs}", "-o", "{made}", "--chunker", "tokens"), 1, "keeps the settings it was made with"),
        (("sync", "{docs}"), 1, "holds no collection"),
        (("sync", "{bare}"), 1, "was not made from a folder"),
        (("search", "{made}"), 2, "Missing argument"),
        (("search", "{made}", "x", "-k", "many"), 2, "not a valid integer"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_wrong_use_is_one_sentence(args: tuple[str, ...], code: int, sentence: str, made: Path, docs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Collection.create(tmp_path / "bare")
    names = {n: tmp_path / n for n in ("nowhere", "empty", "out", "bare")} | {"made": made, "docs": docs}
    out = ragkit(*(a.format(**names) for a in args))
    assert out.exit_code == code
    assert sentence in out.stderr
    assert "Traceback" not in out.stderr
    assert out.stdout == ""
    assert not (tmp_path / "out").exists()  # and nothing is left of the attempt
    if code == 1:
        assert out.stderr.startswith("ragkit: ")
        assert out.stderr.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    out = ragkit("search", tmp_path / "nowhere", "x", "--debug")
    assert out.exit_code == 1
    assert "does not exist" in str(out.exception)


def test_as_a_process(made: Path) -> None:
    """Nothing but the JSON document on stdout, no progress when nobody watches."""
    command = [sys.executable, "-c", "from ragkit.cli import main; main()", "ask", str(made), "When is the boiler checked?", "--json"]
    out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout)["citations"][0]["document"] == "boiler.txt"
    assert out.stderr == ""


def test_settings_of_an_encoder_are_not_ignored(docs: Path, tmp_path: Path) -> None:
    done = ragkit("index", docs, "-o", tmp_path / "d.rag", "--index", "bm25", "--model", "static")
    assert done.exit_code == 1
    assert "add --index dense" in done.stderr
    assert not (tmp_path / "d.rag").exists()


def test_upkeep(made: Path, docs: Path, tmp_path: Path) -> None:
    assert json.loads(ragkit("check", made, "--json").stdout)["ok"] is True
    assert ragkit("repair", made).stdout == "nothing is damaged\n"
    (docs / "boiler.txt").unlink()
    assert ragkit("sync", made, "--quiet", "--max-ram", "8GB", "--workers", 1).exit_code == 0
    report = json.loads(ragkit("compact", made, "--purge", "--json").stdout)
    assert (report["segments_after"], report["bytes_on_disk"] < 2 * report["bytes_after"] + 10_000) == (1, True)
    assert ragkit("export", made, tmp_path / "all.jsonl", "--where", "title == 'Pump'").stdout == f"{tmp_path / 'all.jsonl'}: 1 documents\n"
    assert ragkit("snapshot", made, tmp_path / "backup").exit_code == 0
    assert [d.id for d in Collection.open(tmp_path / "backup")] == ["pump.md"]
    taken = ragkit("snapshot", made, tmp_path / "backup")
    assert (taken.exit_code, taken.stdout) == (1, "")
    assert "is taken; name a new folder" in taken.stderr
    estimated = json.loads(ragkit("estimate", docs, "--index", "bm25", "--json").stdout)
    assert (estimated["files"], estimated["sampled"]) == (1, 1.0)


def test_damage_has_an_exit_code(made: Path) -> None:
    column = next(made.glob("segments/*/passages.arrow"))
    whole = column.read_bytes()
    column.write_bytes(whole[:-1])
    found = ragkit("check", made, "--quick")
    assert found.exit_code == 1
    assert "passages.arrow has" in found.stdout
    assert ragkit("repair", made).exit_code == 1
    assert "passages.arrow" in ragkit("search", made, "pump").stderr
    column.write_bytes(whole)
    assert ragkit("check", made).exit_code == 0
