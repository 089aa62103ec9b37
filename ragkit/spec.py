"""Specs: frozen, comparable descriptions of parts that are plain JSON.

A chunker, an analyzer, an index is described by a small validated dataclass with a registered name;
`to_config` writes it into a manifest and `from_config` brings it back. A file can only name what is
registered, never a Python class.
"""

from __future__ import annotations

import dataclasses
from functools import wraps
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ragkit.errors import InputError
from ragkit.registry import resolve

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(Field, dataclasses.field))
def validated(cls: type[_Class]) -> type[_Class]:
    """Make a class a frozen dataclass whose arguments are checked.

    An argument that is unknown or does not fit raises InputError, in one sentence that names it.
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))(cls)
    check = made.__init__

    @wraps(check)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            check(self, *args, **kwargs)
        except ValidationError as exc:
            raise InputError(f"{cls.__name__}: {one_line(exc)}") from exc

    made.__init__ = __init__
    return made  # type: ignore[no-any-return]  # the class itself, as a dataclass


def to_config(spec: Any) -> dict[str, Any]:
    """{"type": registered name, …arguments} of a spec, as plain JSON."""
    return {"type": spec.name, **TypeAdapter(type(spec)).dump_python(spec, mode="json")}


def from_config(family: str, config: dict[str, Any]) -> Any:
    """The spec that `to_config` wrote; raises InputError naming the field that does not fit."""
    kind = config.get("type")
    if not isinstance(kind, str):
        raise InputError(f"a {family} config names its part under 'type', got {config!r}")
    try:
        return TypeAdapter(resolve(family, kind)).validate_python({k: v for k, v in config.items() if k != "type"})
    except ValidationError as exc:
        raise InputError(f"{family} {kind!r}: {one_line(exc)}") from exc


def one_line(exc: ValidationError) -> str:
    """What pydantic found, in one sentence that names the fields."""
    found = ((".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in exc.errors())
    return "; ".join(f"{where}: {what}" if where else what for where, what in found)
