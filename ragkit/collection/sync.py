"""Keep a collection in step with its folders: read only what changed, commit once, lose nothing unasked.

A file is unchanged if its size and modification time are those of the last sync, or failing that
if its sha256 is. A file that can no longer be read keeps what was indexed of it. What was left out of a
file is remembered with it and reported again by every sync, until the file changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ragkit import __version__
from ragkit.collection.manifest import FileProblems
from ragkit.collection.segment import SourceStamp
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.writer import Commit, cut
from ragkit.digests import sha256_file
from ragkit.errors import InputError, LoadError, MissingDependencyError, RagkitError
from ragkit.loaders import LoadOptions, Skipped, SourceFile, is_beir, load_file, loader_for, walk
from ragkit.progress import Tracker, track
from ragkit.protocols import Chunker
from ragkit.types import Document, Span

_CLOCK_GRAIN_NS = 2_000_000_000
"""A file written this shortly before it was read may change again within one tick of its clock."""

_RECORD_FILES = ("jsonl", "csv", "parquet")
_REASONS = 20
"""Reasons that are remembered of one file."""


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


def sync_folders(commit: Commit, roots: Sequence[Path], options: LoadOptions, *, follow_links: bool, replace_roots: bool) -> SyncReport:
    """Bring a commit's collection in step with folders or files; the caller publishes.

    With several roots the paths begin with each root's own name. What was indexed from a root that is not among
    them, or that has lost all its files, is dropped only with replace_roots.
    """
    return _Sync(commit, options).run(roots, follow_links, replace_roots)


class _Sync:
    def __init__(self, commit: Commit, options: LoadOptions) -> None:
        self.commit, self.options = commit, options
        self.report = SyncReport()
        self._known = _known(commit.base)
        self._noted = commit.base.manifest.problems
        self._problems: dict[str, FileProblems] = {}
        self._settings = sha256(f"{__version__} {options!r}".encode()).hexdigest()[:16]

    def run(self, roots: Sequence[Path], follow_links: bool, replace_roots: bool) -> SyncReport:
        files = walk_roots(roots, follow_links, self.report.skipped)
        if not replace_roots:
            self._refuse_other_roots(roots)
        if self._known and not (files or self.report.skipped or replace_roots):
            raise InputError(
                f"{', '.join(map(str, roots))} holds no files any more, and {len(self._known)} were indexed from it; if that is meant, "
                f"sync with replace=True (ragkit sync {self.commit.folder} --replace)"
            )
        seen = {f.relative for f in files}
        hidden = tuple(s.path for s in self.report.skipped)  # what can't be looked at now is not gone
        with track("reading files", len(files), self.commit.progress) as tracker:
            to_read = [f for f in files if not self._settled(f, tracker)]
            digests = {f.relative: was.stamp.sha256 for f in to_read if (was := self._known.get(f.relative))}
            read = partial(read_file, self.options, self.commit.chunker, digests)
            for file, found in zip(to_read, self.commit.workers.map(read, to_read), strict=True):
                self._take_file(file, self._known.get(file.relative), found)
                tracker.advance()
        for source, was in self._known.items():
            if source not in seen and not any(source == path or source.startswith(f"{path}/") for path in hidden):
                for id in was.ids:
                    self.commit.delete(id)
                self.report.removed.append(source)
        self.commit.problems = self._problems
        return self.report

    def _refuse_other_roots(self, roots: Sequence[Path]) -> None:
        lost = sorted(set(self.commit.base.manifest.roots) - {str(r.resolve()) for r in roots})
        if lost and self._known:
            raise InputError(
                f"{self.commit.folder} holds the files of {', '.join(lost)}; name {'it' if len(lost) == 1 else 'them'} too to keep "
                "them, use another collection, or drop them with replace=True (--replace)"
            )

    def _settled(self, file: SourceFile, tracker: Tracker) -> bool:
        """Whether nothing has to be read: the file is as it was, and what is known of it is reported."""
        was, noted = self._known.get(file.relative), self._noted.get(file.relative)
        same = (file.size, file.mtime_ns)
        if was and (was.stamp.size, was.stamp.mtime_ns) == same:
            self._unchanged(file, noted)
        elif not was and noted and (noted.size, noted.mtime_ns) == same and noted.settings == self._settings:
            self._note(file, noted)
        else:
            return False
        tracker.advance()
        return True

    def _unchanged(self, file: SourceFile, noted: FileProblems | None) -> None:
        self.report.unchanged.append(file.relative)
        if noted:
            self._note(file, noted)

    def _note(self, file: SourceFile, noted: FileProblems) -> None:
        """Report again what is known of a file, and remember it."""
        self._problems[file.relative] = noted
        self.report.skipped.extend(Skipped(file.relative, reason) for reason in noted.reasons)

    def _take_file(self, file: SourceFile, was: _Known | None, found: FileRead) -> None:
        """Take over what was read of a file."""
        problems = list(found.problems)
        if found.unchanged:
            self._unchanged(file, self._noted.get(file.relative))
            return
        if found.failed:
            problems = [found.failed + ("; what was indexed of it before is kept" if was else "")]
        else:
            self._take(file, was, found, problems)
        if problems:
            reasons = (*problems[:_REASONS], *([f"… and {len(problems) - _REASONS} more"] if len(problems) > _REASONS else []))
            noted = FileProblems(size=file.size, mtime_ns=_trusted(file), settings=self._settings, reasons=reasons)
            self.report.skipped.extend(Skipped(file.relative, reason) for reason in reasons)
            if not found.failed or (found.lasting and not was):
                self._problems[file.relative] = noted

    def _take(self, file: SourceFile, was: _Known | None, found: FileRead, problems: list[str]) -> None:
        """Put a file's documents in place of those that were indexed of it; one that can't be taken leaves its old one."""
        clashes: dict[str, list[str]] = {}
        settled: set[str] = set()
        taken = 0
        for document, spans in found.documents:
            try:
                self.commit.upsert(document, found.stamp, on_clash=lambda n, told: clashes.setdefault(n, []).append(told), spans=spans)
                taken += 1
            except InputError as exc:
                problems.append(str(exc))
            settled.add(document.id)
        for told in clashes.values():
            problems.append(told[0] + (f" (and of {len(told) - 1} more documents)" if len(told) > 1 else ""))
        if taken or was:
            (self.report.changed if was else self.report.added).append(file.relative)
        for id in was.ids if was else ():
            if id not in settled:
                self.commit.delete(id)


@dataclass(frozen=True)
class FileRead:
    """What came of reading a file.

    documents  each with where it is cut
    problems   sentences about what was left out
    failed     why nothing could be read; "" where something could
    lasting    whether it fails again as long as the file stays as it is
    """

    stamp: SourceStamp
    unchanged: bool = False
    documents: tuple[tuple[Document, list[Span]], ...] = ()
    problems: tuple[str, ...] = ()
    failed: str = ""
    lasting: bool = False


def read_file(options: LoadOptions, chunker: Chunker | str | None, digests: Mapping[str, str], file: SourceFile) -> FileRead:
    """Read and cut a file, unless its sha256 is that of the last sync; runs in a worker process if there are some."""
    problems: list[str] = []
    stamp = SourceStamp()
    try:
        loader = loader_for(file.path)
        too_large = file.size > options.max_bytes and loader not in _RECORD_FILES
        # hashed before it is read: a file that changes in between is read again by the next sync
        stamp = SourceStamp("" if too_large or loader is None else sha256_file(file.path), file.size, _trusted(file))
        if digests.get(file.relative) == stamp.sha256:
            return FileRead(stamp, unchanged=True)
        documents = load_file(file, options, problems.append)
    except (LoadError, MissingDependencyError, OSError) as exc:
        reason = str(exc).removeprefix(f"{file.relative}: ") if isinstance(exc, RagkitError) else f"can't be read: {exc.strerror}"
        return FileRead(stamp, failed=reason, lasting=isinstance(exc, LoadError) and loader_for(file.path) is not None)
    return FileRead(stamp, documents=tuple((d, cut(d, chunker)) for d in documents), problems=tuple(problems))


def walk_roots(roots: Sequence[Path], follow_links: bool, skipped: list[Skipped]) -> list[SourceFile]:
    """The files of several folders or files, each with the path that its documents are named by."""
    if len(roots) == 1:
        return _walk(roots[0], follow_links, skipped)
    names = [root.resolve().name for root in roots]
    if len(set(names)) != len(names):
        raise InputError(f"folders indexed together need different names, got {', '.join(map(str, roots))}; index their parent instead")
    files: list[SourceFile] = []
    for name, root in zip(names, roots, strict=True):
        left_out: list[Skipped] = []
        found = _walk(root, follow_links, left_out)
        inner = root.is_dir()  # a file's relative path is its name already
        files += [replace(f, relative=f"{name}/{f.relative}") if inner else f for f in found]
        skipped += [replace(s, path=f"{name}/{s.path}") if inner else s for s in left_out]
    return files


def _walk(root: Path, follow_links: bool, skipped: list[Skipped]) -> list[SourceFile]:
    """The files of one root; of a BEIR folder the corpus keeps its own ids, and queries and judgements are left out."""
    files = walk(root, follow_links=follow_links, report=skipped)
    if not is_beir(root):
        return files
    kept: list[SourceFile] = []
    for file in files:
        if file.relative.startswith(("queries.jsonl", "qrels/")):
            skipped.append(Skipped(file.relative, "queries and judgements of a test set are not indexed"))
        else:
            kept.append(replace(file, alone=True) if file.relative in ("corpus.jsonl", "corpus.jsonl.gz") else file)
    return kept


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
        for row, (source, digest, size, mtime_ns, id) in enumerate(zip(*columns, strict=True)):
            if source and view.is_live(row):
                yield source, SourceStamp(digest, size, mtime_ns), id
