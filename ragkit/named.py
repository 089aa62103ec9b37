"""Pipelines by name: an index's own name means its retriever, other names are those of the registry."""

from __future__ import annotations

from collections.abc import Collection

from ragkit.errors import UnknownNameError
from ragkit.registry import names, resolve
from ragkit.stage import Retrieve, Stage


def named_pipeline(name: str, indexes: Collection[str]) -> Stage:
    """The stage that a name stands for, among the given indexes; raises UnknownNameError naming those that are known."""
    if name in indexes:
        return Retrieve(name)
    if name in names("pipelines"):
        made: Stage = resolve("pipelines", name)()
        return made
    raise UnknownNameError.near("index or pipeline", name, [*indexes, *names("pipelines")])
