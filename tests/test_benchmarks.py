"""The benchmarks run, and hold the figures that the project promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_large_documentation_is_indexed_and_answers(data: Path) -> None:
    """9,746 files in under 3 minutes by one command; the right page within a second of opening, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "ingest", "--json"]
    env = {**os.environ, "RAGKIT_DATA": str(data.resolve())}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["quality"]["documents"] == record["quality"]["unchanged_on_second_sync"] == 9746
    assert record["quality"]["skipped"] == 0
    assert record["quality"]["first_citation_is_the_right_page"]
    assert record["context"]["index_command_seconds"] < 180
    assert record["context"]["first_ask_after_opening_seconds"] < 1


def test_stored_records_carry_quality_and_context() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["benchmark"] == path.stem
        assert record["quality"]
        assert {"python", "cpus", "ragkit"} <= set(record["context"])
