"""Every write, flush and rename of every operation fails once: afterwards the old or the new version, whole, and writing goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ragkit.collection.builder as builder
import ragkit.collection.merging as merging
from ragkit import BM25, Collection, Dense, Document, Query

OLD = [Document(f"old text number {i}", id=f"old{i}") for i in range(3)]
NEW = [Document(f"new text number {i}", id=f"new{i}") for i in range(3)]
CONTENT = {"old0": "old text number 0", "old1": "old text number 1", "old2": "old text number 2"}

Act = Callable[[Collection], object]


def vectors(n: int) -> dict[str, Any]:
    return {"v": np.eye(4, dtype=np.float32)[np.arange(n) % 4]}


OPERATIONS: dict[str, tuple[Act, dict[str, str]]] = {
    "add": (lambda c: c.add(NEW, vectors=vectors(3)), {**CONTENT, **{d.id: d.text for d in NEW}}),
    "upsert": (lambda c: c.upsert([Document("replaced", id="old0")], vectors=vectors(1)), {**CONTENT, "old0": "replaced"}),
    "delete": (lambda c: c.delete("old0"), {k: v for k, v in CONTENT.items() if k != "old0"}),
    "compact": (lambda c: c.compact(), CONTENT),
    "purge": (lambda c: c.compact(purge=True), CONTENT),
}


class Failing:
    """Lets the nth call of a function of os fail, before or after it does its work, or write only a part."""

    def __init__(self, name: str, nth: int, how: str) -> None:
        self.call, self.nth, self.how, self.calls = getattr(os, name), nth, how, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls != self.nth:
            return self.call(*args, **kwargs)
        if self.how == "short":  # a disk that takes a few bytes, and then is full
            self.nth += 1
            self.how = "full"
            return self.call(args[0], bytes(args[1])[: max(1, len(args[1]) // 2)])
        if self.how == "after":
            self.call(*args, **kwargs)
        raise OSError(errno.EIO if self.how in ("broken", "after") else errno.ENOSPC, "it was made to fail")


def state(folder: Path) -> dict[str, str]:
    return {d.id: d.text for d in Collection.open(folder)}


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection of three segments, one of them with a deleted document, with index parts and vectors; 8 commits old."""
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)  # so that index parts are written too
    monkeypatch.setattr(merging, "FACTOR", 2)  # and every commit has something to merge
    made = Collection.create(tmp_path / "template", indexes=[BM25(language="en"), Dense(vectors="v")], chunker=None)
    made.auto_merge = False
    made.add([*OLD[:2], Document("gone", id="gone")], vectors=vectors(3))
    made.add(OLD[2:], vectors=vectors(1))
    made.delete("gone")
    made.add([Document("brief", id="brief")], vectors=vectors(1))
    made.delete("brief")
    return made.folder


@pytest.mark.parametrize(
    ("name", "how"), [("write", "full"), ("write", "short"), ("fsync", "broken"), ("replace", "full"), ("replace", "after")]
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_old_or_new_and_never_a_mix(
    operation: str, name: str, how: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, new = OPERATIONS[operation]
    failures = 0
    for nth in range(1, 500):
        folder = tmp_path / "c"
        shutil.copytree(template, folder)
        made = Collection.open(folder)
        failing = Failing(name, nth, how)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            try:
                act(made)
            except OSError as exc:
                if "made to fail" not in str(exc):
                    raise
                failures += 1
        if failing.calls < nth:
            break
        found = state(folder)
        assert found in (CONTENT, new)
        assert made.check().ok
        if found == CONTENT:
            act(made)  # the same handle can write again
        else:
            made.refresh()  # it is told that the commit failed, and only after that that it was made
        assert state(folder) == {d.id: d.text for d in made} == new
        hits = made.search("text number", k=9, using="bm25")
        assert sorted(h.id for h in hits) == sorted(i for i, text in new.items() if "text" in text)
        query = Query("q", "x", vectors={"v": np.ones(4, np.float32)})
        assert sorted(h.id for h in made.search(query, k=9, using="dense")) == sorted(new)
        made.compact(purge=True)
        files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}  # nothing is left of what failed
        assert files - set(made.version.manifest.files) <= {"CURRENT", "PURGED", "writer.lock", made.version.manifest.name}
        shutil.rmtree(folder)
    assert failures >= (1 if name == "replace" else 3)
    assert nth < 499


def test_a_failing_merge_loses_nothing(template: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A write is committed before the merging that it makes due, and does not fail with it."""
    made = Collection.open(template)
    merges = []

    def full(*args: Any, **kwargs: Any) -> None:
        merges.append(args)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ragkit.collection.writer.write_merged", full)
        made.add([Document("fourth", id="4")], vectors=vectors(1))
        made.add([Document("fifth", id="5")], vectors=vectors(1))
    assert merges
    assert "segments could not be merged" in caplog.text
    assert state(template) == {**CONTENT, "4": "fourth", "5": "fifth"}
    made.add([Document("sixth", id="6")], vectors=vectors(1))
    assert len(made.version.views) < 4
    assert made.check().ok


def test_an_interrupted_create_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for nth in range(1, 9):
        folder = tmp_path / f"{nth}"
        failing = Failing("fsync", nth, "broken")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with contextlib.suppress(OSError):
                Collection.create(folder)
        if failing.calls < nth:
            break
        made = Collection.open(folder) if (folder / "CURRENT").exists() else Collection.create(folder)
        made.add(OLD)
        assert state(folder) == CONTENT
    assert nth > 3


WRITER = """
import sys
from ragkit import BM25, Collection, Dense, Document
import numpy as np
import ragkit.collection.builder as builder
builder.SMALL_SEGMENT = 2
made = Collection.open(sys.argv[1])
try:
    if sys.argv[2] == "add":
        documents = [Document(f"text {i} " + "pad " * 300, id=f"full{i}") for i in range(40)]
        made.add(documents, vectors={"v": np.ones((40, 4), np.float32)})
    else:
        made.compact()
except OSError as exc:
    print(exc.errno)
"""


def limited(size: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails with EFBIG, after a short one
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize(("operation", "size"), [("add", 60), ("add", 900), ("add", 8000), ("compact", 60), ("compact", 900)])
def test_a_real_limit_of_the_kernel(operation: str, size: int, template: Path) -> None:
    """Files can't grow beyond a size: whatever library writes them, the kernel takes a part and then refuses."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(template), operation], preexec_fn=limited(size), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(errno.EFBIG)
    assert state(template) == CONTENT
    made = Collection.open(template)
    assert made.check().ok
    made.compact(purge=True)
    assert state(template) == CONTENT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_real_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)
    made = Collection.create(small_disk / "c", indexes=[BM25(language="en"), Dense(vectors="v")], chunker=None)
    stored = 0

    def fill() -> None:
        nonlocal stored
        for n in range(200):
            made.add([Document(f"text {n} " + f"pad{n} " * 100, id=f"{n}")], vectors=vectors(1))
            stored = n + 1

    with pytest.raises(OSError, match="No space left") as failed:
        fill()
    assert failed.value.errno == errno.ENOSPC
    assert stored > 2
    reopened = Collection.open(small_disk / "c")
    assert sorted(d.id for d in reopened) == sorted(str(n) for n in range(stored))
    assert reopened.check().ok
    assert len(reopened.search("text", k=300, using="bm25")) == stored
    reopened.delete([str(n) for n in range(1, stored)])
    reopened.compact(purge=True)
    reopened.add([Document("there is room again", id="room")], vectors=vectors(1))
    assert {d.id for d in Collection.open(small_disk / "c")} == {"0", "room"}
