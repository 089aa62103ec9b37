"""Specs: frozen, comparable descriptions of parts that are plain JSON.

A chunker, an analyzer, an index is described by a small validated dataclass with a registered name;
`to_config` writes it into a manifest and `from_config` brings it back. A file can only name what is
registered, never a Python class.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ragkit.errors import InputError
from ragkit.registry import resolve

STRICT = ConfigDict(extra="forbid")


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
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in exc.errors())
