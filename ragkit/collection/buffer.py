"""Documents on their way into a segment, as columns already: a document's objects are given back as soon as it is taken in."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.collection.files import save_batch
from ragkit.collection.schema import Schema, arrow_type
from ragkit.collection.segment import DOCUMENTS, META, PASSAGES, SourceStamp
from ragkit.errors import InputError
from ragkit.types import Document, Span

MAX_TEXT = (1 << 31) - 1


def text_bytes(document: Document) -> int:
    """Bytes of a document's text in UTF-8; raises InputError where it can't be stored."""
    try:
        size = len(document.text) if document.text.isascii() else len(document.text.encode())
        f"{document.id}{document.title}{document.source}".encode()
    except UnicodeEncodeError as exc:
        raise InputError(
            f"document {document.id!r} holds a lone surrogate at character {exc.start}, which is not text; remove or replace it"
        ) from None
    if size > MAX_TEXT:
        raise InputError(f"document {document.id!r} has {size} bytes of text, more than {MAX_TEXT}; split it into several documents")
    return size


class _Strings:
    """A growing column of strings."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("q", [0])

    def append(self, text: str) -> None:
        self._data += text.encode()
        self._ends.append(len(self._data))

    def array(self) -> pa.Array:
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.large_string(), len(self._ends) - 1, buffers)


class SegmentBuffer:
    """The columns of a segment in the making; given has the vectors that came with each document."""

    def __init__(self) -> None:
        self._strings = {name: _Strings() for name in ("id", "title", "text", "source", "source_sha256")}
        self._numbers = {name: array("q") for name in ("body_start", "source_size", "source_mtime_ns")}
        self._pages, self._page_ends = array("q"), array("q", [0])
        self._meta: list[dict[str, Any]] = []
        self._document = array("i")
        self._places = {name: array("q") for name in ("start", "end", "byte_start", "byte_end")}
        self._headings: list[tuple[str, ...]] = []
        self._digest = sha256()
        self.given: list[Mapping[str, NDArray[np.float32]]] = []
        self.text_bytes = 0

    @property
    def n_documents(self) -> int:
        return len(self._meta)

    @property
    def n_passages(self) -> int:
        return len(self._headings)

    @property
    def digest(self) -> str:
        """Of all that was taken in, in order."""
        return self._digest.hexdigest()

    def append(
        self,
        document: Document,
        spans: Sequence[Span],
        meta: dict[str, Any],
        stamp: SourceStamp,
        size: int,
        vectors: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Take in one document whose text has `size` bytes (see `text_bytes`), with the vectors given for its passages."""
        own = (document.id, document.title, document.source, document.body_start, document.page_starts, document.headings)
        for part in (repr((own, sorted(meta.items()), stamp, spans)), document.text):
            content = part.encode(errors="backslashreplace")
            self._digest.update(b"%d " % len(content) + content)
        for name, vector in sorted(vectors.items()):
            self._digest.update(name.encode() + vector.tobytes())
        texts = (document.id, document.title, document.text, document.source, stamp.sha256)
        for column, text in zip(self._strings.values(), texts, strict=True):
            column.append(text)
        for numbers, value in zip(self._numbers.values(), (document.body_start, stamp.size, stamp.mtime_ns), strict=True):
            numbers.append(value)
        self._pages.extend(document.page_starts)
        self._page_ends.append(len(self._pages))
        self._document.extend([len(self._meta)] * len(spans))
        start, end = [s.start for s in spans], [s.end for s in spans]
        in_bytes = (start, end) if size == len(document.text) else _in_bytes(document.text, spans)
        for place, values in zip(self._places.values(), (start, end, *in_bytes), strict=True):
            place.extend(values)
        self._headings.extend(s.headings for s in spans)
        self._meta.append(meta)
        self.given.append(vectors)
        self.text_bytes += size

    def write(self, folder: Path, schema: Schema) -> None:
        """Write both tables into a new folder."""
        folder.mkdir(parents=True)
        save_batch(folder / DOCUMENTS, self._documents(schema))
        save_batch(folder / PASSAGES, self._passages())

    def _documents(self, schema: Schema) -> pa.RecordBatch:
        texts = {name: column.array() for name, column in self._strings.items()}
        numbers = {name: pa.array(np.frombuffer(n, np.int64)) for name, n in self._numbers.items()}
        pages = pa.LargeListArray.from_arrays(np.frombuffer(self._page_ends, np.int64), np.frombuffer(self._pages, np.int64))
        columns: dict[str, pa.Array] = {
            **{n: texts[n] for n in ("id", "title", "text")},
            "body_start": numbers["body_start"],
            "page_starts": pages,
            **{n: texts[n] for n in ("source", "source_sha256")},
            **{n: numbers[n] for n in ("source_size", "source_mtime_ns")},
        }
        for name, kind in schema.fields.items():
            if any(name in m for m in self._meta):
                columns[META + name] = pa.array([m.get(name) for m in self._meta], arrow_type(kind))
        return pa.RecordBatch.from_pydict(columns)

    def _passages(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                "document": pa.array(np.frombuffer(self._document, np.int32)),
                **{name: pa.array(np.frombuffer(place, np.int64)) for name, place in self._places.items()},
                "headings": pa.array(self._headings, pa.large_list(pa.large_string())),
            }
        )


def _in_bytes(text: str, spans: Sequence[Span]) -> tuple[list[int], list[int]]:
    """(starts, ends) of the spans in the UTF-8 bytes of the text; linear in the text."""
    points = sorted({p for s in spans for p in (s.start, s.end)})
    ends: dict[int, int] = {}
    before = size = 0
    for point in points:
        size += len(text[before:point].encode())
        ends[point], before = size, point
    return [ends[s.start] for s in spans], [ends[s.end] for s in spans]
