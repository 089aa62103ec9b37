"""Check: whether every file of a collection is what was written, and what that means where one is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragkit.collection.files import check_size
from ragkit.collection.manifest import CURRENT, FileEntry, Manifest, manifests, named, pointer
from ragkit.collection.purged import PURGED, purged_below
from ragkit.collection.segment import DOCUMENTS, PASSAGES
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.vectors import GIVEN
from ragkit.digests import sha256_file
from ragkit.errors import CorruptCollectionError, NotACollectionError
from ragkit.progress import Progress, track


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written.

    file        relative POSIX path
    problem     what is wrong with it
    effect      what can't be used for that reason
    repairable  whether `repair` can make it anew
    """

    file: str
    problem: str
    effect: str
    repairable: bool

    def __str__(self) -> str:
        return f"{self.file} {self.problem}: {self.effect}; " + ("repair makes it anew" if self.repairable else "restore it from a backup")


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    quick  whether sizes alone were looked at
    works  what can be used in spite of the damage: "documents" and the names of indexes
    """

    files: int
    bytes: int
    quick: bool
    damaged: tuple[Damage, ...]
    works: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        how = "sizes" if self.quick else "digests"
        if self.ok:
            return f"{self.files} files, {self.bytes} bytes: all {how} are right"
        lines = [f"{len(self.damaged)} of {self.files} files are damaged; what works: {', '.join(self.works) or 'nothing'}"]
        return "\n".join([*lines, *(f"  {d}" for d in self.damaged)])


def check(folder: str | Path, *, quick: bool = False, progress: Progress = False) -> CheckReport:
    """Compare every file of the live version with the size and sha256 that were recorded when it was written.

    Works on a collection that can't be opened, too. Files of older versions are left out: nobody opens those any more.
    raises NotACollectionError where there is none

    quick  compare sizes alone, which is what opening does
    """
    folder = Path(folder)
    while True:
        before = _said(folder)
        report = _check(folder, quick, progress)
        if report.ok or _said(folder) == before:
            return report  # else a writer has replaced the version meanwhile, and removed its files


def _said(folder: Path) -> bytes:
    try:
        return (folder / CURRENT).read_bytes()
    except OSError:
        return b""


def damages(folder: Path, manifest: Manifest, *, quick: bool = False, progress: Progress = False) -> list[Damage]:
    """The damaged files of a version."""
    return [_damage(manifest, *found) for found in _wrong_files(folder, manifest, quick, progress)]


def _check(folder: Path, quick: bool, progress: Progress) -> CheckReport:
    try:
        said = pointer(folder)
    except NotACollectionError:
        if not folder.is_dir() or not manifests(folder):
            raise
        return CheckReport(1, 0, quick, (Damage(CURRENT, "is missing", "nothing can be opened", True),), ())
    except CorruptCollectionError as exc:
        return CheckReport(1, 0, quick, (Damage(CURRENT, _problem(exc, folder / CURRENT), "nothing can be opened", True),), ())
    try:
        manifest = named(folder, said)
    except CorruptCollectionError as exc:
        name = said.split()[0]
        return CheckReport(2, 0, quick, (Damage(name, _problem(exc, folder / name), "nothing can be opened", False),), ())
    damaged = damages(folder, manifest, quick=quick, progress=progress)
    try:
        purged_below(folder)
    except CorruptCollectionError as exc:
        damaged.append(Damage(PURGED, _problem(exc, folder / PURGED), "nothing can be read", True))
    if not damaged:
        try:
            Snapshot.live(folder)
        except CorruptCollectionError as exc:  # the digests are right, and still it does not fit together
            damaged.append(Damage(manifest.name, f"does not fit its files ({exc})", "nothing can be opened", False))
    files, size = len(manifest.files) + 2, sum(f.size for f in manifest.files.values())
    return CheckReport(files, size, quick, tuple(damaged), _works(manifest, damaged))


def _wrong_files(folder: Path, manifest: Manifest, quick: bool, progress: Progress) -> Iterator[tuple[str, str]]:
    """(name, what is wrong with it)."""
    with track("checking bytes", sum(f.size for f in manifest.files.values()), progress) as tracker:
        for name, entry in manifest.files.items():
            if problem := _wrong(folder / name, entry, quick):
                yield name, problem
            tracker.advance(entry.size)


def _wrong(path: Path, entry: FileEntry, quick: bool) -> str:
    try:
        check_size(path, entry.size)
        altered = not quick and sha256_file(path) != entry.sha256
    except CorruptCollectionError as exc:
        return _problem(exc, path)
    except OSError as exc:
        return f"can't be read ({exc.strerror})"
    return "was altered" if altered else ""


def _problem(exc: CorruptCollectionError, path: Path) -> str:
    """What an error says of a file, without its name and without advice."""
    return str(exc).removeprefix(str(path)).removeprefix(",").partition(";")[0].strip()


def _damage(manifest: Manifest, name: str, problem: str) -> Damage:
    kind, of, rest = [*name.split("/", 2), ""][:3]
    if kind == "models":
        return Damage(name, problem, f"the index {of} of all segments", True)
    entry = next((s for s in manifest.segments if name.startswith(f"segments/{s.id}/") or name == s.deletes), None)
    documents = 0 if entry is None else entry.live_documents
    if kind == "deletes":
        return Damage(name, problem, f"which of {documents} documents are deleted", False)
    if rest in (DOCUMENTS, PASSAGES):
        return Damage(name, problem, f"the text of {documents} documents", False)
    if match := re.fullmatch(r"vectors/(.+)\.npy", rest):
        return Damage(name, problem, f"vectors of {documents} documents", not match[1].startswith(GIVEN))
    return Damage(name, problem, f"the index {rest.split('/')[0]} of {documents} documents", True)


def _works(manifest: Manifest, damaged: list[Damage]) -> tuple[str, ...]:
    names = [d.file for d in damaged]
    if any(n.endswith((DOCUMENTS, PASSAGES)) or n.startswith(("deletes/", "manifest-", PURGED)) for n in names):
        return ()
    vectors = any("/vectors/" in n for n in names)
    broken = {i for i, c in manifest.indexes.items() for n in names if f"/{i}/" in n or (vectors and ("vectors" in c or "model" in c))}
    return ("documents", *(i for i in manifest.indexes if i not in broken))
