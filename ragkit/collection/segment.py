"""A segment: some documents and their passages as immutable Arrow columns.

``documents.arrow`` holds one row a document, ``passages.arrow`` one row a passage. A passage's text
is not stored again: its row says where it lies in the document's text, in code points (for the
caller) and in bytes (to cut it out of the mapped file without decoding the whole document). ``vectors/`` holds what encoders
made of the indexed texts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.collection.files import open_array, open_batch
from ragkit.collection.schema import arrow_type
from ragkit.errors import CorruptCollectionError
from ragkit.types import Document, Passage

DOCUMENTS, PASSAGES = "documents.arrow", "passages.arrow"
KEYS = "keys.npy"
"""Hashes of the indexed texts, in the folder of the vectors."""
META = "meta."
OWN_FIELDS = ("id", "title", "source")
"""Columns that filters can name, where no metadata field has their name."""
TEXT = "text"
"""What filters call the documents' own texts, where no metadata field has its name."""
_DOCUMENT_KINDS = {
    **dict.fromkeys(("id", "title", "text"), "large_string"), "body_start": "int64", "page_starts": "large_list<item: int64>",
    **dict.fromkeys(("source", "source_sha256"), "large_string"), **dict.fromkeys(("source_size", "source_mtime_ns"), "int64"),
}  # fmt: skip
_PASSAGE_KINDS = {
    "document": "int32", **dict.fromkeys(("start", "end", "byte_start", "byte_end"), "int64"), "headings": "large_list<item: large_string>",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceStamp:
    """What is known of the file that a document was read from."""

    sha256: str = ""
    size: int = 0
    mtime_ns: int = 0


class SegmentColumns:
    """The mapped columns of one segment. Thread-safe; nothing is copied until it is asked for."""

    def __init__(
        self,
        id: str,
        documents: pa.RecordBatch,
        passages: pa.RecordBatch,
        index_text: str,
        folder: Path,
        models: Mapping[str, Path] = MappingProxyType({}),
        hidden: Container[str] = (),
    ) -> None:
        self.id, self.index_text = id, index_text
        self.models = models
        self._folder = folder
        self.documents, self.passages = documents, passages
        self.n_documents, self.n_passages = documents.num_rows, passages.num_rows
        numbers = {n: passages.column(n).to_numpy(zero_copy_only=True) for n in ("document", "start", "end", "byte_start", "byte_end")}
        self.document_of: NDArray[np.int32] = numbers["document"]
        self.starts: NDArray[np.int64] = numbers["start"]
        self.ends: NDArray[np.int64] = numbers["end"]
        self._byte_starts, self._byte_ends = numbers["byte_start"], numbers["byte_end"]
        if self.n_passages and not (self.document_of.min() >= 0 and self.document_of.max() < self.n_documents):
            raise CorruptCollectionError(f"segment {id}: passages.arrow names documents that are not there; restore it from a backup")
        self._headings = passages.column("headings")
        self._text = documents.column("text")
        _, offsets, self._text_bytes = self._text.buffers()
        self._text_offsets = np.frombuffer(offsets, np.int64) if documents.num_rows else np.zeros(1, np.int64)
        self._meta_names = [n for n in documents.schema.names if n.startswith(META)]
        self._hidden = hidden
        self._rows: dict[str, int] | None = None
        self._memo: dict[Any, Any] = {}
        self._lock = RLock()

    @classmethod
    def open(
        cls, folder: Path, index_text: str, models: Mapping[str, Path] = MappingProxyType({}), hidden: Container[str] = ()
    ) -> SegmentColumns:
        """Map a segment's two tables.

        models  by index, the folder of what its segments share
        hidden  file names of vectors to do without, because they are damaged
        """
        documents, passages = open_batch(folder / DOCUMENTS), open_batch(folder / PASSAGES)
        for name, batch, kinds in ((DOCUMENTS, documents, _DOCUMENT_KINDS), (PASSAGES, passages, _PASSAGE_KINDS)):
            if [str(f.type) for f in batch.schema][: len(kinds)] != list(kinds.values()) or batch.schema.names[: len(kinds)] != list(kinds):
                raise CorruptCollectionError(f"{folder / name} has other columns than {', '.join(kinds)}; restore it from a backup")
        return cls(folder.name, documents, passages, index_text, folder, models, hidden)

    def memo(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave the first time for this key: what indexes derive from an immutable segment is derived once."""
        with self._lock:
            if key not in self._memo:
                self._memo[key] = make()
            return self._memo[key]

    def has_vectors(self, column: str) -> bool:
        """Whether the segment holds a vector column of this name."""
        return self._has(f"{column}.npy")

    def has_text_keys(self) -> bool:
        """Whether the segment holds the hashes of its indexed texts."""
        return self._has(KEYS)

    def _has(self, name: str) -> bool:
        return name not in self._hidden and (self._folder / "vectors" / name).is_file()

    def vectors(self, column: str) -> NDArray[np.float32]:
        """The mapped vectors of a column: float32 (passages, dim)."""
        mapped: NDArray[np.float32] = self.memo(("vectors", column), lambda: self._load(f"{column}.npy", np.float32))
        return mapped

    def text_keys(self) -> NDArray[np.uint64]:
        """(passages, 2) hashes of the indexed texts; there where the segment holds vectors."""
        return self._load(KEYS, np.uint64)

    def _load(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        path = self._folder / "vectors" / name
        array = open_array(path)
        if array.dtype != kind or array.ndim != 2 or len(array) != self.n_passages:
            raise CorruptCollectionError(f"{path} does not hold one row for each of {self.n_passages} passages; restore it from a backup")
        return array

    def row_of(self, id: str) -> int | None:
        """Row of the document with this id, dead or alive."""
        if self._rows is None:
            self._rows = {name: row for row, name in enumerate(self.documents.column("id").to_pylist())}
        return self._rows.get(id)

    def column(self, name: str) -> pa.Array:
        """A stored document column by its name."""
        return self.documents.column(name)

    def field(self, name: str, kind: str) -> pa.Array | None:
        """A metadata field of each document as its type is now, else the document's own column; None where no document has it."""
        stored = META + name if META + name in self._meta_names else name if name in OWN_FIELDS else None
        column = None if stored is None else self.documents.column(stored)
        return column if column is None or column.type == arrow_type(kind) else column.cast(arrow_type(kind), safe=False)

    def vector_columns(self) -> list[str]:
        """Names of the vector columns that the segment holds."""
        return sorted(p.stem for p in (self._folder / "vectors").glob("*.npy") if p.name != KEYS and p.name not in self._hidden)

    @property
    def text_size(self) -> int:
        """Bytes of the texts of all documents."""
        return int(self._text_offsets[self.n_documents]) if self.n_documents else 0

    def document_id(self, row: int) -> str:
        return str(self.documents.column("id")[row].as_py())

    def meta(self, row: int) -> dict[str, Any]:
        """Metadata of a document; absent fields are left out."""
        values = ((n[len(META) :], self.documents.column(n)[row].as_py()) for n in self._meta_names)
        return {n: v for n, v in values if v is not None}

    def texts(self) -> Iterator[str]:
        """The whole text of each document, dead or alive, in row order."""
        for row in range(self.n_documents):
            yield self.document_text(row)

    def document_text(self, row: int) -> str:
        """The whole text of a document."""
        return str(self._text[row].as_py())

    def document(self, row: int) -> Document:
        """A whole document, as it was given less its section headings."""
        get = {n: self.documents.column(n)[row].as_py() for n in ("id", "title", "text", "source", "body_start", "page_starts")}
        return Document(**{**get, "page_starts": tuple(get["page_starts"])}, meta=self.meta(row))

    def text(self, row: int) -> str:
        """Text of a passage."""
        base = int(self._text_offsets[self.document_of[row]])
        start, end = base + int(self._byte_starts[row]), base + int(self._byte_ends[row])
        return self._text_bytes[start:end].to_pybytes().decode() if end > start else ""

    def passage(self, row: int) -> Passage:
        """A passage with its document's id, title and metadata."""
        doc = int(self.document_of[row])
        pages = self.documents.column("page_starts")[doc].as_py()
        start = int(self.starts[row])
        return Passage(
            text=self.text(row),
            document=self.document_id(doc),
            start=start,
            end=int(self.ends[row]),
            title=str(self.documents.column("title")[doc].as_py()),
            headings=tuple(self._headings[row].as_py()),
            meta=self.meta(doc),
            source=str(self.documents.column("source")[doc].as_py()),
            page=page_of(pages, start),
        )

    def index_texts(self) -> Iterator[str]:
        """What is indexed of each passage, in row order: title, heading path and text by the collection's template."""
        titles = self.documents.column("title").to_pylist()
        headings = self._headings.to_pylist()
        for row in range(self.n_passages):
            title, path = titles[self.document_of[row]], headings[row]
            if path and path[0] == title:  # a page's first heading usually repeats its title: do not count it twice
                path = path[1:]
            yield self.index_text.format(title=title, headings=" › ".join(path), text=self.text(row)).strip()


def page_of(page_starts: Sequence[int], offset: int) -> int | None:
    """Number of the page, from 1, that holds an offset; None for a document without pages.

    >>> page_of([0, 100, 250], 100), page_of([], 7)
    (2, None)
    """
    return int(np.searchsorted(np.asarray(page_starts), offset, side="right")) if page_starts else None
