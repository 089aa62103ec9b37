"""Filters as plain dicts: the form of MongoDB's queries, and converters from Haystack's and LlamaIndex's forms.

``{"year": {"$gte": 2020}, "lang": {"$in": ["en", "de"]}}`` means the same as ``year >= 2020 and lang in ("en", "de")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from ragkit.errors import InputError, UnknownNameError
from ragkit.filters.expression import And, Compare, Field, Filter, Not, Or

_Build = Callable[[Field, Any], Filter]

_MONGO: dict[str, _Build] = {
    "$eq": lambda f, v: f == v,
    "$ne": lambda f, v: f != v,
    "$gt": lambda f, v: f > v,
    "$gte": lambda f, v: f >= v,
    "$lt": lambda f, v: f < v,
    "$lte": lambda f, v: f <= v,
    "$in": lambda f, v: f.in_(v),
    "$nin": lambda f, v: f.not_in(v),
    "$exists": lambda f, v: f.exists() if v else ~f.exists(),
    "$contains": lambda f, v: f.contains(v),
    "$startswith": lambda f, v: f.startswith(v),
}
_MONGO_OF = {
    "==": "$eq",
    "<": "$lt",
    "<=": "$lte",
    ">": "$gt",
    ">=": "$gte",
    "in": "$in",
    "contains": "$contains",
    "startswith": "$startswith",
}

_HAYSTACK: dict[str, _Build] = {
    "==": _MONGO["$eq"],
    "!=": _MONGO["$ne"],
    ">": _MONGO["$gt"],
    ">=": _MONGO["$gte"],
    "<": _MONGO["$lt"],
    "<=": _MONGO["$lte"],
    "in": _MONGO["$in"],
    "not in": _MONGO["$nin"],
}

_LLAMA_INDEX: dict[str, _Build] = {
    **_HAYSTACK,
    "nin": _MONGO["$nin"],
    "contains": _MONGO["$contains"],
    "text_match": _MONGO["$contains"],
    "is_empty": lambda f, v: ~f.exists(),
    "any": lambda f, v: _all_or_any(or_, [f.contains(x) for x in v]),
    "all": lambda f, v: _all_or_any(and_, [f.contains(x) for x in v]),
}


def from_mongo(filters: Mapping[str, Any]) -> Filter:
    """Read a dict in MongoDB's form; a value alone means equality, and several keys mean and."""
    parts = []
    for key, value in filters.items():
        if key in ("$and", "$or"):
            parts.append(_all_or_any(and_ if key == "$and" else or_, [from_mongo(f) for f in _dicts(key, value)]))
        elif key in ("$not", "$nor"):
            parts.append(~(from_mongo(value) if key == "$not" else _all_or_any(or_, [from_mongo(f) for f in _dicts(key, value)])))
        elif key.startswith("$"):
            raise UnknownNameError.near("operator of a filter", key, ("$and", "$or", "$not", "$nor"))
        else:
            parts.append(_of_field(Field(key), value))
    return _all_or_any(and_, parts)


def _of_field(field: Field, value: Any) -> Filter:
    if not isinstance(value, Mapping):
        return _MONGO["$eq"](field, value)
    parts = []
    for operator, operand in value.items():
        if operator == "$not":
            parts.append(~_of_field(field, operand))
        elif operator in _MONGO:
            parts.append(_MONGO[operator](field, operand))
        elif operator.startswith("$"):
            raise UnknownNameError.near("operator of a filter", operator, (*_MONGO, "$not"))
        else:  # a nested field
            parts.append(_of_field(field[operator], operand))
    return _all_or_any(and_, parts)


def _dicts(key: str, value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, Mapping) for v in value):
        raise InputError(f"{key} takes a list of dicts, got {value!r}")
    return value


def to_mongo(filter: Filter) -> dict[str, Any]:
    """The dict of a filter; values are as they are, instants included."""
    if isinstance(filter, And | Or):
        return {"$and" if isinstance(filter, And) else "$or": [to_mongo(p) for p in filter.parts]}
    if isinstance(filter, Not):
        return {"$not": to_mongo(filter.part)}
    if not isinstance(filter, Compare):
        raise InputError(f"a filter was expected, got {filter!r}")
    if filter.operator == "exists":
        return {filter.field: {"$exists": True}}
    value = list(filter.value) if isinstance(filter.value, tuple) else filter.value
    return {filter.field: {_MONGO_OF[filter.operator]: value}}


def from_haystack(filters: Mapping[str, Any]) -> Filter:
    """Read Haystack's form: {"field": "meta.year", "operator": ">=", "value": 2020}, or {"operator": "AND", "conditions": [...]}."""
    operator = str(filters.get("operator", ""))
    if "conditions" in filters:
        parts = [from_haystack(f) for f in filters["conditions"]]
        if operator.upper() == "NOT":  # in Haystack: none of them together
            return ~_all_or_any(and_, parts)
        return _all_or_any(_joined(operator), parts)
    if operator not in _HAYSTACK or "field" not in filters:
        raise UnknownNameError.near("operator of a Haystack filter", operator, _HAYSTACK)
    return _HAYSTACK[operator](Field(str(filters["field"]).removeprefix("meta.")), filters.get("value"))


def from_llama_index(filters: Any) -> Filter:
    """Read LlamaIndex's `MetadataFilters` or `MetadataFilter`."""
    if hasattr(filters, "filters"):
        parts = [from_llama_index(f) for f in filters.filters]
        condition = str(getattr(filters.condition, "value", filters.condition or "and"))
        if condition.lower() == "not":
            return ~_all_or_any(or_, parts)
        return _all_or_any(_joined(condition), parts)
    operator = str(getattr(filters.operator, "value", filters.operator))
    if operator not in _LLAMA_INDEX:
        raise UnknownNameError.near("operator of a LlamaIndex filter that ragkit knows", operator, _LLAMA_INDEX)
    return _LLAMA_INDEX[operator](Field(filters.key), filters.value)


def _joined(word: str) -> Callable[[Filter, Filter], Filter]:
    if word.upper() not in ("AND", "OR"):
        raise UnknownNameError.near("operator that joins filters", word, ("AND", "OR", "NOT"))
    return and_ if word.upper() == "AND" else or_


def _all_or_any(join: Callable[[Filter, Filter], Filter], parts: Sequence[Filter]) -> Filter:
    """Parts joined by & or by |."""
    return reduce(join, parts) if parts else And(()) if join is and_ else Or(())
