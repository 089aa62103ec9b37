"""A filter made to fit a schema: fields checked, instants read, and numbers of another kind exchanged for exact ones.

int64 and float64 are compared as Python compares them, without rounding: a value that a column can't hold is exchanged for
a comparison that it can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ragkit.errors import SchemaError, UnknownNameError
from ragkit.filters.expression import And, Compare, Filter, Not, Or, written

_NOTHING = Or(())
IN_TEXT = "in text"
"""Operator of a bound filter that asks for a string in the documents' own texts, which are the field "text" of the kind "text"."""
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_ORDERED = ("<", "<=", ">", ">=")
_WANTED = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "a text",
    "instant": "a datetime with a zone, or its ISO 8601 text such as 2024-05-01T12:00:00Z",
    "list[str]": "a list of texts",
    "text": "a text of at least one character",
}
_ALLOWED = {
    "bool": ("==", "in"),
    "int": ("==", "in", *_ORDERED),
    "float": ("==", "in", *_ORDERED),
    "str": ("==", "in", *_ORDERED, "contains", "startswith"),
    "instant": ("==", "in", *_ORDERED),
    "list[str]": ("==", "contains"),
    "text": ("contains",),
}


def bind(filter: Filter, kinds: Mapping[str, str]) -> Filter:
    """The filter with values of its fields' types.

    kinds   {field: type}, types as in `ragkit.collection.schema`, or "text" for the documents' own texts
    raises  UnknownNameError for a field that is not there, SchemaError for a value or operator that does not fit its type
    """
    if isinstance(filter, And):
        return And(tuple(bind(p, kinds) for p in filter.parts))
    if isinstance(filter, Or):
        return Or(tuple(bind(p, kinds) for p in filter.parts))
    if isinstance(filter, Not):
        return Not(bind(filter.part, kinds))
    assert isinstance(filter, Compare)
    if filter.field not in kinds:
        raise UnknownNameError.near("metadata field", filter.field, kinds)
    kind = kinds[filter.field]
    if filter.operator == "exists":
        return filter if kind != "text" else And(())  # every document has a text
    if filter.operator not in _ALLOWED[kind]:
        allowed = ", ".join(_ALLOWED[kind])
        raise SchemaError(f"the field {filter.field!r} is {kind}, which can't be compared by {filter.operator}; use {allowed} or exists")
    if filter.operator == "in":
        parts = [_equal(filter, kind, v) for v in filter.value]
        values = tuple(p.value for p in parts if isinstance(p, Compare))
        return Compare(filter.field, "in", values) if values else _NOTHING
    if filter.operator == "contains" and kind == "list[str]":
        return Compare(filter.field, "contains", _fitting(filter, "str", filter.value))
    if filter.operator == "==":
        return _equal(filter, kind, filter.value)
    value = _fitting(filter, kind, filter.value)
    if kind == "text":
        return Compare(filter.field, IN_TEXT, value)
    if kind == "int":
        return _int_order(filter.field, filter.operator, value)
    if kind == "float":
        return _float_order(filter.field, filter.operator, value)
    return Compare(filter.field, filter.operator, value)


def _fitting(filter: Compare, kind: str, value: Any) -> Any:
    """A value as its field's type has it; ints and floats as they are."""
    fits = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int | float) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "str": isinstance(value, str),
        "instant": isinstance(value, datetime | str),
        "list[str]": isinstance(value, tuple),
        "text": isinstance(value, str) and value != "",
    }[kind]
    if fits and kind == "instant":
        try:
            when = datetime.fromisoformat(value) if isinstance(value, str) else value
            fits = when.tzinfo is not None
        except ValueError:
            fits = False
        if fits:
            return when.astimezone(UTC)
    if not fits:
        raise SchemaError(f"the field {filter.field!r} is {kind} and was compared with {written(value)}; give {_WANTED[kind]}")
    return value


def _equal(filter: Compare, kind: str, value: Any) -> Filter:
    value = _fitting(filter, kind, value)
    if kind == "int":
        if isinstance(value, float):
            if not value.is_integer():
                return _NOTHING
            value = int(value)
        return Compare(filter.field, "==", value) if _LEAST <= value <= _MOST else _NOTHING
    if kind == "float":
        near = _float(value)
        return Compare(filter.field, "==", near) if near == value else _NOTHING
    return Compare(filter.field, "==", value)


def _int_order(field: str, operator: str, value: int | float) -> Filter:
    if isinstance(value, float):
        if math.isnan(value):
            return _NOTHING
        if math.isinf(value):
            return Compare(field, "exists", True) if (value > 0) == (operator in ("<", "<=")) else _NOTHING
        value = math.ceil(value) if operator in ("<", ">=") else math.floor(value)
    if value > _MOST or value < _LEAST:
        return Compare(field, "exists", True) if (value > 0) == (operator in ("<", "<=")) else _NOTHING
    return Compare(field, operator, value)


def _float_order(field: str, operator: str, value: int | float) -> Filter:
    near = _float(value)
    if near > value:
        operator = {"<": "<", "<=": "<", ">": ">=", ">=": ">="}[operator]
    elif near < value:
        operator = {"<": "<=", "<=": "<=", ">": ">", ">=": ">"}[operator]
    return Compare(field, operator, near)


def _float(value: int | float) -> float:
    """The nearest float64, infinite for a number beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
