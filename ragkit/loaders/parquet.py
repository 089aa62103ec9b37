"""Parquet tables: one record a row, read in batches."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.foreign import parsing
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.parquet_pages import Totals, refuse_bombs
from ragkit.loaders.records import Records, as_lines, has_text_field
from ragkit.types import Document

_BATCH = 1024  # rows held in memory as Python objects
_BATCH_BYTES = 1 << 26  # of a column in them, should each row have the longest value there is
_RATIO, _SMALL = 20, 100_000_000  # rows of more than 100 MB and 20 times the file's size say the same, again and again
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """A document for each usable row; others are reported by row number, from 1.

    Without a text column the text is a ``column: value`` line for each string, number and date that is not empty.
    The id is the row's own or ``#row``.
    raises LoadError for a broken file, and for one of far more rows or bytes than its size can hold
    """
    import pyarrow.parquet as pq  # here, so that reading a text file does not load Arrow

    with path.open("rb") as f:
        size = f.seek(0, io.SEEK_END)
        with parsing("the Parquet file"):
            table: Any = pq.ParquetFile(f)
            totals = refuse_bombs(f, table.metadata.num_columns, size)
            columns = [c for c in dict.fromkeys(table.schema_arrow.names) if not _PANDAS_INDEX.fullmatch(c)]
            batches = table.iter_batches(batch_size=_batch_size(totals), columns=columns)
        own_text = has_text_field(columns, options)
        records = Records(options, report)
        number = taken = 0
        while True:
            try:
                with parsing("the Parquet file"):
                    batch = next(batches, None)
                    if batch is None:
                        return
                    taken += batch.nbytes
                    if taken > max(_SMALL, _RATIO * size):
                        raise LoadError(
                            f"its rows repeat {size:,} bytes to {taken:,} or more, far more than a table of documents; it is left alone"
                        )
                    rows = batch.to_pylist()
            except MemoryError as exc:  # a single row may hold a list of one long text, said any number of times
                raise LoadError(f"the rows after {number:,} take more memory than there is; leave out their longest lists") from exc
            for row in rows:
                number += 1
                document = records.document(row, number, "row", None if own_text else _as_lines(row))
                if document is not None:
                    yield document


def _batch_size(totals: Totals) -> int:
    """Rows that are unpacked at once: each of them may be as long as the longest value that a page says once and many rows repeat."""
    return max(1, min(_BATCH, _BATCH_BYTES // max(1, totals.largest_shared)))


def _as_lines(row: dict[str, Any]) -> str:
    return as_lines({c: v for c, v in row.items() if isinstance(v, (str, int, float, Decimal, date)) and str(v).strip()})
