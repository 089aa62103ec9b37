"""Where `ragkit.open` keeps the collection of a folder: ``$RAGKIT_HOME/collections/<hash of the path>``."""

from __future__ import annotations

import logging
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from ragkit.collection.collection import Collection
from ragkit.collection.lock import writer_lock
from ragkit.collection.manifest import is_collection, live
from ragkit.encoders import default_is_there
from ragkit.errors import CollectionExistsError, InputError, LockedError, RagkitError
from ragkit.home import home
from ragkit.progress import Progress
from ragkit.protocols import IndexSpec
from ragkit.registry import resolve

_log = logging.getLogger(__name__)


def open_folder(path: str | Path, *, collection: str | Path | None = None, progress: Progress = False) -> Collection:
    """Open a collection, or index a folder of documents and keep it in step.

    path        a collection, or a folder or file of documents: that is indexed on first use and synced after
    collection  where the index of a documents folder is kept; default under ``$RAGKIT_HOME``
    """
    source = Path(path)
    if is_collection(source):
        if collection is not None:
            raise InputError(f"{source} is a collection itself; leave out collection={str(collection)!r}")
        return Collection.open(source)
    if not source.exists():
        raise InputError(f"{source} does not exist; give a folder of documents, a file, or a collection")
    kept = Path(collection) if collection is not None else home() / "collections" / sha256(str(source.resolve()).encode()).hexdigest()[:16]
    try:
        opened = open_or_create(kept, indexes=None if is_collection(kept) else default_indexes())
    except OSError as exc:
        if isinstance(exc, RagkitError):
            raise
        raise InputError(
            f"{kept} can't be made or written ({exc.strerror}); set RAGKIT_HOME to a folder that you may write, or name one"
        ) from exc
    opened.sync(source, progress=progress)
    return opened


def default_indexes() -> list[IndexSpec]:
    """What documents are indexed with unless somebody chooses: BM25, and dense where the default encoder is there."""
    chosen: list[IndexSpec] = [resolve("indexes", "bm25")()]
    if default_is_there():
        chosen.append(resolve("indexes", "dense")())
    else:
        _log.warning("indexing with BM25 alone; for dense and hybrid search: pip install 'ragkit[minilm]'")
    return chosen


def open_or_create(path: str | Path, **settings: Any) -> Collection:
    """The collection at a path, made with these settings (see `Collection.create`) if there is none yet."""
    if is_collection(Path(path)):
        return Collection.open(path)
    try:
        return Collection.create(path, **settings)
    except CollectionExistsError:
        if not is_collection(Path(path)):
            raise
        return Collection.open(path)  # another process made it in between


def remove_if_empty(collection: Collection) -> bool:
    """Remove a collection that holds no documents and no finished work; False, and nothing is touched, if it does or is being written."""
    try:
        with writer_lock(collection.folder, timeout=0):
            if live(collection.folder).segments or (collection.folder / "staging").exists():
                return False
            shutil.rmtree(collection.folder)
            return True
    except LockedError:
        return False
