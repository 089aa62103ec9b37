"""Types of metadata fields: inferred at first sight or declared, add-only, never silently changed.

Nested dicts flatten to dotted names. An int field widens to float; any other clash names field and
document. Instants are points in time: a datetime with a zone, or an ISO 8601 string with one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ragkit.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("bool", "int", "float", "str", "instant", "list[str]")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)")
_INT64 = 1 << 63
_DEPTH = 32


class Schema:
    """The fields seen so far: {name: type}. `admit` checks one document's metadata and may add fields."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self.fields: dict[str, str] = {}
        for name, kind in (fields or {}).items():
            if kind not in TYPES:
                raise SchemaError(f"field {name!r} was declared {kind!r}; a field is one of {', '.join(TYPES)}")
            self.fields[name] = kind

    def admit(self, meta: Mapping[str, Any], document: str, on_clash: Callable[[str, str], None] | None = None) -> dict[str, Any]:
        """The flattened, typed values of one document; None values are absent.

        A value that does not fit raises SchemaError; with on_clash it is left out instead, and (field, sentence) told.
        Nothing is added to the schema unless the document is admitted.
        """
        values: dict[str, Any] = {}
        found: dict[str, str] = {}

        def clash(name: str, sentence: str) -> None:
            if on_clash is None:
                raise SchemaError(sentence)
            on_clash(name, f"{sentence}; the field was left out")

        for name, value in flatten(meta, document, clash):
            if name in values:
                clash(name, f"document {document!r} has the field {name!r} twice, once nested and once dotted; rename one")
                continue
            try:
                kind, inferred = self.fields.get(name), _infer(name, value, document)
                if kind is None or (kind == "int" and inferred == "float"):
                    kind = inferred
                values[name] = _convert(name, value, inferred, kind, document)
            except SchemaError as exc:
                clash(name, str(exc))
                continue
            if kind != self.fields.get(name):
                found[name] = kind
        self.fields.update(found)
        return values


def flatten(
    meta: Mapping[str, Any], document: str, clash: Callable[[str, str], None], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every value that is not None; a key that can't be a name is told to clash as (key, sentence)."""
    for key, value in meta.items():
        if not isinstance(key, str) or not key or not _is_text(key):
            clash(repr(key), f"document {document!r}: metadata keys are non-empty strings, got {key!r}; rename it")
        elif isinstance(value, Mapping):
            if depth == _DEPTH:
                clash(prefix + key, f"document {document!r}: metadata is nested more than {_DEPTH} levels deep; flatten it")
            else:
                yield from flatten(value, document, clash, f"{prefix}{key}.", depth + 1)
        elif value is not None:
            yield prefix + key, value


def arrow_type(kind: str) -> pa.DataType:
    """How a field is stored."""
    import pyarrow as pa

    return {
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "str": pa.large_string(),
        "instant": pa.timestamp("us", tz="UTC"),
        "list[str]": pa.large_list(pa.large_string()),
    }[kind]


def _is_text(value: object) -> bool:
    """False for a string that UTF-8 can't hold."""
    return not isinstance(value, str) or value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def _infer(name: str, value: Any, document: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise SchemaError(f"field {name!r} of document {document!r}: {value} does not fit 64 bits; give it as a string")
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise SchemaError(f"field {name!r} of document {document!r}: {value} has no time zone; give one, as in {value}+00:00")
        return "instant"
    if not all(map(_is_text, [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ())):
        raise SchemaError(f"field {name!r} of document {document!r} holds a lone surrogate, which is not text; remove or replace it")
    if isinstance(value, str):
        return "instant" if _INSTANT.fullmatch(value) else "str"
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return "list[str]"
    raise SchemaError(
        f"field {name!r} of document {document!r} is {type(value).__name__}; "
        "metadata is int, float, bool, str, a datetime with a zone or a list of str"
    )


def _convert(name: str, value: Any, inferred: str, kind: str, document: str) -> Any:
    if kind == "instant" and inferred == "instant":
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        return when.astimezone(UTC)
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "float" and inferred in ("int", "float"):
        return float(value)
    if kind == inferred:
        return list(value) if kind == "list[str]" else value
    hint = " with a time zone" if kind == "instant" else ""
    shown = "nan" if isinstance(value, float) and math.isnan(value) else repr(value)
    raise SchemaError(
        f"field {name!r} is {kind}{hint}, but document {document!r} has {shown} ({inferred}); convert it, or use another field name"
    )
