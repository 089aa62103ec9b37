"""A snapshot: one version of a collection, pinned for as long as it is held.

Rows count through the segments in their order; a row never means another passage within a snapshot.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.collection import strings
from ragkit.collection.files import check_size, open_array
from ragkit.collection.manifest import Manifest, SegmentEntry, named, pointer
from ragkit.collection.purged import PURGED, purged_below
from ragkit.collection.segment import OWN_FIELDS, TEXT, SegmentColumns
from ragkit.digests import sha256_file
from ragkit.errors import CorruptCollectionError, InputError, NotACollectionError, SnapshotGone, UnknownNameError
from ragkit.filters import Filter
from ragkit.filters.bind import bind
from ragkit.filters.evaluate import count_values, evaluate
from ragkit.protocols import Bitmap, IndexSpec, Searcher, TermStatistics, VectorIndex
from ragkit.spec import from_config
from ragkit.types import Document, Passage, Query

_KEPT_FILTERS = 16


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

    def __init__(self, folder: Path, manifest: Manifest, views: Sequence[SegmentView], pointer: str) -> None:
        self.folder, self.manifest, self.views, self.pointer = folder, manifest, tuple(views), pointer
        self._purged = str(folder / PURGED)
        self.bases = np.concatenate(([0], np.cumsum([v.columns.n_passages for v in views]))).astype(np.int64)
        self._document_bases = np.concatenate(([0], np.cumsum([v.columns.n_documents for v in views]))).astype(np.int64)
        self._alive: tuple[Bitmap | None, ...] = tuple(v.alive for v in views)
        self._kinds = {**dict.fromkeys(OWN_FIELDS, "str"), **manifest.data_schema}
        self._matching: dict[str, tuple[Bitmap, ...]] = {}
        self._searchers: dict[str, Searcher] = {}
        self._lock = RLock()  # a filter may ask an index

    @classmethod
    def live(cls, folder: Path, before: Snapshot | None = None) -> Snapshot:
        """Map the live version's files, reusing what an earlier snapshot of the same collection has checked and mapped.

        Sizes of all files are checked first, so a cut file is refused before it is mapped.
        """
        while True:
            said = pointer(folder)
            try:
                return cls._mapped(folder, said, before)
            except CorruptCollectionError:
                if pointer(folder) == said:
                    raise  # else a purge removed that version just now

    @classmethod
    def without(cls, folder: Path, damaged: Set[str]) -> Snapshot:
        """The live version, to be repaired: damaged files, named as the manifest does, are neither checked nor read."""
        return cls._mapped(folder, pointer(folder), None, damaged)

    @classmethod
    def _mapped(cls, folder: Path, said: str, before: Snapshot | None, damaged: Set[str] = frozenset()) -> Snapshot:
        manifest = named(folder, said)
        if before is not None and before.manifest.uuid != manifest.uuid:  # another collection was made in its place
            before = None
        checked = before.manifest.files if before else {}
        for name, entry in manifest.files.items():
            if checked.get(name) != entry and name not in damaged:
                check_size(folder / name, entry.size)
        known = {v.entry.id: v.columns for v in before.views} if before else {}
        views = []
        for segment in manifest.segments:
            path = folder / "segments" / segment.id
            models = {n: folder / "models" / n / version for n, version in segment.models.items()}
            hidden = {n.rpartition("/")[2] for n in damaged if n.startswith(f"segments/{segment.id}/vectors/")}
            columns = known.get(segment.id) or SegmentColumns.open(path, manifest.index_text, models, hidden)
            if (columns.n_documents, columns.n_passages) != (segment.documents, segment.passages):
                raise CorruptCollectionError(
                    f"{path} holds {columns.n_documents} documents and {columns.n_passages} passages where the manifest says "
                    f"{segment.documents} and {segment.passages}; restore it from a backup"
                )
            views.append(SegmentView(columns, segment, path, _live(folder, segment)))
        return cls(folder, manifest, views, said)

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
        self.refuse_purged()
        return [view.columns.passage(row) for view, row in self._locate(rows)]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        self.refuse_purged()
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

    def _field(self, columns: SegmentColumns, name: str) -> Any:
        return columns.field(name, self._kinds[name])

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
        self.refuse_purged()
        at = self.find(id)
        if at is None:
            raise UnknownNameError(f"no document has the id {id!r} in {self.folder}")
        return self.views[at[0]].columns.document(at[1])

    def documents(self, where: Filter | None = None) -> Iterator[tuple[int, int]]:
        """(segment, document row) of every live document, or of those for which a filter holds, in order."""
        self.refuse_purged()
        masks = [view.live for view in self.views] if where is None else self.matching(where)
        for n, (view, mask) in enumerate(zip(self.views, masks, strict=True)):
            rows = range(view.columns.n_documents) if mask is None else np.flatnonzero(mask).tolist()
            for row in rows:
                yield n, row

    def id_of(self, segment: int, row: int) -> str:
        """Id of a document by its place."""
        return self.views[segment].columns.document_id(row)

    def facets(self, field: str, where: Filter | None = None) -> dict[Any, int]:
        """{value: live documents that have it, or of those for which a filter holds}; the most frequent first, then by value."""
        if field not in self._kinds:
            raise UnknownNameError.near("metadata field", field, self._kinds)
        counts: Counter[Any] = Counter()
        masks = [view.live for view in self.views] if where is None else self.matching(where)
        for view, mask in zip(self.views, masks, strict=True):
            column = view.columns.field(field, self._kinds[field])
            if column is not None:
                for entry in count_values(column, mask):
                    counts[entry["values"]] += entry["counts"]
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    # --- search -----------------------------------------------------------------------------------------------------

    def searcher(self, index: str) -> Searcher:
        """The open index of that name, opened once a snapshot."""
        with self._lock:
            if index not in self._searchers:
                spec = self.spec(index)
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
        spec = self.spec(index)
        if not isinstance(spec, VectorIndex):
            raise InputError(f"the index {index!r} holds no vectors; name one that does, such as 'dense'")
        found = [view.columns.vectors(spec.column)[row] for view, row in self._locate(rows)]
        return np.stack(found) if found else np.zeros((0, 0), np.float32)

    def spec(self, index: str) -> IndexSpec:
        """The spec of an index by its name."""
        if index not in self.manifest.indexes:
            raise UnknownNameError.near("index of this collection", index, self.manifest.indexes)
        spec: IndexSpec = from_config("indexes", self.manifest.indexes[index])
        return spec

    def _is_live(self) -> bool:
        """Whether the folder's live version is this one."""
        try:
            return pointer(self.folder) == self.pointer
        except NotACollectionError:
            return False

    def refuse_purged(self) -> None:
        """Raise SnapshotGone where a purge has removed this version: what was deleted for good is not to be read on."""
        if os.path.exists(self._purged) and self.manifest.generation < purged_below(self.folder):
            raise SnapshotGone(f"version {self.manifest.generation} of {self.folder} was purged; call refresh()")

    def search_index(
        self, index: str, queries: Sequence[Query], *, k: int
    ) -> tuple[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """(scale, (indptr, rows, scores)) of one index's k best live passages for each query."""
        self.refuse_purged()
        searcher, groups = self.searcher(index), defaultdict[str, list[int]](list)
        for n, query in enumerate(queries):
            groups["" if query.where is None else str(query.where)].append(n)
        if len(groups) < 2:
            return searcher.scale, searcher.search(queries, k=k, allow=self.allowed(queries[0].where if queries else None))
        found = [searcher.search([queries[n] for n in ns], k=k, allow=self.allowed(queries[ns[0]].where)) for ns in groups.values()]
        return searcher.scale, _put_back(np.array([n for ns in groups.values() for n in ns], np.int64), found)

    def allowed(self, where: Filter | None) -> Sequence[Bitmap | None]:
        """Live passages that a filter lets through, of each segment; None: all."""
        if where is None:
            return self._alive
        return [mask[view.columns.document_of] for mask, view in zip(self.matching(where), self.views, strict=True)]

    def matching(self, where: Filter) -> tuple[Bitmap, ...]:
        """Live documents for which a filter holds, of each segment; the last few filters are kept.

        Raises UnknownNameError for a field that no document has, SchemaError for a value that does not fit its field.
        """
        name = str(where)  # as an object, F.a == 1 equals F.a == True
        with self._lock:
            if name not in self._matching:
                bound = bind(where, {TEXT: "text", **self._kinds})
                masks = []
                for n, view in enumerate(self.views):
                    mask = evaluate(bound, partial(self._field, view.columns), view.columns.n_documents, partial(strings.holders, self, n))
                    masks.append(mask if view.live is None else mask & view.live)
                while len(self._matching) >= _KEPT_FILTERS:
                    del self._matching[next(iter(self._matching))]
                self._matching[name] = tuple(masks)
            return self._matching[name]

    def highlights(self, passages: Sequence[Passage], texts: Sequence[str]) -> list[tuple[tuple[int, int], ...]]:
        """Where any of some texts stand in each passage: spans of its document, cut at the passage's borders."""
        return strings.highlights(self, passages, texts)

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


def _put_back(
    order: NDArray[np.int64], found: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Hits of groups of queries in the order of the queries; order names the query of each, group by group."""
    counts = np.concatenate([np.diff(indptr) for indptr, _, _ in found])
    rows, scores = (np.concatenate([f[i] for f in found]) for i in (1, 2))
    starts, place = np.cumsum(counts) - counts, np.argsort(order)
    indptr = np.concatenate(([0], np.cumsum(counts[place]))).astype(np.int64)
    at = np.repeat(starts[place] - indptr[:-1], counts[place]) + np.arange(indptr[-1])
    return indptr, rows[at], scores[at]


def _live(folder: Path, segment: SegmentEntry) -> Bitmap | None:
    if segment.deletes is None:
        return None
    bits = open_array(folder / segment.deletes)
    if bits.dtype != np.uint8 or bits.shape != ((segment.documents + 7) // 8,):
        raise CorruptCollectionError(f"{folder / segment.deletes} is no bitmap of {segment.documents} documents; restore it from a backup")
    return ~np.unpackbits(bits, count=segment.documents).astype(np.bool_)
