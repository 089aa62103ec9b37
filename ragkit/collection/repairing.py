"""Repair: what is derived from documents is made anew where it is damaged; nothing that is whole is given up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragkit.collection.checking import CheckReport, Damage, check, damages
from ragkit.collection.files import replace_file, sealed
from ragkit.collection.lock import writer_lock
from ragkit.collection.manifest import CURRENT, live, manifests, parse, point_to, publish
from ragkit.collection.purged import PURGED
from ragkit.collection.retention import drop_orphans
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.writer import Commit
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


def repair(folder: str | Path, *, lock_timeout: float = 10.0, progress: Progress = False) -> RepairReport:
    """Check a collection and make anew what can be: index parts, encoded vectors, what was trained, and CURRENT.

    Documents, bitmaps of deleted ones, vectors that the caller gave, and a damaged manifest have no source to be made
    from: they are left as they are and reported. Where CURRENT is damaged, the newest version becomes the live one whose
    documents are all whole, under a new number if commits after it are lost.

    raises NotACollectionError where there is none
    """
    folder = Path(folder)
    check(folder, quick=True)  # is it one at all? the lock would make the folder
    lost: list[Damage] = []
    with writer_lock(folder, lock_timeout):
        repaired: list[Damage] = []
        while (found := check(folder, progress=progress)).damaged:
            todo = [d for d in found.damaged if d.repairable and d not in repaired]
            if not todo:
                break
            if todo[0].file == CURRENT:
                lost += _point_anew(folder)
            elif todo[0].file == PURGED:
                replace_file(folder / PURGED, sealed(str(live(folder).generation)))
                todo = todo[:1]
            else:
                _rebuild(folder, found, progress)
            repaired += todo
        left = (*found.damaged, *lost)
        if not left:
            drop_orphans(folder)
        return RepairReport(tuple(d for d in repaired if d not in left), left)


def _point_anew(folder: Path) -> list[Damage]:
    """Make the newest version the live one of which nothing is damaged that has no source; returns the versions passed over."""
    passed: list[Damage] = []
    paths = manifests(folder)
    for path in reversed(paths):
        content = path.read_bytes()
        try:
            manifest = parse(path, content)
        except CollectionError as exc:
            passed.append(Damage(path.name, f"can't be read ({exc})", "the commit that made it", False))
            continue
        lost = [d.file for d in damages(folder, manifest) if not d.repairable]
        if lost:
            passed.append(Damage(path.name, f"names {', '.join(lost)}, damaged or missing", "the commit that made it", False))
            continue
        if passed:  # a number of its own: two versions with one number must not be
            newest = int(paths[-1].stem.removeprefix("manifest-"))
            publish(folder, manifest.model_copy(update={"generation": newest + 1}))
        else:
            point_to(folder, path.name, content)
        return passed
    raise CorruptCollectionError(f"{folder} has no version whose documents are all whole; restore it from a backup, or index again")


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
