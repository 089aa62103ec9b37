"""The crash benchmark finds nothing in ragkit, and finds each thing that is broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

import ragkit.collection.builder as builder
import ragkit.collection.manifest as manifest
from benchmarks.crash.disk import Disk, Tree
from benchmarks.crash.kills import kill_writers
from benchmarks.crash.operations import Operation, create, operation, state_of
from benchmarks.crash.oracle import examine, orphans
from benchmarks.crash.power import record, scenario, short_scenario
from benchmarks.crash.recorder import Recorder, Recording, Synced
from benchmarks.crash.replay import Act, Losses, Replay
from ragkit.collection.files import sync_folder, write_file

ROOT = Path(__file__).parent.parent


# --- operations and oracle ----------------------------------------------------------------------------------------------


def test_a_collection_holds_what_the_operations_say(tmp_path: Path) -> None:
    collection, state, rng = create(tmp_path / "c"), dict[str, int](), Random(1)
    kinds = set()
    for number in range(1, 60):
        act = operation(3, number, state)
        assert act == operation(3, number, dict(reversed(state.items())))
        act.apply(collection)
        state = act.after(state)
        kinds.add(act.kind)
        assert state_of(collection) == state
    assert kinds >= {"add", "upsert", "delete", "delete where", "compact", "broken add"}
    assert examine(tmp_path / "c", [{"other": 1}, state], rng).state == 1
    collection.compact(purge=True)
    assert orphans(tmp_path / "c") == []


def test_the_oracle_tells_what_is_wrong(tmp_path: Path) -> None:
    folder, rng = tmp_path / "c", Random(1)
    collection = create(folder)
    add = Operation(1, "add", ("a", "b", "c"))
    add.apply(collection)
    assert examine(folder, [{}, add.after({})], rng).problem == ""
    half = examine(folder, [{}, {"a": 1, "b": 1, "c": 1, "d": 1}], rng)
    assert (half.state, half.problem) == (None, "lost")
    assert "1 lacking ['d']" in half.detail
    assert examine(folder, [{"a": 1, "b": 1, "c": 2}], rng).problem == "lost"
    (folder / "segments" / "left").mkdir()
    (folder / "segments" / "left" / "file").write_bytes(b"")
    assert orphans(folder) == ["segments/left", "segments/left/file"]
    file = next(folder.glob("segments/*/passages.arrow"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert examine(folder, [add.after({})], rng).problem == "corrupt"
    assert examine(tmp_path / "none", [{}], rng).problem == "lost"


# --- kills --------------------------------------------------------------------------------------------------------------


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    tally = kill_writers(tmp_path / "c", 3, seed=1)
    assert tally.problems == []
    assert not tally.findings
    assert tally.kills == 3
    assert tally.orphans == 0


HALVES = """
import sys, time
from dataclasses import replace
sys.path.insert(0, {root!r})
from benchmarks.crash.operations import Operation
from benchmarks.crash.writer import main
whole = Operation.apply
def by_halves(self, collection):
    if self.kind in ("add", "upsert") and len(self.ids) > 1:
        whole(replace(self, ids=self.ids[1:]), collection)
        time.sleep(0.2)
        self = replace(self, ids=self.ids[:1])
    whole(self, collection)
Operation.apply = by_halves
main()
"""
EARLY = """
import sys, time
sys.path.insert(0, {root!r})
import benchmarks.crash.writer as writer
from benchmarks.crash.operations import Operation
whole, tell = Operation.apply, writer._tell
def acknowledged_before(self, collection):
    tell(f"done {{self.number}}")
    time.sleep(0.2)
    whole(self, collection)
Operation.apply = acknowledged_before
writer._tell = lambda line: None if line.startswith("done") else tell(line)
writer.main()
"""


@pytest.mark.parametrize("script", [HALVES, EARLY], ids=["a commit in two halves", "acknowledged before it is done"])
def test_kills_find_a_writer_that_breaks_its_word(script: str, tmp_path: Path) -> None:
    path = tmp_path / "writer.py"
    path.write_text(script.format(root=str(ROOT)))
    tally = kill_writers(tmp_path / "c", 60, seed=2, command=[sys.executable, str(path)], enough=1)
    assert tally.findings["lost"] == 1
    assert tally.findings["failed writer"] == 0
    assert "lost" in tally.problems[-1]


def test_a_writer_that_ends_by_itself_is_reported(tmp_path: Path) -> None:
    tally = kill_writers(tmp_path / "c", 1, seed=2, command=[sys.executable, "-c", "raise SystemExit('no disk')"])
    assert tally.findings["failed writer"] == 6
    assert tally.kills == 0
    assert "no disk" in tally.problems[0]


# --- the disk that forgets ----------------------------------------------------------------------------------------------


def recorded(root: Path, act: Callable[[Path], object]) -> Recording:
    with Recorder(root) as recorder:
        act(root)
    return recorder.recording()


def after(recording: Recording) -> tuple[dict[str, bytes | None], list[dict[str, bytes | None]]]:
    """What may be on the disk after the whole run: {path: content} with everything unsynced dropped, and in other orders."""
    disk = Disk.of(recording)
    for event in recording.events:
        disk.take(event)

    def told(tree: Tree) -> dict[str, bytes | None]:
        return {path: None if digest is None else disk.contents[digest] for path, digest in tree.items()}

    return told(disk.dropped()), [told(tree) for tree in disk.reordered(Random(1), 200)]


def test_what_is_not_synced_may_be_gone(tmp_path: Path) -> None:
    dropped, others = after(recorded(tmp_path, lambda root: (root / "a").write_bytes(b"text")))
    assert dropped == {}
    assert {"a": b""} in others
    assert {"a": b"te"} in others
    assert {"a": b"text"} in others
    assert any(len(tree.get("a", b"") or b"") == 4 and tree["a"] != b"text" for tree in others)


def test_a_name_lasts_by_its_folder_and_a_content_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "3").mkdir()
    dropped, others = after(recorded(tmp_path / "1", lambda root: write_file(root / "a", b"text")))
    assert dropped == {}
    assert all(tree in ({}, {"a": b"text"}) for tree in others)

    def name_alone(root: Path) -> None:
        (root / "a").write_bytes(b"text")
        sync_folder(root)

    assert after(recorded(tmp_path / "2", name_alone))[0] == {"a": b""}

    def both(root: Path) -> None:
        write_file(root / "a", b"text")
        sync_folder(root)
        (root / "new").mkdir()
        write_file(root / "new" / "b", b"deep")
        sync_folder(root / "new")

    dropped, others = after(recorded(tmp_path / "3", both))
    assert dropped == {"a": b"text"}  # nobody synced the name of the new folder
    assert {"a": b"text", "new": None, "new/b": b"deep"} in others


def test_a_rename_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def replaced(root: Path) -> None:
        write_file(root / "a.new", b"new")
        os.replace(root / "a.new", root / "a")

    dropped, others = after(recorded(tmp_path, replaced))
    assert dropped == {"a": b"old"}
    seen = {tuple(sorted(tree.items())) for tree in others}
    assert seen == {(("a", b"old"),), (("a", b"new"),), (("a", b"old"), ("a.new", b"new"))}


def test_a_removal_may_not_have_happened(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"text")

    def remove(root: Path) -> None:
        (root / "a").unlink()
        write_file(root / "b", b"on the same inode, maybe")

    recording = recorded(tmp_path, remove)
    assert after(recording)[0] == {"a": b"text"}
    assert {"b": b"on the same inode, maybe"} in after(recording)[1]


def test_writes_through_mapped_memory_are_seen(tmp_path: Path) -> None:
    def mapped(root: Path) -> None:
        array = np.lib.format.open_memmap(root / "a.npy", "w+", np.uint8, (4,))
        os.mkdir(root / "folder")  # a look before the values are there
        array[:] = 7
        array.flush()
        with open(root / "a.npy", "rb") as f:
            os.fsync(f.fileno())
        sync_folder(root)

    dropped, _ = after(recorded(tmp_path, mapped))
    content = dropped["a.npy"]
    assert content is not None
    assert content.endswith(bytes([7] * 4))


# --- power cuts ---------------------------------------------------------------------------------------------------------


def replayed(root: Path, acts: list[Act], recording: Recording | None = None, enough: int = 1) -> Losses:
    return Replay("c.rag", acts, seed=1).run(recording or record(root, "c.rag", acts), enough=enough)


def test_power_cuts_lose_nothing(tmp_path: Path) -> None:
    acts = short_scenario()[:5]
    losses = replayed(tmp_path, acts)
    assert losses.problems == []
    assert not losses.findings
    assert losses.states > 200
    assert losses.continued > 40
    assert losses.orphans == 0


@pytest.mark.parametrize("unsynced", ["everything", "files", "folders"])
def test_a_run_without_syncs_loses(unsynced: str, tmp_path: Path) -> None:
    acts = short_scenario()[:3]
    recording = record(tmp_path, "c.rag", acts)

    def left_out(sync: Synced) -> bool:
        return unsynced == "everything" or (sync.node in recording.folders) == (unsynced == "folders")

    assert replayed(tmp_path, acts, recording.without(left_out)).findings


def test_a_segment_that_is_not_synced_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "sync_tree", lambda folder: sorted(p for p in folder.rglob("*") if p.is_file()))
    assert replayed(tmp_path, short_scenario()[:3]).findings["corrupt"] > 0


def test_a_pointer_that_is_swapped_too_early_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is whole in every process, and not on the disk when CURRENT names it."""
    monkeypatch.setattr(manifest, "write_file", lambda path, content: path.write_bytes(content))
    assert replayed(tmp_path, short_scenario()[:3]).findings["corrupt"] > 0


def test_a_swap_that_is_not_synced_loses_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsynced(path: Path, content: bytes) -> None:
        write_file(path.with_name("CURRENT.new"), content)
        os.replace(path.with_name("CURRENT.new"), path)

    monkeypatch.setattr(manifest, "replace_file", unsynced)
    losses = replayed(tmp_path, short_scenario()[:2])
    assert losses.findings["lost"] > 0
    assert "after step 0 (create), dropped" in losses.problems[0]


# --- the command --------------------------------------------------------------------------------------------------------


def test_options_belong_to_their_benchmark() -> None:
    for arguments, told in (
        (["crash", "--kills", "0"], "at least one writer has to be killed, not '0'"),
        (["bm25", "--kills", "3"], "bm25 has no option '--kills 3'"),
    ):
        done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert told in done.stderr


@pytest.mark.slow
def test_nothing_is_lost_by_crashes() -> None:
    assert len(scenario()) > 25
    command = [sys.executable, "-m", "benchmarks", "crash", "--kills", "30", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    quality = json.loads(done.stdout.splitlines()[-1])["quality"]
    assert quality.pop("kills") == 30
    assert quality.pop("kills_inside_commit") >= 15
    assert set(quality) >= {"lost_commits", "corrupt_opens", "power_cut_losses", "orphans_left"}
    assert not any(quality.values()), done.stderr
