"""Repair: what is derived from documents is made anew where it is damaged; nothing that is whole is given up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragkit.collection.checking import CheckReport, Damage, check
from ragkit.collection.files import replace_file, sealed
from ragkit.collection.lock import writer_lock
from ragkit.collection.manifest import CURRENT, live, parse, point_to
from ragkit.collection.purged import PURGED
from ragkit.collection.retention import drop_orphans
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.writer import Commit
from ragkit.digests import sha256_file
from ragkit.errors import CollectionError, CorruptCollectionError
from ragkit.progress import Progress


@dataclass(frozen=True)
class RepairReport:
    """What was damaged and is repaired, and what could not be."""

    repaired: tuple[Damage, ...]
    left: tuple[Damage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"ok": not self.left, **asdict(self)}

    def __str__(self) -> str:
        if not self.repaired and not self.left:
            return "nothing is damaged"
        lines = [f"repaired: {d.file} ({d.effect})" for d in self.repaired]
        return "\n".join([*lines, *(f"left: {d}" for d in self.left)])


def repair(folder: Path, *, lock_timeout: float = 10.0, progress: Progress = False) -> RepairReport:
    """Check a collection and make anew what can be: index parts, encoded vectors, what was trained, and CURRENT.

    Documents, bitmaps of deleted ones, vectors that the caller gave, and a damaged manifest have no source to be made
    from: they are left as they are and reported. Where CURRENT is damaged, the newest version becomes the live one whose
    files are all whole.
    """
    with writer_lock(folder, lock_timeout):
        repaired: list[Damage] = []
        while (found := check(folder, progress=progress)).damaged:
            todo = [d for d in found.damaged if d.repairable and d not in repaired]
            if not todo:
                break
            if todo[0].file == CURRENT:
                _point_anew(folder)
            elif todo[0].file == PURGED:
                replace_file(folder / PURGED, sealed(str(live(folder).generation)))
                todo = todo[:1]
            else:
                _rebuild(folder, found, progress)
            repaired += todo
        left = found.damaged
        if not left:
            drop_orphans(folder)
        return RepairReport(tuple(d for d in repaired if d not in left), left)


def _point_anew(folder: Path) -> None:
    """Make the newest whole version the live one."""
    for path in sorted(folder.glob("manifest-*.json"), reverse=True):
        content = path.read_bytes()
        try:
            manifest = parse(path, content)
            whole = all(sha256_file(folder / name) == entry.sha256 for name, entry in manifest.files.items())
        except (CollectionError, OSError):
            continue
        if whole:
            point_to(folder, path.name, content)
            return
    raise CorruptCollectionError(f"{folder} has no version whose files are all whole; restore it from a backup, or index again")


def _rebuild(folder: Path, found: CheckReport, progress: Progress) -> None:
    """Write anew, in one commit, each segment in which something derived is damaged and nothing else."""
    damaged = {d.file for d in found.damaged}
    lost = {d.file for d in found.damaged if not d.repairable}
    try:
        base = Snapshot.without(folder, damaged)
    except CorruptCollectionError:
        return  # documents can't be read, as the report says: nothing can be made from them
    commit = Commit(folder, base, progress)
    try:
        models = {(kind, version) for _, kind, version, *_ in (n.split("/") for n in damaged if n.startswith("models/"))}
        commit.forget_models(models)
        for n, entry in enumerate(base.manifest.segments):
            own = (f"segments/{entry.id}/", entry.deletes or "\0")
            touched = any(f.startswith(own) for f in damaged) or not models.isdisjoint(entry.models.items())
            if touched and not any(f.startswith(own) for f in lost):
                commit.merge(range(n, n + 1))
        commit.publish()
    except BaseException:
        commit.abandon()
        raise
