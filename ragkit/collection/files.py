"""Durable files: the only place where a collection writes, renames and syncs.

A commit is safe against a power cut only if every new file and every folder that gained a name was
synced before ``CURRENT`` is swapped; having one place for it makes that order testable.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ragkit.errors import CorruptCollectionError


def sync_file(path: Path) -> None:
    """Flush a file's content to the device."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Flush a folder's names to the device."""
    if os.name == "nt":  # Windows has no handle of a folder to flush; its renames are journaled
        return
    sync_file(path)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it; its folder still has to be synced."""
    with open(path, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Put new content under an existing name in one step: readers see the old or the new, whole."""
    temporary = path.with_name(path.name + ".new")
    write_file(temporary, content)
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_tree(folder: Path) -> list[Path]:
    """Flush every file and folder below a folder, and it; returns the files, sorted."""
    files: list[Path] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            sync_file(path)
            files.append(path)
        sync_folder(Path(parent))
    return sorted(files)


def sha256_bytes(content: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def check_size(path: Path, size: int) -> None:
    """Raise CorruptCollectionError unless the file is there with exactly this many bytes."""
    try:
        actual = path.stat().st_size
    except OSError as exc:
        raise CorruptCollectionError(f"{path} is missing or unreadable ({exc.strerror}); restore it from a backup, or index again") from exc
    if actual != size:
        raise CorruptCollectionError(f"{path} has {actual} bytes where {size} were written; restore it from a backup, or index again")


def inside(root: Path, names: Iterable[str]) -> None:
    """Raise CorruptCollectionError if a stored name would lead out of its folder."""
    for name in names:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            raise CorruptCollectionError(
                f"{root}: the manifest names {name!r}, which is outside the collection; do not use this collection"
            )
