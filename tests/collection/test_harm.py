"""Harm from outside: damaged old versions, altered manifests, a lost CURRENT, missing folders, merges that fail, workers left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ragkit.collection.memory as memory
from ragkit import BM25, Collection, Document, estimate
from ragkit.collection import check, repair
from ragkit.collection.files import replace_file, sealed, sha256_bytes
from ragkit.collection.memory import Budget
from ragkit.collection.retention import drop_old_versions
from ragkit.errors import CollectionExistsError, CorruptCollectionError, InputError, LockedError, NotACollectionError

SECRET = "xylophone"


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    made.add([Document(f"the word is {SECRET}", id="secret"), Document("nothing here", id="rest")])
    return made


def holds_secret(folder: Path) -> bool:
    return any(SECRET.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())


def alter(made: Collection, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the live manifest, and CURRENT with it, as somebody would who means harm."""
    path = made.folder / made.version.manifest.name
    data = json.loads(path.read_bytes())
    change(data)
    content = json.dumps(data).encode()
    path.write_bytes(content)
    replace_file(made.folder / "CURRENT", sealed(f"{path.name} {sha256_bytes(content)}"))


def test_a_purge_is_stopped_by_no_damaged_old_version_and_by_no_clock(made: Collection) -> None:
    made.delete("secret")
    old = made.folder / "manifest-00000001.json"
    old.write_bytes(old.read_bytes()[:-20])
    for path in made.folder.glob("manifest-*"):
        os.utime(path, (time.time() + 3600,) * 2)
    made.compact(purge=True)
    assert not holds_secret(made.folder)
    assert [p.name for p in made.folder.glob("manifest-*")] == [made.version.manifest.name]


def test_a_purge_takes_unfinished_work_along(made: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    made.delete("secret")
    made.compact(purge=True)
    monkeypatch.setattr(memory, "SEGMENT_TEXT", 30)

    def broken() -> Any:
        for n in range(3):
            yield Document(f"again the word is {SECRET}", id=f"s{n}")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="broke"):
        made.add(broken())
    assert holds_secret(made.folder)
    made.compact(purge=True)
    assert not holds_secret(made.folder)


def test_a_damaged_old_version_does_not_stop_retention(made: Collection) -> None:
    for n in range(5):
        made.upsert([Document(f"version {n}", id="rest")])
    old = made.folder / "manifest-00000002.json"
    old.write_bytes(old.read_bytes()[:-20])
    for path in made.folder.glob("manifest-*"):
        os.utime(path, (1_600_000_000,) * 2)
    drop_old_versions(made.folder)
    assert len(list(made.folder.glob("manifest-*"))) == 2
    assert made.check().ok
    assert Collection.open(made.folder).get("rest").text == "version 4"


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["models"].update({"../../victim": "x"}),
        lambda m: m["models"].update(dense=".."),
        lambda m: m["segments"][0].update(deletes="../victim"),
        lambda m: m["segments"][0].update(id=".."),
        lambda m: m["segments"][0]["models"].update(dense="../x"),
        lambda m: m["indexes"].update({"../x": m["indexes"]["bm25"]}),
    ],
)
def test_a_manifest_leads_nowhere_else(change: Callable[[dict[str, Any]], None], made: Collection, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    alter(made, change)
    with pytest.raises(CorruptCollectionError, match="do not use this collection"):
        Collection.open(made.folder)
    assert (tmp_path / "victim").is_dir()


def test_current_that_is_lost_or_damaged_goes_back_to_the_newest_documents(made: Collection) -> None:
    made.add([Document(f"pump {n}", id=str(n)) for n in range(300)])
    part = next(made.folder.glob("segments/*/bm25/rows.npy"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    for damage in (lambda p: p.unlink(), lambda p: p.write_bytes(b"manifest")):
        damage(made.folder / "CURRENT")
        assert [d.file for d in check(made.folder).damaged] == ["CURRENT"]
        report = repair(str(made.folder))
        assert report.repaired[0].file == "CURRENT"
        assert not report.left
        assert len(Collection.open(made.folder)) == 302
        assert check(str(made.folder)).ok


def test_a_version_that_is_passed_over_is_told_and_kept(made: Collection) -> None:
    made.add([Document("lost", id="lost")])
    key = made.version.key
    segment = made.folder / "segments" / made.version.manifest.segments[-1].id / "documents.arrow"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + b"x")
    (made.folder / "CURRENT").unlink()
    report = repair(made.folder)
    assert [d.file for d in report.left] == ["manifest-00000002.json"]
    back = Collection.open(made.folder)
    assert sorted(d.id for d in back) == ["rest", "secret"]
    assert back.version.key != key
    assert segment.exists()  # nothing of it is removed
    back.add([Document("on it goes", id="on")])
    assert check(made.folder).ok


def test_repair_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotACollectionError):
        repair(tmp_path / "typo.rag")
    assert not (tmp_path / "typo.rag").exists()


def test_a_snapshot_goes_into_no_folder_of_others(made: Collection, tmp_path: Path) -> None:
    (tmp_path / "project" / "models").mkdir(parents=True)
    with pytest.raises(CollectionExistsError, match="name a new folder"):
        made.snapshot(tmp_path / "project")
    (tmp_path / "empty").mkdir()
    assert Collection.open(made.snapshot(tmp_path / "empty")).check().ok
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "empty", "project"]


def test_a_snapshot_beside_a_purge_holds_nothing_that_was_purged(made: Collection, tmp_path: Path) -> None:
    purged = []

    def purge(done: int, total: int, stage: str) -> None:
        if not purged:
            purged.append(stage)
            made.delete("secret")
            made.compact(purge=True)

    copy = Collection.open(made.snapshot(tmp_path / "copy", progress=purge))
    assert purged == ["copying bytes"]
    assert [d.id for d in copy] == ["rest"]
    assert not holds_secret(tmp_path / "copy")


def test_a_check_beside_a_purge_sees_no_damage(made: Collection) -> None:
    purged = []

    def purge(done: int, total: int, stage: str) -> None:
        if not purged:
            purged.append(stage)
            made.delete("secret")
            made.compact(purge=True)

    assert check(made.folder, progress=purge).ok
    assert purged


def test_a_merge_that_fails_fails_no_write(made: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr("ragkit.collection.writer.write_merged", broken)
    for n in range(12):
        made.add([Document("small", id=str(n))])
    assert "could not be merged (MemoryError: no more)" in caplog.text
    assert len(made) == 14


def test_empty_folders_that_a_copy_left_out(made: Collection) -> None:
    (made.folder / "deletes").rmdir()
    opened = Collection.open(made.folder)
    opened.delete("secret")
    assert len(opened) == 1


def test_mistakes_are_told(made: Collection, tmp_path: Path) -> None:
    for wrong in ({"year": 2}, 5, None, [1]):
        with pytest.raises(InputError, match="delete takes ids"):
            made.delete(wrong)  # type: ignore[arg-type]
    assert made.delete(i for i in ("rest", "no")) == 1  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is no folder"):
        made.export(tmp_path / "nowhere" / "x.jsonl")
    for workers in ("2", 1.5):
        with pytest.raises(InputError, match="a whole number"):
            made.add([], workers=workers)  # type: ignore[arg-type]


def test_a_write_waits_for_another_thread_no_longer_than_for_another_process(made: Collection) -> None:
    import threading

    inside, done = threading.Event(), threading.Event()

    def slow() -> Any:
        yield Document("slow", id="slow")
        inside.set()
        done.wait(20)

    writer = threading.Thread(target=lambda: made.add(slow()))
    writer.start()
    inside.wait(20)
    made.lock_timeout = 0.1
    try:
        with pytest.raises(LockedError, match="another thread"):
            made.add([Document("x", id="x")])
        assert made.refresh() is False  # and reading waits for nobody
    finally:
        done.set()
        writer.join()
    assert "slow" in made


def test_a_budget_gives_equal_cuts_and_useful_segments() -> None:
    held = memory.resident()
    assert len({Budget.of(held + 300_000_000 + page * 4096).left for page in range(40)}) <= 2
    few = Budget(1 << 25)
    assert not few.full(100_000, 100, 10_000_000, 0)


ALONE = """
import sys, time
from ragkit.collection.workers import Workers
if __name__ == "__main__":
    with Workers(1) as workers:
        workers.submit(time.sleep, 0)()
        workers.submit(time.sleep, 600)
        print(list(workers._pool._processes)[0], flush=True)
        time.sleep(600)
"""


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(200):
        try:
            os.kill(worker, 0)
            state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":  # ended, and nobody has asked for its exit code
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")


def test_an_estimate_takes_what_sync_takes(tmp_path: Path) -> None:
    for name, year in (("a", 1), ("b", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text("# Pump\n\nIt has a gasket.")
        (tmp_path / name / "x.jsonl").write_text(json.dumps({"id": "1", "text": "valve", "year": year}))
    found = estimate([tmp_path / "a", tmp_path / "b"], indexes=[BM25()])
    assert (found.files, found.documents) == (4, 4)
