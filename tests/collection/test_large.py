"""Large ingests: bounded memory, work that is taken up again after an interruption, several processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ragkit.collection.builder as builder
import ragkit.collection.memory as memory
from ragkit import BM25, Collection, Dense, Document
from ragkit.collection.memory import Budget, resident
from ragkit.errors import InputError

DOCUMENTS = [Document(f"number {n} tells of pump{n % 7} " + "pad " * 10, id=str(n), meta={"n": n}) for n in range(40)]
VECTORS = np.random.default_rng(7).normal(size=(40, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SEGMENT_TEXT", 600)
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 4)


def create(folder: Path) -> Collection:
    made = Collection.create(folder, indexes=[BM25(language="en"), Dense(vectors="v", factory="IVF2,Flat", nprobe=2)], chunker=None)
    made.auto_merge = False
    return made


def answers(made: Collection) -> list[tuple[str, float]]:
    return [(h.id, round(h.score, 4)) for h in made.search("pump3 number", k=20, using="bm25")]


def breaking(after: int) -> Iterator[Document]:
    yield from DOCUMENTS[:after]
    raise RuntimeError("the source broke")


def files(made: Collection) -> set[str]:
    return {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file() and p.name != "writer.lock"}


def test_finished_segments_are_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    whole = create(tmp_path / "whole")
    whole.add(DOCUMENTS, vectors={"v": VECTORS})
    made = create(tmp_path / "c")
    with pytest.raises(RuntimeError, match="the source broke"):
        made.add(breaking(30), vectors={"v": VECTORS})
    assert len(Collection.open(tmp_path / "c")) == 0  # nothing is committed
    finished = {p.name for p in (tmp_path / "c" / "segments").iterdir()}
    assert len(finished) >= 2
    assert len(list((tmp_path / "c" / "models" / "dense").iterdir())) == 1
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "c" / "segments").rglob("*") if p.is_file()}
    made.add(DOCUMENTS, vectors={"v": VECTORS})
    assert caplog.text.count("is used") == len(finished)
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())  # not built again
    assert finished < {s.id for s in made.version.manifest.segments}
    assert [d.text for d in made] == [d.text for d in whole] == [d.text for d in DOCUMENTS]
    assert answers(made) == answers(whole)
    assert made.check().ok
    assert not (tmp_path / "c" / "staging" / "segments").exists()
    assert files(made) == {*made.version.manifest.files, "CURRENT", *(p.name for p in made.folder.glob("manifest-*"))}


def test_other_documents_take_nothing_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = create(tmp_path / "c")
    with pytest.raises(RuntimeError, match="the source broke"):
        made.add(breaking(30), vectors={"v": VECTORS})
    other = [Document(d.text + " x", id=d.id) for d in DOCUMENTS]
    made.add(other, vectors={"v": VECTORS})
    assert "is used" not in caplog.text
    assert [d.text for d in made] == [d.text for d in other]
    assert files(made) == {*made.version.manifest.files, "CURRENT", *(p.name for p in made.folder.glob("manifest-*"))}


KILLED = """
import sys, time
import ragkit.collection.builder as builder, ragkit.collection.memory as memory
builder.SMALL_SEGMENT, memory.SEGMENT_TEXT = 4, 600
from ragkit import Collection, Document
import numpy as np
def documents():
    for n in range(40):
        if n == 30:
            print("here", flush=True)
            time.sleep(60)
        yield Document(f"number {n} tells of pump{n % 7} " + "pad " * 10, id=str(n), meta={"n": n})
Collection.open(sys.argv[1]).add(documents(), vectors={"v": np.random.default_rng(7).normal(size=(40, 8)).astype(np.float32)})
"""


def test_a_killed_ingest_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = create(tmp_path / "c")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(made.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (made.folder / "writer.json").exists()  # the name of the dead owner
    (made.folder / "segments" / "99999999-000-dead").mkdir()  # and half of a segment
    made.add(DOCUMENTS, vectors={"v": VECTORS})
    assert caplog.text.count("is used") >= 2
    assert [d.text for d in made] == [d.text for d in DOCUMENTS]
    assert made.check().ok
    assert files(made) == {*made.version.manifest.files, "CURRENT", *(p.name for p in made.folder.glob("manifest-*"))}
    assert {p.name for p in (made.folder / "segments").iterdir()} == {s.id for s in made.version.manifest.segments}


def test_workers_give_the_same_collection(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for n in range(30):
        (tmp_path / "docs" / f"{n:02}.md").write_text(f"# Pump {n}\n\nThe pump{n % 5} has number {n}.\n\n## Care\n\n" + "Oil it. " * 20)
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    made = []
    for workers in (0, 2):
        c = Collection.create(tmp_path / f"c{workers}", indexes=[BM25(language="en")])
        report = c.sync(tmp_path / "docs", workers=workers)
        assert len(report.added) == 30
        assert [s.path for s in report.skipped] == ["broken.pdf"]
        again = c.sync(tmp_path / "docs", workers=workers)
        assert len(again.unchanged) == 30
        made.append(c)
    assert [(d.id, d.text) for d in made[0]] == [(d.id, d.text) for d in made[1]]
    hits = [[(h.id, h.span, h.score) for h in c.search("pump3 oil", k=9)] for c in made]
    assert hits[0] == hits[1]
    added = create(tmp_path / "added")
    added.add(DOCUMENTS, vectors={"v": VECTORS}, workers=2)
    assert len(added.version.views) > 2
    assert added.check().ok
    alone = create(tmp_path / "alone")
    alone.add(DOCUMENTS, vectors={"v": VECTORS})
    assert answers(added) == answers(alone)
    with pytest.raises(InputError, match="workers must be 0"):
        added.add([], workers=-1)


def test_a_failure_beside_workers_leaves_nothing_half(tmp_path: Path) -> None:
    made = create(tmp_path / "c")
    with pytest.raises(RuntimeError, match="the source broke"):
        made.add(breaking(30), vectors={"v": VECTORS}, workers=1)
    assert len(made) == 0
    made.compact(purge=True)
    made.add(DOCUMENTS, vectors={"v": VECTORS})
    assert made.check().ok
    assert len(made) == 40


def test_a_limit_of_memory_makes_small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Budget().full(100, 1 << 40, 1 << 40, 1 << 10)
    assert Budget().full(600, 1, 1, 0)  # the limit that always holds
    few = Budget(1000)
    assert not few.full(100, 1, 1, 0)
    assert few.full(100, 1, 1, 400)  # with the vectors of a passage
    assert few.full(240, 1, 1, 0)
    assert few.full(1, 1, 10, 0)  # the ids of all documents so far count too
    held = resident()
    assert 50e6 < held < 8e9
    assert 0 < (Budget.of(held + 500_000_000).left or 0) < 600_000_000
    with pytest.raises(InputError, match="leaves no room to work"):
        Budget.of("1MB")
    with pytest.raises(InputError, match="a size is a number of bytes"):
        Budget.of("much")


def test_progress_is_told_with_workers(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    start = time.monotonic()
    made = create(tmp_path / "c")
    made.add(DOCUMENTS, vectors={"v": VECTORS}, workers=1, progress=lambda *told: seen.append(told))
    assert seen[-1] == (40, 40, "adding documents")
    assert time.monotonic() - start < 120
