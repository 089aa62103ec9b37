"""A commit: documents in, new segments and bitmaps out, one new version at the end.

Everything new is written and synced under names that no version knows yet; publishing the manifest
is the only step that a reader can see. Whatever fails before it leaves the old version as it was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ragkit.collection import staging
from ragkit.collection.buffer import SegmentBuffer, text_bytes
from ragkit.collection.builder import SegmentBuilder, Unfinished
from ragkit.collection.files import save_array, sync_file, sync_folder
from ragkit.collection.manifest import FileProblems, Manifest, SegmentEntry, live, publish
from ragkit.collection.memory import NO_LIMIT, Budget, bytes_a_passage
from ragkit.collection.merging import write_merged
from ragkit.collection.retention import drop_old_versions, drop_orphans
from ragkit.collection.schema import Schema
from ragkit.collection.segment import SourceStamp
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.vectors import check_given
from ragkit.collection.workers import NO_WORKERS, Workers
from ragkit.errors import DuplicateIdError, ShapeError
from ragkit.progress import Progress, track
from ragkit.protocols import Chunker
from ragkit.spec import from_config
from ragkit.types import Document, Span

_log = logging.getLogger(__name__)

Vectors = Mapping[str, NDArray[np.float32]]
NO_VECTORS: Vectors = MappingProxyType({})

UNSTAMPED = SourceStamp()
"""The stamp of a document that was read from no file."""


@dataclass
class Commit:
    """One version in the making; used by a single thread that holds the writer's lock."""

    folder: Path
    base: Snapshot
    progress: Progress = False
    roots: tuple[str, ...] = ()
    budget: Budget = NO_LIMIT
    workers: Workers = NO_WORKERS
    added: list[str] = field(default_factory=list)
    deleted: int = 0
    problems: dict[str, FileProblems] | None = None

    def __post_init__(self) -> None:
        self._schema = Schema(self.base.manifest.data_schema)
        self._buffer = SegmentBuffer()
        self._new_ids: set[str] = set()
        self._dead: dict[int, set[int]] = {}
        self._segments: list[SegmentEntry] = []
        self._merged: dict[range, SegmentEntry | None] = {}
        self._forgotten: set[str] = set()
        self._unfinished: deque[tuple[Unfinished, str, Set[str], Manifest]] = deque()
        self._builder = SegmentBuilder(self.folder, self.base, self.progress, self.workers)
        self.chunker = chunker_of(self.base.manifest)

    def add(self, document: Document, stamp: SourceStamp = UNSTAMPED, vectors: Vectors = NO_VECTORS) -> None:
        """Take in a new document; raises DuplicateIdError or SchemaError and leaves the commit as it was."""
        document = with_id(document)
        if document.id in self._new_ids:
            raise DuplicateIdError(f"the id {document.id!r} was given twice; give each document its own")
        at = self.base.find(document.id)
        if at is not None and at[1] not in self._dead.get(at[0], ()):
            raise DuplicateIdError(f"a document with the id {document.id!r} is stored already; use upsert to replace it")
        self._take(document, stamp, vectors)

    def upsert(
        self,
        document: Document,
        stamp: SourceStamp = UNSTAMPED,
        vectors: Vectors = NO_VECTORS,
        on_clash: Callable[[str, str], None] | None = None,
        spans: list[Span] | None = None,
    ) -> None:
        """Take in a document, in place of the stored one with its id if there is one.

        vectors   {name: (dim,)} of indexes whose vectors the caller gives
        on_clash  told of each metadata value that does not fit its field and was left out; without it that raises
        spans     where the document is cut, if that is known already
        """
        document = with_id(document)
        if document.id in self._new_ids:
            raise DuplicateIdError(f"the id {document.id!r} was given twice; give each document its own")
        at = self.base.find(document.id)
        self._take(document, stamp, vectors, on_clash, spans)
        if at is not None:
            self._kill(*at)

    def delete(self, id: str) -> bool:
        """Drop a stored document; False if there is none with this id."""
        at = self.base.find(id)
        if at is None or at[1] in self._dead.get(at[0], ()):
            return False
        self._kill(*at)
        return True

    def _kill(self, segment: int, row: int) -> None:
        dead = self._dead.setdefault(segment, set())
        self.deleted += row not in dead
        dead.add(row)

    def _take(
        self,
        document: Document,
        stamp: SourceStamp,
        vectors: Vectors,
        on_clash: Callable[[str, str], None] | None = None,
        spans: list[Span] | None = None,
    ) -> None:
        size = text_bytes(document)
        spans = cut(document, self.chunker) if spans is None else spans
        check_given(document.id, len(spans), vectors, self._builder.given_names)
        meta = self._schema.admit(document.meta, document.id, on_clash)
        self._buffer.append(document, spans, meta, stamp, size, vectors)
        self._new_ids.add(document.id)
        self.added.append(document.id)
        if self.budget.full(self._buffer.text_bytes, self._buffer.n_passages, len(self._new_ids), self._vector_bytes):
            self._flush(full=True)

    @cached_property
    def _vector_bytes(self) -> int:
        return 0 if self.budget.left is None else bytes_a_passage(self._builder.indexes.values())

    def merge(self, run: range) -> None:
        """Put one segment in place of adjacent ones, given by their numbers in the base version, with what is alive in them."""
        views = self.base.views[run.start : run.stop]
        self._merged[run] = None
        if any(v.entry.live_documents for v in views):
            path = self._builder.new_folder()
            write_merged(path, views, self._schema.fields)
            self._merged[run] = self._builder.complete(self._builder.begin(path))

    def forget_models(self, models: Set[tuple[str, str]]) -> None:
        """Let (index, version) that are damaged be trained anew, with the next segment that is large enough."""
        self._builder.models = {n: v for n, v in self._builder.models.items() if (n, v) not in models}
        self._forgotten = {f"models/{n}/{v}/" for n, v in models}

    def _flush(self, *, full: bool) -> None:
        """Make a segment of what was taken in; a full one is noted, so that a rerun need not make it again."""
        if not self._buffer.n_documents:
            return
        key = staging.key_of(self._buffer.digest, self._settings()) if full else ""
        staged = staging.find(self.folder, key) if full else None
        if staged is not None:
            _log.info("%s: a segment of %d documents that an interrupted run had finished is used", self.folder, staged.entry.documents)
            self._builder.adopt(staged.after)
            self._builder.files.update(staged.files)
            self._segments.append(staged.entry)
        else:
            path, given = self._builder.new_folder(), self._buffer.given
            self._buffer.write(path, self._schema)
            self._buffer = SegmentBuffer()  # its memory is needed for what comes now
            known = set(self._builder.files)
            unfinished = self._builder.begin(path, given)
            self._segments.append(unfinished.entry)
            trained = self._builder.files.keys() - known
            self._unfinished.append((unfinished, key, trained, self._settings()))
            self._complete(at_most=self.workers.n)
        self._buffer = SegmentBuffer()

    def _complete(self, at_most: int) -> None:
        """Complete segments until there are at most so many whose index parts are still being built."""
        while len(self._unfinished) > at_most:
            unfinished, key, trained, after = self._unfinished.popleft()
            known = self._builder.files.keys() - trained
            entry = self._builder.complete(unfinished)
            if key:
                files = {n: f for n, f in self._builder.files.items() if n not in known}
                sync_folder(self.folder / "segments")
                staging.note(self.folder, key, staging.StagedSegment(entry=entry, files=files, after=after))

    def _settings(self) -> Manifest:
        """The base version's manifest with the settings as decided so far."""
        decided = {**self._builder.settings, "data_schema": dict(self._schema.fields), "segments": (), "files": {}}
        return self.base.manifest.model_copy(update=decided)

    def publish(self) -> Manifest:
        """Write what is left, sync it, and make it the live version; unchanged content keeps the old version."""
        self._flush(full=False)
        self._complete(at_most=0)
        old = self.base.manifest
        problems = old.problems if self.problems is None else self.problems
        changed = self._segments or self._dead or self._merged or self._forgotten
        if not changed and self.roots in ((), old.roots) and problems == old.problems:
            return old
        kept, gone = self._kept()
        sync_folder(self.folder / "deletes")
        sync_folder(self.folder / "segments")
        manifest = old.model_copy(
            update={
                **self._builder.settings,
                "generation": self._builder.generation,
                "roots": self.roots or old.roots,
                "data_schema": dict(self._schema.fields),
                "segments": (*kept, *self._segments),
                "problems": problems,
                "files": {**{n: f for n, f in old.files.items() if n not in gone}, **self._builder.files},
            }
        )
        self._builder.made.append(self.folder / manifest.name)
        publish(self.folder, manifest)
        try:
            self._builder.drop_staging()
            if staging.clear(self.folder):
                drop_orphans(self.folder)
            drop_old_versions(self.folder)
        except OSError as exc:  # the new version is live: what could not be removed now goes with a later commit
            _log.warning("%s: old versions could not be removed (%s)", self.folder, exc)
        return manifest

    def _kept(self) -> tuple[list[SegmentEntry], set[str]]:
        """Segments of the base version as the new one has them, and names of the files that it needs no more."""
        old = self.base.manifest
        kept: list[SegmentEntry] = []
        gone = {n for n in old.files if n.startswith(tuple(self._forgotten))}
        starts = {run.start: made for run, made in self._merged.items()}
        merged = {n for run in self._merged for n in run}
        for n, entry in enumerate(old.segments):
            if n in merged:
                gone.update(_files_of(old, entry))
                if (made := starts.get(n)) is not None:
                    kept.append(made)
            elif n not in self._dead:
                kept.append(entry)
            elif (marked := self._marked(n)) is None:  # nothing of it is left: the segment is no part of the new version
                gone.update(_files_of(old, entry))
            else:
                gone.update([entry.deletes] if entry.deletes else [])
                kept.append(marked)
        return kept, gone

    def _marked(self, n: int) -> SegmentEntry | None:
        """A segment with a new bitmap of its deleted documents; None if no document is left in it."""
        view, entry = self.base.views[n], self.base.manifest.segments[n]
        alive = np.ones(entry.documents, np.bool_) if view.live is None else view.live.copy()
        alive[sorted(self._dead[n])] = False
        if not alive.any():
            return None
        file = self.folder / "deletes" / f"{entry.id}-{self._builder.generation:08d}.npy"
        self._builder.made.append(file)
        save_array(file, np.packbits(~alive))
        sync_file(file)
        self._builder.record(file)
        name, passages = file.relative_to(self.folder).as_posix(), int(alive[view.columns.document_of].sum())
        return entry.model_copy(update={"deletes": name, "live_documents": int(alive.sum()), "live_passages": passages})

    def abandon(self) -> None:
        """Remove what was written of a commit that failed, unless it failed after it had become the live version.

        Full segments stay for a rerun.
        """
        for unfinished, *_ in self._unfinished:  # a worker that still writes there would leave files behind
            unfinished.wait()
        if live(self.folder).generation >= self._builder.generation:
            return
        staged = list(staging.names(self.folder))
        kept = {self.folder / "segments" / s.entry.id for s in staged}
        kept |= {self.folder / "models" / name / version for s in staged for name, version in s.after.models.items()}
        self._builder.drop(kept)


def _files_of(manifest: Manifest, entry: SegmentEntry) -> set[str]:
    """Names of a segment's files, its bitmap included."""
    return {n for n in manifest.files if n.startswith(f"segments/{entry.id}/")} | ({entry.deletes} if entry.deletes else set())


def with_id(document: Document) -> Document:
    """The document, with an id derived from its content if it has none."""
    if document.id:
        return document
    digest = sha256(f"{document.title}\n{document.text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Document(**{**{f: getattr(document, f) for f in document.__dataclass_fields__}, "id": digest})


def chunker_of(manifest: Manifest) -> Chunker | str | None:
    """The collection's chunker: "auto" chooses by document, None keeps documents whole."""
    return from_config("chunkers", manifest.chunker) if isinstance(manifest.chunker, dict) else manifest.chunker


def cut(document: Document, chunker: Chunker | str | None) -> list[Span]:
    """Where a chunker of `chunker_of` cuts a document."""
    if chunker is None:
        return [Span(0, len(document.text))]
    if isinstance(chunker, str):
        from ragkit.chunking import chunker_for

        chunker = chunker_for(document)
    spans = chunker.split(document)
    return spans or ([Span(0, 0)] if document.title else [])  # a title alone can still be found


def add_all(commit: Commit, documents: Iterable[Document], vectors: Mapping[str, NDArray[np.float32]], *, replace: bool) -> None:
    """Add or upsert a stream of documents, with progress; vectors has one row a document under each name."""
    total = len(documents) if isinstance(documents, list | tuple) else 0
    taken = 0
    with track("adding documents", total, commit.progress) as tracker:
        for row, document in enumerate(documents):
            if any(row >= len(v) for v in vectors.values()):
                raise ShapeError(f"vectors were given for {row} documents, and there are more; give one row a document")
            of_one = {name: v[row] for name, v in vectors.items()}
            (commit.upsert if replace else commit.add)(document, vectors=of_one)
            tracker.advance()
            taken = row + 1
    for name, v in vectors.items():
        if len(v) != taken:
            raise ShapeError(f"{len(v)} vectors {name!r} were given for {taken} documents; give one row a document")
