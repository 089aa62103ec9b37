"""Indexing cpp-docs (9,746 Markdown files, 45 MB) with BM25 by one command, and the time to an answer after it.

The command runs as a process of its own, as a user runs it; peers and encoders are not part of this record.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from ragkit import Collection

QUESTION = "What does the /permissive- compiler option do?"
PAGE = "build/reference/permissive-standards-conformance.md"


def run(data: Path) -> dict[str, Any]:
    """Index, open, ask."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as archive:
            archive.extractall(scratch, filter="data")
        collection = Path(scratch, "c.rag")
        start = time.perf_counter()
        made = _ragkit("index", str(Path(scratch, "docs")), "-o", str(collection))
        indexed = time.perf_counter()
        _ragkit("ask", str(collection), QUESTION)
        asked = time.perf_counter()
        opened = Collection.open(collection)
        ready = time.perf_counter()
        answer = opened.ask(QUESTION)
        first = time.perf_counter()
        opened.ask(QUESTION)
        warm = time.perf_counter()
        again = _ragkit("sync", str(collection))
        synced = time.perf_counter()
    return {
        "benchmark": "ingest",
        "quality": {
            "documents": made["documents"],
            "skipped": len(made["skipped"]),
            "unchanged_on_second_sync": again["unchanged"],
            "first_citation_is_the_right_page": answer.citations[0].document == PAGE,
            "answer": answer.text,
        },
        "context": {
            "passages": made["passages"],
            "bytes_on_disk": made["bytes"],
            "index_command_seconds": round(indexed - start, 2),
            "ask_command_seconds": round(asked - indexed, 2),
            "open_seconds": round(ready - asked, 4),
            "first_ask_after_opening_seconds": round(first - ready, 4),
            "second_ask_seconds": round(warm - first, 4),
            "sync_command_with_no_change_seconds": round(synced - warm, 2),
        },
    }


def _ragkit(*args: str) -> dict[str, Any]:
    command = [sys.executable, "-c", "from ragkit.cli import main; main()", *args, "--json"]
    done: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return done
