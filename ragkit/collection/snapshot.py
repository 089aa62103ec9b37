"""A snapshot: one version of a collection, pinned for as long as it is held.

Rows count through the segments in their order; a row never means another passage within a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import check_size
from ragkit.collection.manifest import Manifest, SegmentEntry, live
from ragkit.collection.segment import SegmentColumns
from ragkit.digests import sha256_file
from ragkit.errors import CorruptCollectionError, InputError, NotACollectionError, SnapshotGone, UnknownNameError
from ragkit.protocols import Bitmap, IndexSpec, Searcher, TermStatistics, VectorIndex
from ragkit.spec import from_config
from ragkit.types import Document, Passage, Query


@dataclass(frozen=True)
class SegmentView:
    """A segment as one snapshot sees it: its columns and which documents are alive (None: all)."""

    columns: SegmentColumns
    entry: SegmentEntry
    folder: Path
    live: Bitmap | None

    @property
    def alive(self) -> Bitmap | None:
        """Live passages; None: all."""
        return None if self.live is None else self.live[self.columns.document_of]

    def is_live(self, document: int) -> bool:
        return self.live is None or bool(self.live[document])


@dataclass(frozen=True)
class IndexPart:
    """What an index sees of a segment; folder is None where the segment is small and holds columns only."""

    columns: SegmentColumns
    folder: Path | None
    alive: Bitmap | None


class Snapshot:
    """One version of a collection, open for reading; safe to share between threads."""

    def __init__(self, folder: Path, manifest: Manifest, views: Sequence[SegmentView]) -> None:
        self.folder, self.manifest, self.views = folder, manifest, tuple(views)
        self.bases = np.concatenate(([0], np.cumsum([v.columns.n_passages for v in views]))).astype(np.int64)
        self._document_bases = np.concatenate(([0], np.cumsum([v.columns.n_documents for v in views]))).astype(np.int64)
        self._alive: tuple[Bitmap | None, ...] = tuple(v.alive for v in views)
        self._searchers: dict[str, Searcher] = {}
        self._lock = Lock()

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, before: Snapshot | None = None) -> Snapshot:
        """Map a version's files, reusing what an earlier snapshot of the same collection has checked and mapped.

        Sizes of all files are checked first, so a cut file is refused before it is mapped.
        """
        if before is not None and before.manifest.uuid != manifest.uuid:  # another collection was made in its place
            before = None
        checked = before.manifest.files if before else {}
        for name, entry in manifest.files.items():
            if checked.get(name) != entry:
                check_size(folder / name, entry.size)
        known = {v.entry.id: v.columns for v in before.views} if before else {}
        views = []
        for segment in manifest.segments:
            path = folder / "segments" / segment.id
            models = {n: folder / "models" / n / version for n, version in segment.models.items()}
            columns = known.get(segment.id) or SegmentColumns.open(path, manifest.index_text, models)
            if (columns.n_documents, columns.n_passages) != (segment.documents, segment.passages):
                raise CorruptCollectionError(
                    f"{path} holds {columns.n_documents} documents and {columns.n_passages} passages where the manifest says "
                    f"{segment.documents} and {segment.passages}; restore it from a backup"
                )
            views.append(SegmentView(columns, segment, path, _live(folder, segment)))
        return cls(folder, manifest, views)

    @property
    def key(self) -> str:
        """Names the collection and the version."""
        return f"{self.manifest.uuid}@{self.manifest.generation}"

    @property
    def n_documents(self) -> int:
        """Live documents."""
        return sum(v.entry.live_documents for v in self.views)

    @property
    def n_passages(self) -> int:
        """Live passages."""
        return sum(v.entry.live_passages for v in self.views)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _locate(self, rows: NDArray[np.int64]) -> Iterator[tuple[SegmentView, int]]:
        segments = np.searchsorted(self.bases, rows, side="right") - 1
        for segment, row in zip(segments.tolist(), rows.tolist(), strict=True):
            yield self.views[segment], row - int(self.bases[segment])

    def passages(self, rows: NDArray[np.int64]) -> list[Passage]:
        return [view.columns.passage(row) for view, row in self._locate(rows)]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        return [view.columns.text(row) for view, row in self._locate(rows)]

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        return [view.columns.document_id(int(view.columns.document_of[row])) for view, row in self._locate(rows)]

    def document_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """A number for the document of each passage row; passages of one document share it."""
        out = np.empty(len(rows), np.int64)
        segments = np.searchsorted(self.bases, rows, side="right") - 1
        for segment in np.unique(segments):
            at = segments == segment
            out[at] = self.views[segment].columns.document_of[rows[at] - self.bases[segment]] + self._document_bases[segment]
        return out

    # --- documents --------------------------------------------------------------------------------------------------

    def find(self, id: str) -> tuple[int, int] | None:
        """(segment, document row) of the live document with this id."""
        for n, view in enumerate(self.views):
            row = view.columns.row_of(id)
            if row is not None and view.is_live(row):
                return n, row
        return None

    def get(self, id: str) -> Document:
        """The live document with this id; raises UnknownNameError."""
        at = self.find(id)
        if at is None:
            raise UnknownNameError(f"no document has the id {id!r} in {self.folder}")
        return self.views[at[0]].columns.document(at[1])

    def documents(self) -> Iterator[tuple[int, int]]:
        """(segment, document row) of every live document, in order."""
        for n, view in enumerate(self.views):
            for row in range(view.columns.n_documents):
                if view.is_live(row):
                    yield n, row

    # --- search -----------------------------------------------------------------------------------------------------

    def searcher(self, index: str) -> Searcher:
        """The open index of that name, opened once a snapshot."""
        with self._lock:
            if index not in self._searchers:
                spec = self._spec(index)
                parts = [IndexPart(v.columns, v.folder / index if index in v.entry.indexes else None, v.alive) for v in self.views]
                try:
                    for view in self.views:
                        self._verify(view, index)
                    self._searchers[index] = spec.open(parts)
                except CorruptCollectionError as exc:
                    if self._is_live():
                        raise
                    raise SnapshotGone(
                        f"version {self.manifest.generation} of {self.folder} was replaced or removed, and its files are gone; "
                        "call refresh()"
                    ) from exc
            return self._searchers[index]

    def _verify(self, view: SegmentView, index: str) -> None:
        """Compare the digests of files that a foreign parser will read (faiss), once a segment."""
        names = [f"segments/{view.entry.id}/{index}/"]
        names += [f"models/{index}/{view.entry.models[index]}/"] if index in view.entry.models else []
        files = {n: e for n, e in self.manifest.files.items() if n.endswith(".faiss") and n.startswith(tuple(names))}
        for name, entry in files.items():
            if view.columns.memo(("sha256", name), lambda name=name: sha256_file(self.folder / name)) != entry.sha256:  # type: ignore[misc]
                raise CorruptCollectionError(f"{self.folder / name} is not what was written; restore it from a backup, or index again")

    def vectors(self, index: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(H, dim) vectors of passages, from the column of an index over vectors; raises InputError where it has none."""
        spec = self._spec(index)
        if not isinstance(spec, VectorIndex):
            raise InputError(f"the index {index!r} holds no vectors; name one that does, such as 'dense'")
        found = [view.columns.vectors(spec.column)[row] for view, row in self._locate(rows)]
        return np.stack(found) if found else np.zeros((0, 0), np.float32)

    def _spec(self, index: str) -> IndexSpec:
        if index not in self.manifest.indexes:
            raise UnknownNameError.near("index of this collection", index, self.manifest.indexes)
        spec: IndexSpec = from_config("indexes", self.manifest.indexes[index])
        return spec

    def _is_live(self) -> bool:
        """Whether the folder's live version is this one."""
        try:
            now = live(self.folder)
        except NotACollectionError:
            return False
        return (now.uuid, now.generation) == (self.manifest.uuid, self.manifest.generation)

    def search_index(
        self, index: str, queries: Sequence[Query], *, k: int
    ) -> tuple[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """(scale, (indptr, rows, scores)) of one index's k best live passages for each query."""
        searcher = self.searcher(index)
        return searcher.scale, searcher.search(queries, k=k, allow=self._alive)

    def term_statistics(self) -> TermStatistics | None:
        """Statistics of the first lexical index; None where there is none."""
        searchers = map(self.searcher, self.manifest.indexes)
        return next((s for s in searchers if isinstance(s, TermStatistics)), None)

    def info(self) -> dict[str, Any]:
        """Counts and settings as plain JSON."""
        m = self.manifest
        return {
            "folder": str(self.folder),
            "generation": m.generation,
            "documents": self.n_documents,
            "passages": self.n_passages,
            "segments": len(m.segments),
            "bytes": sum(f.size for f in m.files.values()),
            "indexes": m.indexes,
            "chunker": m.chunker,
            "schema": m.data_schema,
            "pipeline": m.default_pipeline,
            "roots": list(m.roots),
        }


def _live(folder: Path, segment: SegmentEntry) -> Bitmap | None:
    if segment.deletes is None:
        return None
    try:
        bits = np.load(folder / segment.deletes, allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise CorruptCollectionError(f"{folder / segment.deletes} is no bitmap ({exc}); restore it from a backup") from exc
    if bits.dtype != np.uint8 or len(bits) != (segment.documents + 7) // 8:
        raise CorruptCollectionError(f"{folder / segment.deletes} is no bitmap of {segment.documents} documents; restore it from a backup")
    return ~np.unpackbits(bits, count=segment.documents).astype(np.bool_)
