"""Segments in the making: columns in a new folder get their vectors and index parts, and are flushed and digested.

What the segments of a collection share is decided or trained here too, with the first segment that is large enough.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import sync_folder, sync_tree
from ragkit.collection.manifest import FileEntry, Manifest, SegmentEntry
from ragkit.collection.segment import SegmentColumns
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.vectors import KnownVectors, encode_column, given_names, write_given, write_keys
from ragkit.collection.workers import NO_WORKERS, Workers
from ragkit.digests import sha256_file
from ragkit.progress import Progress
from ragkit.protocols import IndexSpec, VectorIndex
from ragkit.spec import from_config, to_config

SMALL_SEGMENT = 256
"""Segments with fewer passages store columns only; indexes read those when they are opened."""


@dataclass(frozen=True)
class Unfinished:
    """A segment whose index parts are being built; building waits for each."""

    path: Path
    entry: SegmentEntry
    building: list[Callable[[], None]]

    def wait(self) -> None:
        """Until nobody writes into its folder any more, whatever came of it."""
        for wait in self.building:
            with suppress(Exception):
                wait()


def build_part(path: Path, index_text: str, models: Mapping[str, Path], name: str, spec: IndexSpec, progress: Progress) -> None:
    """Build one index part of the segment in a folder."""
    (path / name).mkdir()
    spec.build(SegmentColumns.open(path, index_text, models), path / name, progress=progress)


@dataclass
class SegmentBuilder:
    """Builds the new segments of one commit, under names that no other commit uses.

    made   files and folders that belong to no version until the commit is published
    files  those of the finished segments, and of what they share
    """

    folder: Path
    base: Snapshot
    progress: Progress = False
    workers: Workers = NO_WORKERS
    made: list[Path] = field(default_factory=list)
    files: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        manifest = self.base.manifest
        self.generation = manifest.generation + 1
        self.indexes: dict[str, IndexSpec] = {n: from_config("indexes", c) for n, c in manifest.indexes.items()}
        self.fitted = manifest.fitted
        self.models = dict(manifest.models)
        self._known: dict[str, KnownVectors] = {}
        self._token = secrets.token_hex(4)  # so that what another writer left behind is never taken for this one's
        self._begun = 0

    @property
    def settings(self) -> dict[str, object]:
        """What the manifest says of the indexes, as decided so far."""
        return {"indexes": {n: to_config(s) for n, s in self.indexes.items()}, "fitted": self.fitted, "models": dict(self.models)}

    def adopt(self, manifest: Manifest) -> None:
        """Go on from what another run had decided."""
        self.indexes = {n: from_config("indexes", c) for n, c in manifest.indexes.items()}
        self.fitted, self.models = manifest.fitted, dict(manifest.models)

    def new_folder(self) -> Path:
        """Name of the next segment's folder; the caller makes it, and writes the columns."""
        path = self.folder / "segments" / f"{self.generation:08d}-{self._begun:03d}-{self._token}"
        self._begun += 1
        self.made.append(path)
        return path

    def begin(self, path: Path, given: Sequence[Mapping[str, NDArray[np.float32]]] = ()) -> Unfinished:
        """Make what belongs to the columns in a folder; vector columns that it holds already are kept, index parts are left to workers.

        given  vectors that the caller gave, one mapping a document
        """
        columns = SegmentColumns.open(path, self.base.manifest.index_text)
        self._fit(columns)
        vector_indexes = self._vector_indexes()
        if vector_indexes:
            self._write_vectors(path, columns, vector_indexes, given)
            self._train(columns, vector_indexes)
        models: dict[str, str] = {}
        building: list[Callable[[], None]] = []
        if large := columns.n_passages >= SMALL_SEGMENT:
            models = {n: v for n, v in self.models.items() if n in vector_indexes}
            folders = {name: self.folder / "models" / name / version for name, version in models.items()}
            progress = False if self.workers.n else self.progress
            for name, spec in self.indexes.items():
                building.append(self.workers.submit(build_part, path, self.base.manifest.index_text, folders, name, spec, progress))
        entry = SegmentEntry(
            id=path.name,
            documents=columns.n_documents,
            passages=columns.n_passages,
            live_documents=columns.n_documents,
            live_passages=columns.n_passages,
            indexes=tuple(self.indexes) if large else (),
            models=models,
        )
        return Unfinished(path, entry, building)

    def complete(self, unfinished: Unfinished) -> SegmentEntry:
        """Wait for a segment's index parts, and flush and record its files."""
        for wait in unfinished.building:
            wait()
        for file in sync_tree(unfinished.path):
            self.record(file)
        return unfinished.entry

    def record(self, file: Path) -> None:
        """Take a flushed file into the version."""
        self.files[file.relative_to(self.folder).as_posix()] = FileEntry(size=file.stat().st_size, sha256=sha256_file(file))

    def _fit(self, columns: SegmentColumns) -> None:
        """Let the specs decide what they leave to the first documents; what needs no words is decided at once."""
        telling = not self.fitted and (columns.n_passages >= SMALL_SEGMENT or _tells(columns))
        self.indexes = {n: s.fit(columns) if telling or isinstance(s, VectorIndex) else s for n, s in self.indexes.items()}
        self.fitted = self.fitted or telling

    @cached_property
    def given_names(self) -> frozenset[str]:
        """Vectors that must come with every document; asking loads the encoders, so that a missing model is told at once."""
        return given_names(self._vector_indexes().values())

    def _vector_indexes(self) -> dict[str, VectorIndex]:
        return {n: s for n, s in self.indexes.items() if isinstance(s, VectorIndex)}

    def _write_vectors(
        self, path: Path, columns: SegmentColumns, indexes: Mapping[str, VectorIndex], given: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> None:
        """Write the vector columns that the indexes need and the segment lacks, each once."""
        lacking = {s.column: s for s in indexes.values() if not columns.has_vectors(s.column)}
        if not lacking and columns.has_text_keys():
            return
        folder = path / "vectors"
        folder.mkdir(exist_ok=True)
        texts = list(columns.index_texts())
        keys = columns.text_keys() if columns.has_text_keys() else write_keys(folder, texts)
        segments = [v.columns for v in self.base.views]
        for column, spec in lacking.items():
            file, encoder = folder / f"{column}.npy", spec.encoder()
            if encoder is None:
                write_given(file, column, given, segments)
                continue
            if column not in self._known:
                self._known[column] = KnownVectors(column, segments, self._staging(column))
            encode_column(file, texts, keys, encoder, self._known[column], self._staging(column), self.progress)
            self._known[column].learn(columns)

    def _staging(self, column: str) -> Path:
        return self.folder / "staging" / column

    def _train(self, columns: SegmentColumns, indexes: Mapping[str, VectorIndex]) -> None:
        """Make what the segments of an index share, with the first segment that is large enough."""
        for name, spec in indexes.items():
            if name in self.models or columns.n_passages < SMALL_SEGMENT:
                continue
            version = f"{self.generation:08d}-{self._token}"
            folder = self.folder / "models" / name / version
            folder.mkdir(parents=True)
            self.made.append(folder)
            if spec.train(columns, folder, progress=self.progress):
                self.models[name] = version
                for file in sync_tree(folder):
                    self.record(file)
                sync_folder(folder.parent)
                sync_folder(folder.parent.parent)
                sync_folder(self.folder)
            else:
                folder.rmdir()

    def drop_staging(self) -> None:
        """Remove the finished vectors of this commit, which are in its segments now."""
        for column in self._known:
            shutil.rmtree(self._staging(column), ignore_errors=True)

    def drop(self, kept: Collection[Path]) -> None:
        """Remove what was made, of a commit that is given up; some of it may be kept."""
        for path in self.made:
            if path in kept:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _tells(columns: SegmentColumns) -> bool:
    """Whether there is enough text to decide on a language; until there is, small segments can wait."""
    return sum(c.isalpha() for text in islice(columns.index_texts(), 20) for c in text[:1000]) >= 20
