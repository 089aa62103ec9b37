"""Conditions on metadata: `F.year >= 2020`, joined by `&`, `|` and `~`.

A condition is true or false for every document. A missing value equals None and nothing else: comparisons with it are false,
``!=`` is the opposite of ``==`` and ``~`` the opposite of what it stands before, as in Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ragkit.errors import InputError

Value = bool | int | float | str | datetime
_BITS = 3000
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
KEYWORDS = frozenset({"and", "or", "not", "in", "contains", "startswith", "exists", "is", "null", "none", "true", "false"})


class Filter:
    """A condition on a document's metadata; printed as the text that `parse` reads."""

    def __and__(self, other: Filter) -> Filter:
        return And((*_parts(self, And), *_parts(other, And)))

    def __or__(self, other: Filter) -> Filter:
        return Or((*_parts(self, Or), *_parts(other, Or)))

    def __invert__(self) -> Filter:
        return self.part if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise InputError("a filter is neither true nor false by itself; join filters by & | ~ with brackets, not by and, or, not")


@dataclass(frozen=True)
class Compare(Filter):
    """One field compared with a value; for "in" a tuple of values, for "exists" True."""

    field: str
    operator: str
    value: Any

    def __str__(self) -> str:
        name = written_name(self.field)
        return f"{name} exists" if self.operator == "exists" else f"{name} {self.operator} {written(self.value)}"


@dataclass(frozen=True)
class And(Filter):
    """All of its parts; true without any."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(f"({p})" if isinstance(p, Or) else str(p) for p in self.parts) or "true"


@dataclass(frozen=True)
class Or(Filter):
    """At least one of its parts; false without any."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts)) or "false"


@dataclass(frozen=True)
class Not(Filter):
    """The opposite."""

    part: Filter

    def __str__(self) -> str:
        return f"not ({self.part})" if isinstance(self.part, And | Or) else f"not {self.part}"


class Field:
    """A field of the metadata, dotted where it is nested; its comparisons are filters."""

    __hash__ = None  # type: ignore[assignment]  # == makes a filter

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field(f"{self.name}.{name}")

    def __getitem__(self, name: str) -> Field:
        return Field(f"{self.name}.{name}")

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return ~self.exists() if value is None else Compare(self.name, "==", checked(value, self.name))

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return ~(self == value)

    def __lt__(self, value: Value) -> Filter:
        return Compare(self.name, "<", checked(value, self.name))

    def __le__(self, value: Value) -> Filter:
        return Compare(self.name, "<=", checked(value, self.name))

    def __gt__(self, value: Value) -> Filter:
        return Compare(self.name, ">", checked(value, self.name))

    def __ge__(self, value: Value) -> Filter:
        return Compare(self.name, ">=", checked(value, self.name))

    def in_(self, values: Iterable[Value]) -> Filter:
        """The value is one of these."""
        if isinstance(values, str):
            raise InputError(f"the field {self.name!r} is compared with the string {values!r} by in_; give a list of values")
        return Compare(self.name, "in", tuple(checked(v, self.name) for v in values))

    def not_in(self, values: Iterable[Value]) -> Filter:
        """The value is none of these, or missing."""
        return ~self.in_(values)

    def contains(self, text: str) -> Filter:
        """A text holds this one; a list holds this entry."""
        return Compare(self.name, "contains", checked(text, self.name))

    def startswith(self, text: str) -> Filter:
        """A text begins with this one."""
        return Compare(self.name, "startswith", checked(text, self.name))

    def exists(self) -> Filter:
        """There is a value."""
        return Compare(self.name, "exists", True)

    def __repr__(self) -> str:
        return f"F[{self.name!r}]"


class Fields:
    """`F.name` and ``F["name"]`` are fields."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        return Field(name)


F = Fields()


def checked(value: object, field: str) -> Any:
    """A value that a filter may hold; lists of strings as tuples."""
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InputError(f"the field {field!r} is compared with {value}, which has no time zone; give one, as in {value}+00:00")
    if not isinstance(value, bool | int | float | str | datetime):
        raise InputError(
            f"the field {field!r} is compared with {type(value).__name__}; "
            "values are int, float, bool, str, a datetime with a zone, a list of str, or None with == and !="
        )
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise InputError(f"the field {field!r} is compared with a number of {value.bit_length()} bits; give one of at most {_BITS}")
    return value


def written(value: Any) -> str:
    """A value as `parse` reads it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return json.dumps(value.astimezone(UTC).isoformat())
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def written_name(name: str) -> str:
    """A field's name as `parse` reads it."""
    if _NAME.fullmatch(name) and not KEYWORDS & {part.lower() for part in name.split(".")}:
        return name
    return "`" + name.replace("`", "``") + "`"


def _parts(filter: Filter, kind: type[And] | type[Or]) -> tuple[Filter, ...]:
    if not isinstance(filter, Filter):
        raise InputError(f"a filter is joined with {type(filter).__name__}; put brackets around comparisons: (F.a > 1) & (F.b < 2)")
    return filter.parts if isinstance(filter, kind) else (filter,)
