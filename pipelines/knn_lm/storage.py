"""Where a datastore lies: a folder whose manifest is swapped in one step, so that a build that is killed leaves what was there before.

    datastore.json     what the store is made of, with a digest of itself: the store is what it says
    writer.lock        of the process that builds
    <16 hex digits>/   the arrays, and the approximate index if there is one; a build writes into a new one of these

What no manifest names is what a killed build left; the next one clears it away.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragkit.collection.files import check_size, make_folder, replace_file, sealed, sync_folder, sync_tree, unsealed
from ragkit.collection.lock import writer_lock
from ragkit.digests import sha256_file
from ragkit.errors import CorruptCollectionError, InputError, UnsupportedVersionError

MANIFEST, KEYS, VALUES, INDEX = "datastore.json", "keys.npy", "values.npy", "ivfpq.faiss"
FORMAT = 1
_OURS = re.compile(r"[0-9a-f]{16}")
_OTHERS = re.compile(r"writer\.(lock|json)|datastore\.json\.new")
_LOCK_SECONDS = 10.0


@contextmanager
def replacing(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(a new folder to write files into, facts to be filled in); at the end both take the place of what was there.

    raises  InputError for a folder of other things, LockedError where another process writes
    """
    _check_free(folder)
    make_folder(folder)
    with writer_lock(folder, _LOCK_SECONDS):
        _clear(folder, _named(folder))
        written = folder / secrets.token_hex(8)
        written.mkdir()
        try:
            facts: dict[str, Any] = {}
            yield written, facts
            files = {p.name: [p.stat().st_size, sha256_file(p)] for p in sync_tree(written)}
            sync_folder(folder)
            content = {"kind": "ragkit token datastore", "format": FORMAT, "folder": written.name, "files": files, **facts}
            replace_file(folder / MANIFEST, sealed(json.dumps(content)))
        except BaseException:
            if _named(folder) != written.name:
                shutil.rmtree(written)
            raise
        _clear(folder, written.name)


def stored(folder: Path, *, check: bool) -> tuple[Path, dict[str, Any]]:
    """(the folder of the files, the facts) of a datastore.

    check   compare the digests of all files; else their sizes alone
    raises  InputError where there is none, CorruptCollectionError where it is damaged, UnsupportedVersionError
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} holds no token datastore; make one with TokenDatastore.build")
    content = _manifest(path)
    if content is None:
        raise CorruptCollectionError(f"{path} is damaged; build the datastore again")
    if content.get("kind") != "ragkit token datastore" or content.get("format") != FORMAT:
        raise UnsupportedVersionError(
            f"{path} is of format {content.get('format')!r}, this version reads {FORMAT}; build the datastore again"
        )
    inner = folder / content["folder"]
    known: dict[str, Any] = content["files"]
    if inner.is_symlink() or not {KEYS, VALUES} <= set(known) <= {KEYS, VALUES, INDEX}:
        raise CorruptCollectionError(f"{path} names other files than a datastore has; do not use it")
    for name, (size, digest) in known.items():
        check_size(inner / name, size)
        if check and sha256_file(inner / name) != digest:
            raise CorruptCollectionError(f"{inner / name} is not what was written; restore it from a backup, or build the datastore again")
    return inner, content


def _manifest(path: Path) -> dict[str, Any] | None:
    """What a manifest says; None where it is damaged, or names a folder that is not inside of its own."""
    words = unsealed(path.read_bytes())
    try:
        content = json.loads(words) if words is not None else None
    except ValueError:
        return None
    if not isinstance(content, dict) or not _OURS.fullmatch(str(content.get("folder"))) or not isinstance(content.get("files"), dict):
        return None
    return content


def _named(folder: Path) -> str | None:
    """The inner folder that the manifest names, if there is a whole one."""
    path = folder / MANIFEST
    content = _manifest(path) if path.is_file() else None
    return None if content is None else str(content["folder"])


def _clear(folder: Path, named: str | None) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name != named and _OURS.fullmatch(path.name):
            shutil.rmtree(path)


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the datastore")
    others = [p.name for p in folder.iterdir() if not _OURS.fullmatch(p.name) and not _OTHERS.fullmatch(p.name)] if folder.is_dir() else []
    if others and MANIFEST not in others:
        raise InputError(f"{folder} holds other files, such as {sorted(others)[0]!r}; give a folder of its own for the datastore")
