"""Records to documents: the field names that people use, metadata of the types that a schema has, duplicates.

Shared by the JSON lines, CSV and Parquet loaders. A record that can't be used is reported by its place and
left out; the rest of the file is read on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral
from typing import Any

from ragkit.errors import InputError, LoadError
from ragkit.loaders.lines import unencodable
from ragkit.loaders.options import DEFAULT, LoadOptions, Report
from ragkit.types import Document

TEXT_FIELDS = ("text", "content", "contents", "page_content", "segment", "body", "passage")
ID_FIELDS = ("id", "_id", "doc_id", "docid", "docno")
NESTED_FIELDS = ("metadata", "meta", "payload")
_INT64 = 2**63
_LEFT_OUT = "; it is left out of the metadata"
_DEEPEST = 50  # objects inside each other in the metadata
_LONGEST_NAME = 200  # characters of a column's name that are repeated in each row's text, or of any name in a reason


def has_text_field(columns: Sequence[str], options: LoadOptions) -> bool:
    """Whether one of a table's columns can be the text."""
    return not set(columns).isdisjoint(options.text_fields or TEXT_FIELDS)


def refuse_many_columns(n_columns: int, most: int = 100_000) -> None:
    """Raise LoadError if a table has far more columns than one of documents has: each takes memory, and a part of the schema."""
    if n_columns > most:
        raise LoadError(f"it has {n_columns:,} columns, more than {most:,}; leave out those that are not to be searched")


def as_lines(values: Mapping[str, Any]) -> str:
    """The text of a record that has none: a ``name: value`` line for each value; overlong names are cut.

    >>> as_lines({"bolt": "M8", "price": 4})
    'bolt: M8\\nprice: 4'
    """
    return "\n".join(f"{shortened(name)}: {value}" for name, value in values.items())


def is_too_deep(record: Mapping[str, Any]) -> bool:
    """Whether a record has more objects inside each other than metadata may have."""
    level: list[Mapping[str, Any]] = [record]
    for _ in range(_DEEPEST + 1):
        level = [value for outer in level for value in outer.values() if isinstance(value, Mapping)]
    return bool(level)


def shortened(name: str) -> str:
    """A name for people to read, which files may make megabytes long."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


class Records:
    """Makes documents of the records of one file."""

    def __init__(self, options: LoadOptions, report: Report) -> None:
        self._text_fields = options.text_fields or TEXT_FIELDS
        self._id_fields = options.id_fields or ID_FIELDS
        self._report = report
        self._told: set[str] = set()

    def document(self, record: object, number: int, place: str = "line", text: str | None = None) -> Document | None:
        """A record's document; None, after a report that starts with ``<place> <number>:``, if it can't be used.

        record  a mapping of field names
        number  its line or row, from 1; ``#number`` is its id if it has none
        text    the text, for records that have no text field of their own
        """
        try:
            return self.convert(record, f"#{number}", text)
        except Unusable as exc:
            self._report(f"{place} {number}: {exc}")
            return None

    def convert(self, record: object, fallback_id: str, text: str | None = None) -> Document:
        """As `document`, but raises `Unusable` with the reason."""
        if not isinstance(record, Mapping):
            raise Unusable(f"an object was wanted, got {_kind(record)}")
        rest = dict(record)
        id = self._take_id(rest, fallback_id)
        if text is None:
            text = self._take_text(rest)
        title = rest.pop("title") if isinstance(rest.get("title"), str) else ""
        meta: dict[str, Any] = {}
        for name in NESTED_FIELDS:
            if isinstance(rest.get(name), Mapping):
                meta.update(rest.pop(name))
        if not title and isinstance(meta.get("title"), str):
            title = meta.pop("title")
        if not text.strip():
            text, title = title, ""  # a record with a title alone is found and cited by it
        if not text.strip():
            raise Unusable("its text is empty")
        meta = self._clean({**meta, **rest}, "")
        for value in (id, text, title):
            if problem := unencodable(value):
                raise Unusable(problem)
        return Document(text=text, id=id, title=title.strip(), meta=meta)

    def _take_id(self, rest: dict[Any, Any], fallback: str) -> str:
        for name in self._id_fields:
            value = rest.get(name)
            if value is None or value == "":
                continue
            del rest[name]
            if isinstance(value, str) or (isinstance(value, Integral) and not isinstance(value, bool)):
                return str(value)
            raise Unusable(f"its {shortened(name)!r} is {_kind(value)}, where a string or a whole number was wanted")
        return fallback

    def _take_text(self, rest: dict[Any, Any]) -> str:
        wrong = ""
        empty: str | None = None
        for name in self._text_fields:
            value = rest.get(name)
            if isinstance(value, str):
                if value.strip():
                    del rest[name]
                    return value
                empty = name if empty is None else empty
            elif value is not None and not wrong:
                wrong = f"its {name!r} is {_kind(value)}, where a string was wanted"
        if wrong:
            raise Unusable(wrong)
        if empty is None and not isinstance(rest.get("title"), str):
            shown = ", ".join(repr(shortened(str(name))) for name in list(rest)[:8]) or "none"
            raise Unusable(f"no text field (wanted one of {', '.join(self._text_fields)}; its fields: {shown}); name it in text_fields=")
        if empty is not None:
            del rest[empty]
        return ""

    def _clean(self, values: Mapping[Any, Any], path: str, depth: int = 0) -> dict[str, Any]:
        clean = {}
        for key, value in values.items():
            name = f"{path}{key}"
            if problem := unencodable(str(key)):
                raise Unusable(f"the name of a field {problem}")
            if not isinstance(value, Mapping):
                kept = self._value(value, name)
            elif depth < _DEEPEST:
                kept = self._clean(value, name + ".", depth + 1)
            else:
                self._tell(name, f"is nested more than {_DEEPEST} deep, which metadata can't hold")
                continue
            if kept is not None and kept != {}:
                clean[str(key)] = kept
        return clean

    def _value(self, value: Any, name: str) -> Any:
        """A value as metadata has it; None leaves it out."""
        if isinstance(value, str):
            if problem := unencodable(value):
                raise Unusable(f"its {shortened(name)!r} {problem}")
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if -_INT64 <= value < _INT64 else str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value
        if isinstance(value, (date, time)):  # a datetime without zone among them: its text, since its instant is unknown
            return value.isoformat()
        if isinstance(value, (Decimal, timedelta)):
            return str(value)
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            if all(isinstance(v, str) for v in value):
                for v in value:
                    if problem := unencodable(v):
                        raise Unusable(f"its {shortened(name)!r} {problem}")
                return list(value) or None
            self._tell(name, "is a list of other things than strings, which metadata can't hold")
        else:
            self._tell(name, f"is {_kind(value)}, which metadata can't hold")
        return None

    def _tell(self, name: str, why: str) -> None:
        if name not in self._told:  # once a file, not once a record
            self._told.add(name)
            self._report(f"the field {shortened(name)!r} {why}{_LEFT_OUT}")


def document_of(record: Mapping[str, Any], options: LoadOptions = DEFAULT) -> Document:
    """The document of one record that a program hands in; its id is "" where the record has none.

    raises InputError where a record in a file would be reported: no text, an id or a metadata value of no usable type

    >>> document_of({"_id": 7, "contents": "On x.", "metadata": {"year": 2020}, "note": None})
    Document(text='On x.', id='7', title='', meta={'year': 2020}, source='', headings=(), body_start=0, page_starts=())
    """
    problems: list[str] = []
    try:
        document = Records(options, problems.append).convert(record, "")
    except Unusable as exc:
        raise InputError(f"the record can't be used: {exc}") from exc
    if problems:
        raise InputError(f"the record can't be used: {problems[0].removesuffix(_LEFT_OUT)}; leave it out")
    return document


class Unusable(Exception):
    """A record has no place in a collection; the message says why."""


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a truth value",
        float: "a number",
        int: "a number",
        bytes: "binary data",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
