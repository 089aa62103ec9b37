"""JSON lines (.jsonl, .ndjson, also gzipped): one record a line, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.lines import lines, open_text
from ragkit.loaders.messages import conversation
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.records import ID_FIELDS, TEXT_FIELDS, Records, as_lines
from ragkit.types import Document

_MESSAGES = "messages"


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """A document for each usable record; other lines are reported by number.

    A record without a text field has the text of its ``messages`` (``role: content`` lines), else a ``field: value`` line for
    each string and number in it. The id is the record's own or ``#line``; a file of any size takes the memory of its longest line.
    raises LoadError if the file is one JSON value over several lines, or one list
    """
    records = Records(options, report)
    first = True
    for line in lines(path, options):
        if line.problem:
            report(f"line {line.number}: {line.problem}")
            first = False
            continue
        try:
            record = json.loads(line.text)
            problem = ""
        except (ValueError, RecursionError) as exc:
            record, problem = None, f"line {line.number}: not valid JSON ({exc})"
        if first and (problem or isinstance(record, list)) and line.text.lstrip()[0] in "[{":
            _refuse_one_value(path, options)
        first = False
        if problem:
            report(problem)
            continue
        record, text = _without_text_field(record, options)
        document = records.document(record, line.number, text=text)
        if document is not None:
            yield document


def _refuse_one_value(path: Path, options: LoadOptions) -> None:
    """Raise LoadError if the whole file, of at most `options.max_bytes` characters, is one JSON value."""
    with open_text(path, options) as stream:
        text = stream.read(options.max_bytes + 1)
    if len(text) > options.max_bytes:
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    wanted = ".[]" if isinstance(value, list) else "."
    raise LoadError(f"the file is one JSON value, not one a line; convert it, for example with jq -c '{wanted}'")


def _without_text_field(record: Any, options: LoadOptions) -> tuple[Any, str | None]:
    """The record and the text made of its other fields; None where it has a text of its own, or a title alone."""
    if not isinstance(record, Mapping) or any(record.get(name) is not None for name in options.text_fields or TEXT_FIELDS):
        return record, None
    if (text := conversation(record.get(_MESSAGES))) is not None:
        return {name: value for name, value in record.items() if name != _MESSAGES}, text
    values = {c: v for c, v in record.items() if isinstance(v, (str, int, float)) and str(v).strip()}
    if values.keys() <= {*(options.id_fields or ID_FIELDS), "title"}:
        return record, None
    return record, as_lines(values)
