"""A commit: documents in, new segments and bitmaps out, one new version at the end.

Everything new is written and synced under names that no version knows yet; publishing the manifest
is the only step that a reader can see. Whatever fails before it leaves the old version as it was.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import sync_file, sync_folder, sync_tree
from ragkit.collection.manifest import FileEntry, FileProblems, Manifest, SegmentEntry, live, publish
from ragkit.collection.retention import drop_old_versions
from ragkit.collection.schema import Schema
from ragkit.collection.segment import SegmentBuffer, SegmentColumns, SourceStamp, text_bytes
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.vectors import KnownVectors, check_given, encode_column, given_names, text_keys, write_given, write_keys
from ragkit.digests import sha256_file
from ragkit.errors import DuplicateIdError, ShapeError
from ragkit.progress import Progress, track
from ragkit.protocols import Chunker, IndexSpec, VectorIndex
from ragkit.spec import from_config, to_config
from ragkit.types import Document, Span

_log = logging.getLogger(__name__)

SMALL_SEGMENT = 256
"""Segments with fewer passages store columns only; indexes read those when they are opened."""

SEGMENT_TEXT = 128 << 20
"""Bytes of text after which a segment is written and a new one begun."""


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
    added: list[str] = field(default_factory=list)
    deleted: int = 0
    problems: dict[str, FileProblems] | None = None

    def __post_init__(self) -> None:
        self._schema = Schema(self.base.manifest.data_schema)
        self._buffer = SegmentBuffer()
        self._new_ids: set[str] = set()
        self._dead: dict[int, set[int]] = {}
        self._segments: list[SegmentEntry] = []
        self._files: dict[str, FileEntry] = {}
        self._made: list[Path] = []
        self._generation = self.base.manifest.generation + 1
        self._indexes: dict[str, IndexSpec] = {n: from_config("indexes", c) for n, c in self.base.manifest.indexes.items()}
        self._fitted = self.base.manifest.fitted
        self._models = dict(self.base.manifest.models)
        self._known: dict[str, KnownVectors] = {}
        self._chunker = chunker_of(self.base.manifest)

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
    ) -> None:
        """Take in a document, in place of the stored one with its id if there is one.

        vectors   {name: (dim,)} of indexes whose vectors the caller gives
        on_clash  told of each metadata value that does not fit its field and was left out; without it that raises
        """
        document = with_id(document)
        if document.id in self._new_ids:
            raise DuplicateIdError(f"the id {document.id!r} was given twice; give each document its own")
        at = self.base.find(document.id)
        self._take(document, stamp, vectors, on_clash)
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

    def _take(self, document: Document, stamp: SourceStamp, vectors: Vectors, on_clash: Callable[[str, str], None] | None = None) -> None:
        size = text_bytes(document)
        spans = self._spans(document)
        check_given(document.id, len(spans), vectors, self._given_names)
        meta = self._schema.admit(document.meta, document.id, on_clash)
        self._buffer.append(document, spans, meta, stamp, size, vectors)
        self._new_ids.add(document.id)
        self.added.append(document.id)
        if self._buffer.text_bytes >= SEGMENT_TEXT:
            self._flush()

    def _spans(self, document: Document) -> list[Span]:
        if self._chunker is None:
            return [Span(0, len(document.text))]
        chunker = self._chunker if not isinstance(self._chunker, str) else _auto(document)
        spans = chunker.split(document)
        return spans or ([Span(0, 0)] if document.title else [])  # a title alone can still be found

    def _flush(self) -> None:
        if not self._buffer.documents:
            return
        name = f"{self._generation:08d}-{len(self._segments):03d}-{self.base.manifest.uuid[:8]}"  # never another collection's
        path = self.folder / "segments" / name
        if path.exists():  # left by a writer that died before it published
            shutil.rmtree(path)
        self._made.append(path)
        given = self._buffer.given
        n_documents, n_passages = self._buffer.write(path, self._schema)
        self._buffer = SegmentBuffer()
        columns = SegmentColumns.open(path, self.base.manifest.index_text)
        self._fit(columns)
        vector_indexes = self._vector_indexes()
        if vector_indexes:
            self._write_vectors(path, columns, vector_indexes, given)
            self._train(columns, vector_indexes)
        models = {n: v for n, v in self._models.items() if n in vector_indexes} if n_passages >= SMALL_SEGMENT else {}
        columns = SegmentColumns.open(path, self.base.manifest.index_text, self._model_folders(models))
        built: list[str] = []
        if n_passages >= SMALL_SEGMENT:
            for index, spec in self._indexes.items():
                (path / index).mkdir()
                spec.build(columns, path / index, progress=self.progress)
                built.append(index)
        for file in sync_tree(path):
            self._record(file)
        self._segments.append(
            SegmentEntry(
                id=name,
                documents=n_documents,
                passages=n_passages,
                live_documents=n_documents,
                live_passages=n_passages,
                indexes=tuple(built),
                models=models,
            )
        )

    def _fit(self, columns: SegmentColumns) -> None:
        """Let the specs decide what they leave to the first documents; what needs no words is decided at once."""
        telling = not self._fitted and (columns.n_passages >= SMALL_SEGMENT or _tells(columns))
        self._indexes = {n: s.fit(columns) if telling or isinstance(s, VectorIndex) else s for n, s in self._indexes.items()}
        self._fitted = self._fitted or telling

    @cached_property
    def _given_names(self) -> frozenset[str]:
        """Vectors that must come with every document; asking loads the encoders, so that a missing model is told at once."""
        return given_names(self._vector_indexes().values())

    def _vector_indexes(self) -> dict[str, VectorIndex]:
        return {n: s for n, s in self._indexes.items() if isinstance(s, VectorIndex)}

    def _write_vectors(
        self, path: Path, columns: SegmentColumns, indexes: Mapping[str, VectorIndex], given: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> None:
        """Write the vector columns that the indexes need, each once."""
        folder = path / "vectors"
        folder.mkdir()
        texts = write_keys(folder, columns)
        keys = text_keys(texts)
        segments = [v.columns for v in self.base.views]
        for spec in {s.column: s for s in indexes.values()}.values():
            file, encoder = folder / f"{spec.column}.npy", spec.encoder()
            if encoder is None:
                write_given(file, spec.column, given, segments)
                continue
            if spec.column not in self._known:
                self._known[spec.column] = KnownVectors(spec.column, segments, self._staging(spec.column))
            encode_column(file, texts, keys, encoder, self._known[spec.column], self._staging(spec.column), self.progress)

    def _staging(self, column: str) -> Path:
        return self.folder / "staging" / column

    def _train(self, columns: SegmentColumns, indexes: Mapping[str, VectorIndex]) -> None:
        """Make what the segments of an index share, with the first segment that is large enough."""
        for name, spec in indexes.items():
            if name in self._models or columns.n_passages < SMALL_SEGMENT:
                continue
            version = f"{self._generation:08d}-{self.base.manifest.uuid[:8]}"
            folder = self.folder / "models" / name / version
            if folder.exists():  # left by a writer that died before it published
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            self._made.append(folder)
            if spec.train(columns, folder, progress=self.progress):
                self._models[name] = version
                for file in sync_tree(folder):
                    self._record(file)
                sync_folder(folder.parent)
                sync_folder(folder.parent.parent)
                sync_folder(self.folder)
            else:
                folder.rmdir()

    def _model_folders(self, models: Mapping[str, str]) -> dict[str, Path]:
        return {name: self.folder / "models" / name / version for name, version in models.items()}

    def _record(self, file: Path) -> None:
        name = file.relative_to(self.folder).as_posix()
        self._files[name] = FileEntry(size=file.stat().st_size, sha256=sha256_file(file))

    def publish(self) -> Manifest:
        """Write what is left, sync it, and make it the live version; unchanged content keeps the old version."""
        self._flush()
        old = self.base.manifest
        problems = old.problems if self.problems is None else self.problems
        if not self._segments and not self._dead and self.roots in ((), old.roots) and problems == old.problems:
            return old
        kept: list[SegmentEntry] = []
        gone: set[str] = set()
        for n, (view, entry) in enumerate(zip(self.base.views, old.segments, strict=True)):
            if n not in self._dead:
                kept.append(entry)
                continue
            alive = np.ones(entry.documents, np.bool_) if view.live is None else view.live.copy()
            alive[sorted(self._dead[n])] = False
            if entry.deletes:
                gone.add(entry.deletes)
            if not alive.any():  # nothing of it is left: the segment is no part of the new version
                gone.update(f for f in old.files if f.startswith(f"segments/{entry.id}/"))
                continue
            file = self.folder / "deletes" / f"{entry.id}-{self._generation:08d}.npy"
            self._made.append(file)
            np.save(file, np.packbits(~alive), allow_pickle=False)
            sync_file(file)
            self._record(file)
            kept.append(
                entry.model_copy(
                    update={
                        "deletes": file.relative_to(self.folder).as_posix(),
                        "live_documents": int(alive.sum()),
                        "live_passages": int(alive[view.columns.document_of].sum()),
                    }
                )
            )
        sync_folder(self.folder / "deletes")
        sync_folder(self.folder / "segments")
        manifest = old.model_copy(
            update={
                "generation": self._generation,
                "roots": self.roots or old.roots,
                "data_schema": dict(self._schema.fields),
                "indexes": {n: to_config(s) for n, s in self._indexes.items()},
                "fitted": self._fitted,
                "models": self._models,
                "segments": (*kept, *self._segments),
                "problems": problems,
                "files": {**{n: f for n, f in old.files.items() if n not in gone}, **self._files},
            }
        )
        self._made.append(self.folder / manifest.name)
        publish(self.folder, manifest)
        for column in self._known:
            shutil.rmtree(self._staging(column), ignore_errors=True)
        try:
            drop_old_versions(self.folder)
        except OSError as exc:  # the new version is live: what could not be removed now goes with a later commit
            _log.warning("%s: old versions could not be removed (%s)", self.folder, exc)
        return manifest

    def abandon(self) -> None:
        """Remove what was written of a commit that failed, unless it failed after it had become the live version."""
        if live(self.folder).generation >= self._generation:
            return
        for path in self._made:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def with_id(document: Document) -> Document:
    """The document, with an id derived from its content if it has none."""
    if document.id:
        return document
    digest = sha256(f"{document.title}\n{document.text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Document(**{**{f: getattr(document, f) for f in document.__dataclass_fields__}, "id": digest})


def chunker_of(manifest: Manifest) -> Chunker | str | None:
    """The collection's chunker: "auto" chooses by document, None keeps documents whole."""
    return from_config("chunkers", manifest.chunker) if isinstance(manifest.chunker, dict) else manifest.chunker


def _tells(columns: SegmentColumns) -> bool:
    """Whether there is enough text to decide on a language; until there is, small segments can wait."""
    return sum(c.isalpha() for text in islice(columns.index_texts(), 20) for c in text[:1000]) >= 20


def _auto(document: Document) -> Chunker:
    from ragkit.chunking import chunker_for

    return chunker_for(document)


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
