"""Export: the documents of a version as one file that other programs read, and that ragkit indexes again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragkit.collection.files import NewFile, sync_file
from ragkit.collection.schema import arrow_type
from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.filters import Filter
from ragkit.progress import Progress, track
from ragkit.types import Document

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1024
"""Documents held in memory at once."""


def export(snapshot: Snapshot, path: Path, *, where: Filter | None = None, progress: Progress = False) -> int:
    """Write the live documents, or those for which a filter holds, to a new file; returns how many.

    path  ends in .jsonl (one object a line: id, title, text, metadata, source where there is one) or in .parquet (the same as columns)

    raises InputError for another ending, or a file that is there already
    """
    writers: dict[str, Callable[[NewFile, Snapshot, Iterator[list[Document]]], None]] = {".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix not in writers:
        raise InputError(f"export writes .jsonl and .parquet files, got {path.name!r}; name one of these")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path.parent} is no folder; make it first, or name a file in another one")
    if path.exists():
        raise InputError(f"{path} is there already; name a new file, or remove it first")
    at = list(snapshot.documents(where))
    temporary = path.with_name(path.name + ".new")
    try:
        with NewFile(temporary) as f, track("exporting documents", len(at), progress) as tracker:

            def blocks() -> Iterator[list[Document]]:
                for start in range(0, len(at), _BLOCK):
                    some = at[start : start + _BLOCK]
                    yield [snapshot.views[segment].columns.document(row) for segment, row in some]
                    tracker.advance(len(some))

            writers[path.suffix](f, snapshot, blocks())
        sync_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(at)


def _jsonl(f: NewFile, snapshot: Snapshot, blocks: Iterator[list[Document]]) -> None:
    for block in blocks:
        f.write("".join(json.dumps(_record(d), ensure_ascii=False) + "\n" for d in block).encode())


def _record(document: Document) -> dict[str, Any]:
    meta = {n: v.isoformat() if isinstance(v, datetime) else v for n, v in document.meta.items()}
    record: dict[str, Any] = {"id": document.id, "title": document.title, "text": document.text, "metadata": meta}
    return {**record, "source": document.source} if document.source else record


def _parquet(f: NewFile, snapshot: Snapshot, blocks: Iterator[list[Document]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field(n, pa.large_string()) for n in ("id", "title", "text", "source")]
    if kinds := snapshot.manifest.data_schema:
        fields.append(pa.field("metadata", pa.struct([pa.field(n, arrow_type(k)) for n, k in kinds.items()])))
    schema = pa.schema(fields)
    writer: Any = pq.ParquetWriter(f, schema)
    with writer:
        for block in blocks:
            writer.write_batch(_batch(block, schema))


def _batch(block: list[Document], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    rows = [{"id": d.id, "title": d.title, "text": d.text, "source": d.source, "metadata": d.meta} for d in block]
    return pa.RecordBatch.from_pylist(rows, schema=schema)
