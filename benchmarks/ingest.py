"""Indexing documentation: ragkit alone by one command, and against Haystack and LlamaIndex from a folder to the first search result.

Alone: cpp-docs (9,746 Markdown files, 45 MB) with BM25, the command run as a process of its own, as a user runs it, and the
time to an answer after it. `compare` says what the comparison does.
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

SIZES = {"full": 2000, "small": 200, "alone": 0}
"""Files that are indexed with every framework, the first by path; "alone" measures ragkit's command only."""

QUESTION = "What does the /permissive- compiler option do?"
PAGE = "build/reference/permissive-standards-conformance.md"


def run(data: Path, size: str = "full") -> dict[str, Any]:
    """ragkit's command on all files, then every framework on the first of them."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as archive:
            archive.extractall(scratch, filter="data")
        docs = Path(scratch, "docs")
        record = _alone(docs, Path(scratch, "c.rag"))
        if SIZES[size]:
            from benchmarks.peers.compare import compare

            for part, values in compare(docs, Path(scratch), SIZES[size], QUESTION, PAGE).items():
                record.setdefault(part, {}).update(values)
    return record


def _alone(docs: Path, collection: Path) -> dict[str, Any]:
    """Index, open, ask."""
    start = time.perf_counter()
    made = _ragkit("index", str(docs), "-o", str(collection), "--index", "bm25")
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
