"""Cut the power at every point of a run: nothing that was acknowledged may be lost, whatever the disk had not been told to keep.

A run of all operations is recorded (`power_recorder`), and after each of its events the states that a disk may be in (`power_disk`)
are laid out as real folders and opened (`power_replay`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.crash.operations import GROUPS, Operation, create
from benchmarks.crash.recorder import Recorder, Recording
from benchmarks.crash.replay import Act, Copy, Losses, Replay
from ragkit import Collection


def scenario() -> list[Act]:
    """All that changes a collection: small and large adds, replacing, deleting, merging, compacting, purging, failing, taking over."""
    numbers = iter(range(1, 1000))

    def op(kind: str, *ids: str, groups: tuple[int, ...] = (), aged: bool = False) -> Operation:
        return Operation(next(numbers), kind, ids, groups, aged)

    def new(n: int, name: str) -> tuple[str, ...]:
        return tuple(f"{name}x{i}" for i in range(n))

    half = Operation(next(numbers), "broken add", new(110, "g"), cut=True)
    return [
        op("add", *new(12, "a")),
        op("upsert", *new(4, "a"), *new(3, "b")),
        op("delete", "ax7", "bx0"),
        op("broken add", *new(6, "c")),
        op("nothing", "none"),
        op("add", *new(260, "d")),  # with index parts, and what they share
        op("upsert", *new(5, "d"), "ax5"),
        leave_behind,
        op("delete", *new(215, "d")),  # most of a segment: what is left of it is merged
        op("delete where", groups=(1,)),
        *(op("add", *new(2, f"e{n}")) for n in range(9)),  # small ones, which are merged
        op("upsert", "e1x0", "dx250", aged=True),  # drops old versions
        op("compact"),
        op("delete", *(f"dx{n}" for n in range(210, 235))),
        leave_behind,
        op("purge"),
        op("add", *new(3, "f")),
        op("delete where", groups=tuple(range(GROUPS))),
        op("add", *new(4, "a")),
        op("compact"),
        op("purge"),
        half,  # some of its segments were finished
        replace(half, kind="add"),  # and are taken over
        op("compact"),
        op("upsert", "gx3", "gx4"),
        Copy("copy.rag"),
        op("purge"),
        op("add", *new(2, "h")),
    ]  # fmt: skip


def short_scenario() -> list[Act]:
    """The first of it, without a large add."""
    return [act for act in scenario()[:10] if not (isinstance(act, Operation) and len(act.ids) > 100)]


def leave_behind(folder: Path) -> None:
    """What a killed writer may leave: a segment, a manifest that never became live, a pointer, its name."""
    generation = Collection.open(folder).version.manifest.generation
    segment = folder / "segments" / f"{generation + 1:08d}-000-dead"
    segment.mkdir()
    (segment / "documents.arrow").write_bytes(b"half a table")
    live = (folder / f"manifest-{generation:08d}.json").read_text()
    (folder / f"manifest-{generation + 1:08d}.json").write_text(
        live.replace(f'"generation": {generation}', f'"generation": {generation + 1}')
    )
    (folder / "CURRENT.new").write_text("manifest-")
    (folder / "writer.json").write_text('{"pid": 1, "host": "elsewhere"}')


def record(root: Path, name: str, acts: Sequence[Act]) -> Recording:
    """Do it all to a new collection in root/name, and record what happens to root. Step 0 is the making of the collection."""
    with Recorder(root) as recorder:
        recorder.step(0, returned=False)
        collection = create(root / name)
        recorder.step(0, returned=True)
        for number, act in enumerate(acts, start=1):
            recorder.step(number, returned=False)
            if isinstance(act, Operation):
                act.apply(collection)
            elif isinstance(act, Copy):
                collection.snapshot(root / act.name)
            else:
                act(collection.folder)
            recorder.step(number, returned=True)
    return recorder.recording()


def cut_power(seed: int, tell: Callable[[str], None] = lambda line: None) -> Losses:
    """Record and replay the whole scenario, and the making of a collection in folders that are made for it."""
    losses = Losses()
    for name, acts in _runs():
        with tempfile.TemporaryDirectory() as root:
            recording = record(Path(root), name, acts)
        losses.add(Replay(name, acts, seed).run(recording, tell=tell))
    return losses


def _runs() -> Iterator[tuple[str, list[Act]]]:
    yield "c.rag", scenario()
    yield "a/new/shelf/c.rag", [*short_scenario()[:2], Copy("another/new/shelf/c.rag"), *short_scenario()[2:3]]
