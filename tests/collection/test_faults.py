"""Every flush and rename of a commit fails once: afterwards the old or the new version, whole, and writing goes on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ragkit.collection.builder as builder
from ragkit import Collection, Document

OLD = [Document(f"old text number {i}", id=f"old{i}") for i in range(3)]
NEW = [Document(f"new text number {i}", id=f"new{i}") for i in range(3)]


def failing(call: Callable[..., Any], nth: int, counter: list[int]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        counter[0] += 1
        if counter[0] == nth:
            raise OSError(28, "No space left on device")
        return call(*args, **kwargs)

    return wrapped


def failing_after(call: Callable[..., Any], counter: list[int]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        done = call(*args, **kwargs)
        counter[0] += 1
        raise OSError(5, f"Input/output error after {done}")

    return wrapped


def state(folder: Path) -> list[tuple[str, str]]:
    return [(d.id, d.text) for d in Collection.open(folder)]


@pytest.mark.parametrize("operation", ["add", "upsert", "delete"])
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_old_or_new_and_never_a_mix(operation: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)  # so that index parts are written too
    old = [(d.id, d.text) for d in OLD]
    new = {
        "add": old + [(d.id, d.text) for d in NEW],
        "upsert": [*old[1:], ("old0", "replaced")],
        "delete": old[1:],
    }[operation]

    def act(made: Collection) -> None:
        if operation == "add":
            made.add(NEW)
        elif operation == "upsert":
            made.upsert([Document("replaced", id="old0")])
        else:
            made.delete("old0")

    failures = 0
    for nth in range(1, 60):
        made = Collection.create(tmp_path / f"{nth}")
        made.add(OLD)
        counter = [0]
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(getattr(os, name), nth, counter))
            try:
                act(made)
            except OSError:
                failures += 1
        if counter[0] < nth:
            break
        found = state(made.folder)
        assert found in (old, new)
        if found == old:
            act(made)  # the same handle can write again
        else:
            made.refresh()
        assert state(made.folder) == new
        assert sorted(h.id for h in made.search("text number", k=9)) == sorted(i for i, text in new if "text" in text)
    assert failures >= (1 if name == "replace" else 6)


def test_a_failure_right_after_the_swap_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rename happened and then an error is reported: the new version is live and must stay whole."""
    made = Collection.create(tmp_path / "c")
    made.add(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing_after(os.replace, [0]))
        with pytest.raises(OSError, match="Input/output"):
            made.add(NEW)
    assert state(made.folder) == [(d.id, d.text) for d in OLD + NEW]


def test_an_interrupted_create_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for nth in range(1, 9):
        folder = tmp_path / f"{nth}"
        counter = [0]
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync, nth, counter))
            with contextlib.suppress(OSError):
                Collection.create(folder)
        if counter[0] < nth:
            break
        made = Collection.open(folder) if (folder / "CURRENT").exists() else Collection.create(folder)
        made.add(OLD)
        assert state(folder) == [(d.id, d.text) for d in OLD]
    assert nth > 3
