"""Filters: one kind of condition on metadata in three written forms (Python, text, dicts)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragkit.errors import InputError
from ragkit.filters.dicts import from_haystack, from_llama_index, from_mongo, to_mongo
from ragkit.filters.expression import And, Compare, F, Field, Filter, Not, Or
from ragkit.filters.grammar import parse

__all__ = [
    "And", "Compare", "F", "Field", "Filter", "Not", "Or",
    "as_filter", "from_haystack", "from_llama_index", "from_mongo", "parse", "to_mongo",
]  # fmt: skip


def as_filter(where: Filter | str | Mapping[str, Any] | None) -> Filter | None:
    """A filter from any of its forms: an expression of `F`, a text, or a dict in MongoDB's form."""
    if where is None or isinstance(where, Filter):
        return where
    if isinstance(where, str):
        return parse(where)
    if isinstance(where, Mapping):
        return from_mongo(where)
    raise InputError(f"a filter is F.year >= 2020, a text or a dict, got {type(where).__name__}")
