"""Parquet tables: one record a row, read in batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from ragkit.loaders.foreign import parsing
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.records import Records, has_text_field
from ragkit.types import Document

_BATCH = 1024  # rows held in memory as Python objects
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """A document for each usable row; others are reported by row number, from 1.

    Without a text column the text is a ``column: value`` line for each string, number and date that is not empty.
    The id is the row's own or ``#row``.
    """
    import pyarrow.parquet as pq  # here, so that reading a text file does not load Arrow

    with path.open("rb") as f:
        with parsing("the Parquet file"):
            table: Any = pq.ParquetFile(f)
            columns = [c for c in table.schema_arrow.names if not _PANDAS_INDEX.fullmatch(c)]
            batches = table.iter_batches(batch_size=_BATCH, columns=columns)
        own_text = has_text_field(columns, options)
        records = Records(options, report)
        number = 0
        while True:
            with parsing("the Parquet file"):
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            for row in rows:
                number += 1
                document = records.document(row, number, "row", None if own_text else _as_lines(row))
                if document is not None:
                    yield document


def _as_lines(row: dict[str, Any]) -> str:
    return "\n".join(f"{c}: {v}" for c, v in row.items() if isinstance(v, (str, int, float, Decimal, date)) and str(v).strip())
