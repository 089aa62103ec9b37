"""Keep a collection in step with a folder: read only what changed, commit once.

A file is unchanged if its size and modification time are those of the last sync, or failing that
if its sha256 is. A file that can no longer be read keeps what was indexed of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ragkit.collection.files import sha256_file
from ragkit.collection.segment import SourceStamp
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.writer import Commit
from ragkit.errors import InputError, LoadError, MissingDependencyError, RagkitError
from ragkit.loaders import LoadOptions, Skipped, SourceFile, is_beir, load_beir, load_file, walk
from ragkit.progress import track

_CLOCK_GRAIN_NS = 2_000_000_000
"""A file written this shortly before it was read may change again within one tick of its clock."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync found, as paths relative to the folder; skipped holds (path, reason)."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": len(self.unchanged),
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
        }

    def __str__(self) -> str:
        counts = (("added", self.added), ("changed", self.changed), ("removed", self.removed), ("unchanged", self.unchanged))
        return ", ".join(f"{len(files)} {name}" for name, files in counts) + f", {len(self.skipped)} skipped"


@dataclass
class _Known:
    """What the collection holds of one source file."""

    stamp: SourceStamp
    ids: list[str]


def sync_folders(commit: Commit, roots: Sequence[Path], options: LoadOptions, *, follow_links: bool) -> SyncReport:
    """Bring a commit's collection in step with folders or files; the caller publishes.

    With several roots the paths begin with each root's own name.
    """
    report = SyncReport()
    known = _known(commit.base)
    if len(roots) == 1 and is_beir(roots[0]):
        _sync_records(commit, roots[0], known, report)
        return report
    files = _walk_all(roots, follow_links, report.skipped)
    seen = {f.relative for f in files}
    hidden = tuple(s.path for s in report.skipped)  # what can't be looked at now is not gone
    with track("reading files", len(files), commit.progress) as tracker:
        for file in files:
            _sync_file(commit, file, known.get(file.relative), options, report)
            tracker.advance()
    for source, was in known.items():
        if source not in seen and not any(source == path or source.startswith(f"{path}/") for path in hidden):
            for id in was.ids:
                commit.delete(id)
            report.removed.append(source)
    return report


def _walk_all(roots: Sequence[Path], follow_links: bool, skipped: list[Skipped]) -> list[SourceFile]:
    if len(roots) == 1:
        return walk(roots[0], follow_links=follow_links, report=skipped)
    names = [root.resolve().name for root in roots]
    if len(set(names)) != len(names):
        raise InputError(f"folders indexed together need different names, got {', '.join(map(str, roots))}; index their parent instead")
    files: list[SourceFile] = []
    for name, root in zip(names, roots, strict=True):
        left_out: list[Skipped] = []
        found = walk(root, follow_links=follow_links, report=left_out)
        inner = root.is_dir()  # a file's relative path is its name already
        files += [replace(f, relative=f"{name}/{f.relative}") if inner else f for f in found]
        skipped += [replace(s, path=f"{name}/{s.path}") if inner else s for s in left_out]
    return files


def _sync_file(commit: Commit, file: SourceFile, was: _Known | None, options: LoadOptions, report: SyncReport) -> None:
    if was and (was.stamp.size, was.stamp.mtime_ns) == (file.size, file.mtime_ns):
        report.unchanged.append(file.relative)
        return
    try:
        stamp = SourceStamp(sha256_file(file.path), file.size, _trusted(file))
        if was and was.stamp.sha256 == stamp.sha256:
            report.unchanged.append(file.relative)
            return
        documents = load_file(file, options, lambda reason: report.skipped.append(Skipped(file.relative, reason)))
    except (LoadError, MissingDependencyError, OSError) as exc:
        reason = str(exc).removeprefix(f"{file.relative}: ") if isinstance(exc, RagkitError) else f"can't be read: {exc.strerror}"
        report.skipped.append(Skipped(file.relative, reason + ("; what was indexed of it before is kept" if was else "")))
        return
    for id in was.ids if was else ():
        commit.delete(id)
    for document in documents:
        try:
            commit.upsert(document, stamp)
        except InputError as exc:
            report.skipped.append(Skipped(file.relative, str(exc)))
    (report.changed if was else report.added).append(file.relative)


def _sync_records(commit: Commit, root: Path, known: dict[str, _Known], report: SyncReport) -> None:
    """A BEIR folder is one corpus file: its documents are taken anew where the file changed."""
    path = next(p for p in (root / "corpus.jsonl", root / "corpus.jsonl.gz") if p.is_file())
    stat = path.stat()
    was = known.get(path.name)
    file = SourceFile(path, path.name, stat.st_size, stat.st_mtime_ns)
    stamp = SourceStamp(sha256_file(path), stat.st_size, _trusted(file))
    if was and was.stamp.sha256 == stamp.sha256:
        report.unchanged.append(path.name)
        return
    for id in was.ids if was else ():
        commit.delete(id)
    with track("reading corpus", 0, commit.progress) as tracker:
        for document in load_beir(root):
            commit.upsert(replace(document, source=path.name), stamp)
            tracker.advance()
    (report.changed if was else report.added).append(path.name)


def _trusted(file: SourceFile) -> int:
    """The file's modification time, or 0 where it is so recent that a later change could share it."""
    return file.mtime_ns if time.time_ns() - file.mtime_ns > _CLOCK_GRAIN_NS else 0


def _known(snapshot: Snapshot) -> dict[str, _Known]:
    known: dict[str, _Known] = {}
    for source, stamp, id in _sources(snapshot):
        known.setdefault(source, _Known(stamp, [])).ids.append(id)
    return known


def _sources(snapshot: Snapshot) -> Iterator[tuple[str, SourceStamp, str]]:
    for view in snapshot.views:
        columns = [view.columns.column(n).to_pylist() for n in ("source", "source_sha256", "source_size", "source_mtime_ns", "id")]
        for row, (source, sha256, size, mtime_ns, id) in enumerate(zip(*columns, strict=True)):
            if source and view.is_live(row):
                yield source, SourceStamp(sha256, size, mtime_ns), id
