"""A backup of one version while others write: a collection of its own, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ragkit.collection.files import NewFile, make_folder, sync_folder, sync_tree
from ragkit.collection.manifest import FileEntry, point_to
from ragkit.collection.snapshot import Snapshot
from ragkit.errors import CollectionExistsError, CorruptCollectionError, InputError
from ragkit.progress import Progress, track

_BLOCK = 1 << 22


def copy_version(snapshot: Snapshot, target: Path, *, progress: Progress = False) -> None:
    """Copy a version's files, verify each by its sha256, and make it the live version of a new collection.

    The copy is made in a folder beside the target, ``.NAME.copying``, which an interrupted one leaves behind and the next removes.

    raises CorruptCollectionError naming a file that is damaged, or that a writer has removed in the meantime
    """
    source, manifest = snapshot.folder, snapshot.manifest
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CollectionExistsError(f"{target} is taken; name a new folder for the copy")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target} is inside the collection itself; name a folder outside of {source}")
    whole, target = target.absolute(), target.absolute().with_name(f".{target.name}.copying")
    if target.exists():
        shutil.rmtree(target)
    make_folder(target)
    for name in ("segments", "deletes"):
        (target / name).mkdir(exist_ok=True)
    with track("copying bytes", sum(f.size for f in manifest.files.values()), progress) as tracker:
        for name, entry in manifest.files.items():
            _copy(source / name, target / name, entry)
            tracker.advance(entry.size)
    for entry_of in manifest.segments:  # a segment without vectors or index parts has folders without files
        (target / "segments" / entry_of.id).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / manifest.name, target / manifest.name)
    content = (target / manifest.name).read_bytes()
    if (found := f"{manifest.name} {hashlib.sha256(content).hexdigest()}") != snapshot.pointer:
        raise CorruptCollectionError(f"{source / manifest.name} was altered: CURRENT named it as {snapshot.pointer}, it is {found}")
    sync_tree(target)
    point_to(target, manifest.name, content)
    if whole.exists():
        whole.rmdir()
    os.rename(target, whole)
    sync_folder(whole.parent)


def _copy(source: Path, target: Path, entry: FileEntry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        with open(source, "rb") as read, NewFile(target) as written:
            while block := read.read(_BLOCK):
                digest.update(block)
                written.write(block)
    except FileNotFoundError as exc:
        raise CorruptCollectionError(f"{source} is missing; call refresh() if a writer has replaced that version, else restore it") from exc
    if digest.hexdigest() != entry.sha256:
        raise CorruptCollectionError(f"{source} was altered, and was not copied; run `ragkit check` to see what is damaged")
