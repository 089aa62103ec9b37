"""The benchmarks run, and hold the figures that the project promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import passages
from ragkit import BM25, Collection

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_large_documentation_is_indexed_and_answers(data: Path) -> None:
    """9,746 files in under 3 minutes by one command; the right page within a second of opening, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "ingest", "--size", "alone", "--json"]
    env = {**os.environ, "RAGKIT_DATA": str(data.resolve())}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["quality"]["documents"] == record["quality"]["unchanged_on_second_sync"] == 9746
    assert record["quality"]["skipped"] == 0
    assert record["quality"]["first_citation_is_the_right_page"]
    assert record["context"]["index_command_seconds"] < 180
    assert record["context"]["first_ask_after_opening_seconds"] < 1


def test_sizes_are_those_of_the_benchmark() -> None:
    for name, told in (("ingest", "ingest has the sizes full, small, alone, not 'huge'"), ("answers", "answers has no sizes, not 'huge'")):
        command = [sys.executable, "-m", "benchmarks", name, "--size", "huge"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert told in done.stderr


def test_peers_are_given_the_passages_that_ragkit_indexes(tmp_path: Path) -> None:
    """A title of its own or the first heading's, text before the headings, a long section, no heading at all."""
    long = "\n\n".join(f"Paragraph {n} tells of valve {n} and of what it is good for." for n in range(60))
    texts = {
        "matter.md": f"---\ntitle: Pumps\n---\nBefore.\n\n# Gaskets\n\n## Old ones\n\n{long}\n",
        "heading.md": "# Valves\n\nShort.\n\n## Care\n\nOil them twice a year, and write down when; a dry valve sticks.\n",
        "plain.md": "No heading here.",
    }
    (tmp_path / "docs").mkdir()
    for name, text in texts.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    collection = Collection.create(tmp_path / "c", indexes=[BM25()])
    collection.sync(tmp_path / "docs")
    indexed = [t for view in collection.version.views for t in view.columns.index_texts()]
    assert sorted(indexed) == sorted(p for name, text in texts.items() for p in passages(text, name.removesuffix(".md")))
    assert len(indexed) > len(texts)


def test_stored_records_carry_quality_and_context() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["benchmark"] == path.stem
        assert record["quality"]
        assert {"python", "cpus", "ragkit"} <= set(record["context"])
