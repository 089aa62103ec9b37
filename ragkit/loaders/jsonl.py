"""JSON lines (.jsonl, .ndjson, also gzipped): one record a line, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ragkit.loaders.lines import lines
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.records import Records
from ragkit.types import Document


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """A document for each usable record; other lines are reported by number.

    The id is the record's own or ``#line``; a file of any size takes the memory of its longest line.
    """
    records = Records(options, report)
    for line in lines(path, options):
        if line.problem:
            report(f"line {line.number}: {line.problem}")
            continue
        try:
            record = json.loads(line.text)
        except (ValueError, RecursionError) as exc:
            report(f"line {line.number}: not valid JSON ({exc})")
            continue
        document = records.document(record, line.number)
        if document is not None:
            yield document
