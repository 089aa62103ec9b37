"""Comma- and tab-separated tables (.csv, .tsv, also gzipped): one record a row, streamed.

The first row names the columns. A column in which every value is a whole number, a decimal or true/false is
read as such (`LoadOptions.typed_csv`), which takes a first pass over the file; a column with one other
value stays text throughout, so that a field never changes its type inside a file.
"""

from __future__ import annotations

import csv
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ragkit.errors import LoadError
from ragkit.loaders.delimiter import SAMPLE, SAMPLE_LINES, delimiter_of, separator_line
from ragkit.loaders.lines import open_text, unencodable
from ragkit.loaders.options import LoadOptions, Report
from ragkit.loaders.records import ID_FIELDS, NESTED_FIELDS, TEXT_FIELDS, Records, as_lines, has_text_field, refuse_many_columns, shortened
from ragkit.types import Document

_Convert = Callable[[str], object]
# tried in order; no leading zeros, which mark postal codes and the like
_TYPES: tuple[tuple[re.Pattern[str], _Convert], ...] = (
    (re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII), int),
    (re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d+)?(?:[eE][-+]?\d{1,2})?", re.ASCII), float),
    (re.compile(r"true|false", re.IGNORECASE), lambda s: s.lower() == "true"),
)


class _Row(NamedTuple):
    number: int  # of its first line
    values: list[str]
    problem: str = ""


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """A document for each usable row; others are reported by line number.

    Without a text column the text is a ``column: value`` line for each column that is not empty. The delimiter
    is that of a ``sep=`` line, a tab in .tsv files, else the one that fits the first rows (`delimiter_of`).
    The id is the row's own or ``#line``. A second column of one name is read as ``name 2``, which is reported.
    """
    with _field_limit(options.max_bytes):
        convert = _column_types(path, options) if options.typed_csv else {}
        rows = _rows(path, options)
        header = next(rows, None)
        columns = _columns(header)
        if renamed := _renamed(header, columns):
            report(f"columns whose names occur before are read as {renamed}; give each column its own name")
        own_text = has_text_field(columns, options)
        records = Records(options, report)
        for row in rows:
            problem = row.problem
            if not problem and _is_too_long(row, columns):
                problem = f"{len(row.values)} fields, where the first row names {len(columns)} (an unquoted delimiter?)"
            if problem:
                report(f"line {row.number}: {problem}")
                continue
            values = {c: v for c, v in zip(columns, row.values, strict=False) if v != ""}
            text = None if own_text else as_lines(values)
            document = records.document({c: convert.get(c, str)(v) for c, v in values.items()}, row.number, text=text)
            if document is not None:
                yield document


def _columns(header: _Row | None) -> list[str]:
    """The names of the columns, each once."""
    if header is None:
        return []
    if header.problem:
        raise LoadError(f"its first row, which names the columns, can't be read: {header.problem}")
    refuse_many_columns(len(header.values))
    given = [name.strip() or f"column {n}" for n, name in enumerate(header.values, 1)]
    taken, uses = set(given), dict.fromkeys(given, 0)
    columns = []
    for name in given:
        uses[name] += 1
        own = name
        if uses[name] > 1:
            while (own := f"{name} {uses[name]}") in taken:
                uses[name] += 1
            taken.add(own)
        columns.append(own)
    return columns


def _renamed(header: _Row | None, columns: list[str]) -> str:
    """The first names that are not as the file has them, "" if all are."""
    given = () if header is None else header.values
    new = [repr(shortened(name)) for name, old in zip(columns, given, strict=True) if old.strip() not in ("", name)]
    return ", ".join(new[:5]) + (f" and {len(new) - 5} more" if len(new) > 5 else "")


def _is_too_long(row: _Row, columns: list[str]) -> bool:
    """Whether a row has a value beyond the last column; spreadsheets write empty ones there."""
    return len(row.values) > len(columns) and any(v.strip() for v in row.values[len(columns) :])


def _rows(path: Path, options: LoadOptions) -> Iterator[_Row]:
    """The rows that are not blank, the header first; quotes are read strictly, so that a lost one is noticed."""
    with open_text(path, options, newline="") as stream:
        first = stream.readline(options.max_bytes + 1)
        delimiter = separator_line(first)
        before = int(bool(delimiter))  # lines above the header
        sample = [] if delimiter else [first]
        if not delimiter and ".tsv" in (s.lower() for s in path.suffixes[-2:]):
            delimiter = "\t"
        elif not delimiter:
            size, line = len(first), first
            while line and size < SAMPLE and len(sample) < SAMPLE_LINES:
                line = stream.readline(options.max_bytes + 1)
                sample.append(line)
                size += len(line)
            delimiter = delimiter_of(sample, whole=not line)
        reader = csv.reader(itertools.chain(sample, stream), delimiter=delimiter, strict=True)
        while True:
            number = reader.line_num + 1 + before
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield _Row(number, [], f"not valid CSV ({exc})")
                continue
            if any(v and not v.isspace() for v in values):
                yield _Row(number, values, next(filter(None, map(unencodable, values)), ""))


def _column_types(path: Path, options: LoadOptions) -> dict[str, _Convert]:
    """How the values of each typed column are converted; ids and texts stay as they are."""
    rows = _rows(path, options)
    columns = _columns(next(rows, None))
    strings = {*(options.id_fields or ID_FIELDS), *(options.text_fields or TEXT_FIELDS), *NESTED_FIELDS, "title"}
    open_types = {i: list(_TYPES) for i, name in enumerate(columns) if name not in strings}
    used: set[int] = set()
    for row in rows:
        if row.problem or _is_too_long(row, columns):
            continue
        for i, value in enumerate(row.values):  # not over the columns: there may be far more of them than a row has values
            types = open_types.get(i)
            if types is None or value == "":
                continue
            used.add(i)
            while types and not types[0][0].fullmatch(value):
                del types[0]
            if not types:
                del open_types[i]
    return {columns[i]: types[0][1] for i, types in open_types.items() if i in used}


_limit_lock = threading.Lock()
_limit_users: list[int] = []  # the limit found by the first user; then one entry a user


@contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Let the csv module read fields up to `limit` characters; its limit is global, so the last user restores it."""
    with _limit_lock:
        if not _limit_users:
            _limit_users.append(csv.field_size_limit())
        _limit_users.append(limit)
        csv.field_size_limit(max(_limit_users))
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users.remove(limit)
            csv.field_size_limit(max(_limit_users))
            if len(_limit_users) == 1:
                _limit_users.clear()
