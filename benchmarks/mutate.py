"""Changing a collection: what an update costs beside building anew, and small commits to searches; what opening a large one costs.

100,000 passages with BM25 and dense vectors of the static encoder, nothing merged on the way; then a million passages with
BM25, indexed within a limit of memory by a process of its own, whose peak the system tells, and opened by another.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import memory
from benchmarks.passages import passages, sentences
from ragkit import BM25, Collection, Dense, Document
from ragkit.protocols import IndexSpec

SIZES = {"full": (100_000, 1_000_000), "small": (10_000, 50_000)}
"""Passages of the collection that is changed, and of the one that is opened."""

COMMITS = 50
BATCH = 20
"""Documents of each of the small commits."""

SINGLE = 60
"""Commits of one document."""

MAX_RAM = "1GB"
_QUESTIONS = 200
_ROUNDS = 5


def run(data: Path, size: str = "full") -> dict[str, Any]:
    """Everything once, on a disk that holds the scratch folder."""
    n, many = SIZES[size]
    of = sentences(data)
    with tempfile.TemporaryDirectory() as scratch:
        ratios, quality, context = _changes(of, n, Path(scratch))
        ingest = _in_a_process("fill", data, Path(scratch, "many"), many)
        opened = _in_a_process("look", data, Path(scratch, "many"), many)
    quality |= {
        "peak_resident_GB_with_max_ram_1GB": round(ingest["peak"] / 1e9, 3),
        "open_seconds": round(opened["open_seconds"], 3),
        "anonymous_memory_share_of_bytes": round(opened["anonymous"] / ingest["bytes"], 4),
    }
    context |= {
        "passages_changed": n,
        "passages_opened": many,
        "ingest_of_those_seconds": round(ingest["seconds"], 1),
        "bytes_of_those": ingest["bytes"],
        "segments_of_those": ingest["segments"],
        "first_search_seconds_after_opening": round(opened["search_seconds"], 3),
    }
    return {"benchmark": "mutate", "ratios": ratios, "quality": quality, "context": context}


def _changes(of: list[list[str]], n: int, scratch: Path) -> tuple[dict[str, float], dict[str, Any], dict[str, Any]]:
    indexes: list[IndexSpec] = [BM25(language="en"), Dense(model="static")]
    documents = list(passages(of, n))
    Dense(model="static").encoder()  # loaded, and made where it is not there yet, before the clock runs

    def build(name: str, content: list[Document]) -> Collection:
        made = Collection.create(scratch / name, indexes=indexes, chunker=None)
        made.auto_merge = False
        made.add(content)
        return made

    changed = build("changed", documents)
    some = list(passages(of, n // 100, seed=8))
    chosen = np.random.default_rng(7).choice(n, len(some), replace=False)
    updates = [Document(d.text, id=documents[i].id, meta=d.meta) for i, d in zip(chosen.tolist(), some, strict=True)]
    upsert = _seconds(lambda: changed.upsert(updates))
    replaced = {d.id: d for d in updates}
    rebuild = _seconds(lambda: build("rebuilt", [replaced.get(d.id, d) for d in documents]))
    more = list(passages(of, COMMITS * BATCH, seed=9, prefix="more"))
    for start in range(0, len(more), BATCH):
        changed.add(more[start : start + BATCH])
    before, segments = len(changed), len(changed.version.views)
    whole = Collection(changed.snapshot(scratch / "compacted"))
    compact = _seconds(whole.compact)
    questions = [" ".join(d.text.split()[:6]) for d in passages(of, _QUESTIONS, seed=10)]
    searched = {using: _side_by_side(changed, whole, questions, using) for using in ("bm25", "dense", "hybrid")}
    single = _single_commits(of, n, scratch)
    ratios = {"upsert_vs_rebuild": round(upsert / rebuild, 4), "search_fragmented": round(max(a / b for a, b in searched.values()), 3)}
    quality = {
        "documents_equal_after_compaction": before == len(whole) and {d.id for d in changed} == {d.id for d in whole},
        "hits_equal_after_compaction": _same_hits(changed, whole, questions),
        "one_document_commit_p50_ms": round(single, 2),
    }
    context: dict[str, Any] = {
        "upsert_seconds": round(upsert, 3),
        "rebuild_seconds": round(rebuild, 2),
        "compact_seconds": round(compact, 2),
        "segments": {"fragmented": segments, "compacted": len(whole.version.views)},
        "search_microseconds": {using: {"fragmented": round(a * 1e6), "compacted": round(b * 1e6)} for using, (a, b) in searched.items()},
    }
    return ratios, quality, context


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _side_by_side(a: Collection, b: Collection, questions: list[str], using: str) -> tuple[float, float]:
    """Seconds a question of both collections: medians of rounds that take turns, the first of which is not counted."""
    taken: list[list[float]] = [[], []]
    for _ in range(_ROUNDS + 1):
        for collection, times in zip((a, b), taken, strict=True):
            times.append(_seconds(lambda c=collection: [c.search(q, using=using) for q in questions]))  # type: ignore[misc]
    first, second = (statistics.median(t[1:]) / len(questions) for t in taken)
    return first, second


def _same_hits(a: Collection, b: Collection, questions: list[str]) -> float:
    """Share of the questions whose hits are the same documents with the same scores, of every exact index."""

    def hits(c: Collection, q: str, using: str) -> Iterator[tuple[str, float]]:
        return ((h.id, float(f"{h.score:.4g}")) for h in c.search(q, using=using))

    pairs = [(q, using) for q in questions for using in ("bm25", "dense")]
    return statistics.mean(sorted(hits(a, q, u)) == sorted(hits(b, q, u)) for q, u in pairs)


def _single_commits(of: list[list[str]], n: int, scratch: Path) -> float:
    """Median milliseconds of a commit of one document to a collection of n with BM25."""
    made = Collection.create(scratch / "single", indexes=[BM25(language="en")], chunker=None)
    made.auto_merge = False
    made.add(passages(of, n))
    return 1000 * statistics.median(_seconds(lambda d=d: made.add([d])) for d in passages(of, SINGLE, seed=11, prefix="one"))  # type: ignore[misc]


# --- in a process of its own ----------------------------------------------------------------------------------------


def _in_a_process(what: str, data: Path, folder: Path, n: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.mutate", what, str(data), str(folder), str(n)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told


def _fill(data: Path, folder: Path, n: int) -> dict[str, Any]:
    of = sentences(data)
    made = Collection.create(folder, indexes=[BM25(language="en")], chunker=None)
    seconds = _seconds(lambda: made.add(passages(of, n), max_ram=MAX_RAM))
    info = made.info()
    return {"seconds": seconds, "bytes": info["bytes"], "segments": info["segments"], "peak": memory("VmHWM")}


def _look(folder: Path) -> dict[str, Any]:
    before, start = memory("RssAnon"), time.perf_counter()
    made = Collection.open(folder)
    opened = time.perf_counter()
    found = len(made.search("compiler option"))
    taken = {"open_seconds": opened - start, "search_seconds": time.perf_counter() - opened, "anonymous": memory("RssAnon") - before}
    return {**taken, "found": found}


if __name__ == "__main__":
    _, _what, _data, _folder, _n = sys.argv
    print(json.dumps(_fill(Path(_data), Path(_folder), int(_n)) if _what == "fill" else _look(Path(_folder))))
