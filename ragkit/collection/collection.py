"""Collection: documents on disk that can be searched and asked, safe against crashes.

One writer at a time, any number of readers; every call that changes something is one commit.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ragkit.collection.backup import copy_version
from ragkit.collection.checking import CheckReport, check
from ragkit.collection.compaction import CompactReport
from ragkit.collection.export import export
from ragkit.collection.files import make_folder
from ragkit.collection.lock import writer_lock
from ragkit.collection.manifest import INDEX_TEXT, Manifest, is_collection, pointer, publish
from ragkit.collection.memory import NO_LIMIT, SEGMENT_TEXT, Budget
from ragkit.collection.merging import all_of, due
from ragkit.collection.reading import FilterLike, Reading
from ragkit.collection.repairing import RepairReport, repair
from ragkit.collection.retention import drop_orphans
from ragkit.collection.retention import purge as remove_old_versions
from ragkit.collection.schema import Schema
from ragkit.collection.snapshot import Snapshot
from ragkit.collection.workers import NO_WORKERS, Workers
from ragkit.collection.writer import Commit, add_all
from ragkit.errors import CollectionExistsError, CorruptCollectionError, InputError, LockedError
from ragkit.filters import as_filter
from ragkit.named import named_pipeline
from ragkit.progress import Progress, track
from ragkit.protocols import Chunker, IndexSpec
from ragkit.registry import resolve
from ragkit.spec import one_line, to_config
from ragkit.types import Document

if TYPE_CHECKING:
    from ragkit.collection.sync import SyncReport
    from ragkit.loaders import LoadOptions

_log = logging.getLogger(__name__)

DocumentLike = Document | str | Mapping[str, Any]


class Collection(Reading):
    """An open collection; make one with `create` or `open`. Safe to share between threads.

    lock_timeout  seconds that a write waits for another writer
    auto_merge    whether a write merges small segments where there are many, after its commit; `compact` merges all
    """

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        indexes: Sequence[IndexSpec] | None = None,
        chunker: Chunker | Literal["auto"] | None = "auto",
        schema: Mapping[str, str] | None = None,
        index_text: str = INDEX_TEXT,
        pipeline: str | None = None,
    ) -> Self:
        """Make an empty collection in a new or empty folder.

        indexes      specs such as BM25(); default BM25()
        chunker      "auto" cuts by headings where a document has them; None keeps documents whole
        schema       declared metadata types {field: "int" | "float" | "bool" | "str" | "instant" | "list[str]"}
        index_text   template of what is indexed, of {title}, {headings} and {text}
        pipeline     what searches use by default: an index's name or a registered pipeline's; default "hybrid" where
                     there are BM25 and dense indexes and the encoder knows the documents' language, else the first index
        """
        folder = Path(path)
        specs = list(indexes) if indexes is not None else [resolve("indexes", "bm25")()]
        configs = {spec.name: to_config(spec) for spec in specs}
        if not configs or len(configs) != len(specs):
            raise InputError(f"a collection needs at least one index and each kind once, got {[s.name for s in specs]}")
        manifest = _manifest(
            uuid=uuid.uuid4().hex,
            schema=Schema(schema).fields,
            chunker=chunker if chunker is None or isinstance(chunker, str) else to_config(chunker),
            index_text=index_text,
            indexes=configs,
            pipeline=pipeline or "auto",
        )
        named_pipeline(manifest.default_pipeline, configs)
        _refuse_used(folder)
        make_folder(folder.absolute())
        with writer_lock(folder, timeout=10.0):
            _refuse_used(folder)  # again: another process may have been first
            (folder / "segments").mkdir(exist_ok=True)
            (folder / "deletes").mkdir(exist_ok=True)
            publish(folder, manifest)
        return cls(folder)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an existing collection; raises NotACollectionError where there is none."""
        return cls(Path(path))

    def check(self, *, quick: bool = False, progress: Progress = False) -> CheckReport:
        """Whether every file of the live version is what was written, by its sha256; quick: by its size alone.

        For a collection that can't be opened: `ragkit.collection.check`, or ``ragkit check FOLDER``.
        """
        return check(self.folder, quick=quick, progress=progress)

    def snapshot(self, path: str | Path, *, progress: Progress = False) -> Path:
        """Copy the live version into a new folder, as a collection of its own; others may write meanwhile. Returns the folder.

        Every file is verified as it is copied, and the copy becomes a collection in its last step.
        """
        target = Path(path)
        while True:
            version = Snapshot.live(self.folder, self._snapshot)
            try:
                copy_version(version, target, progress=progress)
                return target
            except CorruptCollectionError:
                if pointer(self.folder) == version.pointer:
                    raise  # else a writer has removed a file of that version: begin again with the next

    def export(self, path: str | Path, *, where: FilterLike | None = None, progress: Progress = False) -> int:
        """Write the documents, or those for which a filter holds, to a new .jsonl or .parquet file; returns how many."""
        return export(self._snapshot, Path(path), where=as_filter(where), progress=progress)

    def repair(self, *, progress: Progress = False) -> RepairReport:
        """Make anew what is damaged and can be derived from the documents; see `ragkit.collection.repair`."""
        with self._mutex:
            report = repair(self.folder, lock_timeout=self.lock_timeout, progress=progress)
            self.refresh()
            return report

    # --- writing ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The writer's lock, on the live version; what a writer that died has left behind is cleared away."""
        if not self._mutex.acquire(timeout=self.lock_timeout):
            raise LockedError(f"{self.folder} is being written by another thread of this process; waited {self.lock_timeout:g} s")
        try:
            with writer_lock(self.folder, self.lock_timeout) as owner_died:
                self.refresh()
                for name in ("segments", "deletes"):
                    (self.folder / name).mkdir(exist_ok=True)  # tools that copy folders may leave out empty ones
                if owner_died:
                    drop_orphans(self.folder)
                yield
        finally:
            self._mutex.release()

    @contextmanager
    def _publishing(
        self, progress: Progress, roots: tuple[str, ...] = (), budget: Budget = NO_LIMIT, workers: Workers = NO_WORKERS
    ) -> Iterator[Commit]:
        """A commit on the live version, under the lock; published if the block ends well."""
        commit = Commit(self.folder, self._snapshot, progress, roots, budget, workers)
        try:
            yield commit
            commit.publish()
        except BaseException:
            commit.abandon()
            raise
        self.refresh()

    @contextmanager
    def _commit(
        self, progress: Progress, roots: tuple[str, ...] = (), max_ram: int | str | None = None, workers: int = 0
    ) -> Iterator[Commit]:
        """A commit with all that belongs to it: the lock before, and after it the merging that has become due."""
        with self._writing():
            budget = Budget.of(max_ram)
            with Workers(workers) as started, self._publishing(progress, roots, budget, started) as commit:
                yield commit
            if self.auto_merge:
                self._merge_due(progress, budget)

    def _merge_due(self, progress: Progress, budget: Budget) -> None:
        """Merge what is worth it; what was committed before stays committed, whatever happens here."""
        try:
            while runs := due(self._snapshot.manifest, budget.segment_text):
                merged = sum(map(len, runs))
                with self._publishing(progress) as commit:
                    for run in runs:
                        commit.merge(run)
                _log.info("%s: %d of its segments were merged, it has %d now", self.folder, merged, len(self._snapshot.views))
        except Exception as exc:  # whatever it is: the caller's own commit has been made, and must not seem to have failed
            _log.warning("%s: segments could not be merged (%s: %s); a later commit tries again", self.folder, type(exc).__name__, exc)

    def compact(self, *, purge: bool = False, progress: Progress = False) -> CompactReport:
        """Rewrite the collection in as few segments as possible, without deleted documents, in one commit; says what that saved.

        purge  remove older versions at once, and with them all that was deleted; who still reads one gets SnapshotGone.
               Without it they stay readable for ten minutes
        """
        with self._writing():
            before = self._snapshot.manifest
            if purge:  # first, to make room
                remove_old_versions(self.folder, before.generation)
            with self._publishing(progress) as commit:
                runs = all_of(before, SEGMENT_TEXT)
                with track("merging segments", len(runs), progress) as tracker:
                    for run in runs:
                        commit.merge(run)
                        tracker.advance()
            if purge:
                remove_old_versions(self.folder, self._snapshot.manifest.generation)
            else:
                drop_orphans(self.folder)
            return CompactReport.of(self.folder, before, self._snapshot.manifest)

    def add(
        self,
        documents: Iterable[DocumentLike],
        *,
        vectors: Mapping[str, ArrayLike] | None = None,
        max_ram: int | str | None = None,
        workers: int = 0,
        progress: Progress = False,
    ) -> list[str]:
        """Add new documents in one commit; returns their ids. Raises DuplicateIdError where one is stored.

        documents  any iterable: it is read once, document by document
        vectors    {name: (documents, dim)} for the indexes of vectors that you give yourself: ``Dense(vectors=name)``
        max_ram    most memory that the process is to hold, such as "1GB": segments are kept small enough for it. What an
                   encoder needs for itself comes on top
        workers    processes that build index parts beside this one, which pays from some 100 MB of text on; a script that
                   uses them guards its main part with ``if __name__ == "__main__":``
        """
        return self._write(documents, vectors, max_ram, workers, progress, replace=False)

    def upsert(
        self,
        documents: Iterable[DocumentLike],
        *,
        vectors: Mapping[str, ArrayLike] | None = None,
        max_ram: int | str | None = None,
        workers: int = 0,
        progress: Progress = False,
    ) -> list[str]:
        """Add documents, each in place of the stored one with its id, in one commit; returns their ids. See `add`."""
        return self._write(documents, vectors, max_ram, workers, progress, replace=True)

    def _write(
        self,
        documents: Iterable[DocumentLike],
        vectors: Mapping[str, ArrayLike] | None,
        max_ram: int | str | None,
        workers: int,
        progress: Progress,
        *,
        replace: bool,
    ) -> list[str]:
        if isinstance(documents, str | Mapping | Document):
            raise InputError("give a list of documents, as in add([document]); to index a folder use sync(folder)")
        given = list(map(as_document, documents)) if isinstance(documents, list | tuple) else map(as_document, documents)
        arrays = {name: np.asarray(rows, np.float32) for name, rows in (vectors or {}).items()}
        with self._commit(progress, max_ram=max_ram, workers=workers) as commit:
            add_all(commit, given, arrays, replace=replace)
        return commit.added

    def delete(self, ids: str | Sequence[str] = (), *, where: FilterLike | None = None) -> int:
        """Delete documents by id, or those for which a filter holds, in one commit; returns how many were there."""
        condition = as_filter(where)
        if condition is not None and ids:
            raise InputError("delete takes ids or a filter, and both were given; call it twice")
        if where == {}:  # as filters put together by a program may turn out
            raise InputError("delete was given an empty filter, which every document passes; to delete them all, say where='true'")
        named = [ids] if isinstance(ids, str) else list(ids) if isinstance(ids, Iterable) and not isinstance(ids, Mapping) else None
        if named is None or not all(isinstance(id, str) for id in named):
            raise InputError(f"delete takes ids, which are strings, or a filter as where=…; got {ids!r}")
        with self._commit(False) as commit:
            for id in named if condition is None else [self._snapshot.id_of(*at) for at in self._snapshot.documents(condition)]:
                commit.delete(id)
        return commit.deleted

    def sync(
        self,
        folder: str | Path | Sequence[str | Path],
        *,
        options: LoadOptions | None = None,
        follow_links: bool = False,
        replace: bool = False,
        max_ram: int | str | None = None,
        workers: int = 0,
        progress: Progress = False,
    ) -> SyncReport:
        """Bring the collection in step with a folder, a file, a BEIR folder, or several of them, in one commit.

        Reads only files that are new or changed; drops documents whose file is gone. Files that
        can't be read are reported with the reason, and what was indexed of them before is kept.

        replace  also drop what was indexed from folders that are not named now, or that have lost all their files;
                 without it both raise InputError
        max_ram  see `add`; documents of one file are held together
        workers  processes that read and cut files, and build index parts, beside this one; see `add`
        """
        from ragkit.collection.sync import sync_folders
        from ragkit.loaders import LoadOptions

        roots = [Path(folder)] if isinstance(folder, str | Path) else [Path(f) for f in folder]
        with self._commit(progress, tuple(str(r.resolve()) for r in roots), max_ram, workers) as commit:
            report = sync_folders(commit, roots, options or LoadOptions(), follow_links=follow_links, replace_roots=replace)
        self.last_sync = report
        return report

    def __repr__(self) -> str:
        s = self._snapshot
        return f"Collection({str(self.folder)!r}, documents={s.n_documents}, passages={s.n_passages}, generation={s.manifest.generation})"


def _refuse_used(folder: Path) -> None:
    """Raise CollectionExistsError unless the folder is new, empty, or what a `create` that was interrupted left behind."""
    if is_collection(folder):
        raise CollectionExistsError(f"{folder} holds a collection already; open it with Collection.open, or choose another folder")
    if not folder.exists():
        return
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else {"(a file)"}
    made = {"segments", "deletes", "manifest-00000000.json", "CURRENT.new", "writer.lock", "writer.json"}
    if not names <= made or any(any((folder / n).iterdir()) for n in ("segments", "deletes") if n in names):
        raise CollectionExistsError(f"{folder} is not an empty folder; choose a new one for the collection")


def as_document(given: DocumentLike) -> Document:
    """A Document from what people hand in: itself, a text, or a dict with the customary keys."""
    if isinstance(given, Document):
        return given
    if isinstance(given, str):
        return Document(given)
    if isinstance(given, Mapping):
        from ragkit.loaders.records import document_of

        return document_of(given)
    raise InputError(f"a document is a ragkit.Document, a text or a dict with a 'text', got {type(given).__name__}")


def _manifest(**values: Any) -> Manifest:
    from pydantic import ValidationError

    try:
        return Manifest(**values)
    except ValidationError as exc:
        raise InputError(f"these settings make no collection: {one_line(exc)}") from exc
