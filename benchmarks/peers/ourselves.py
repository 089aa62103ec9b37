"""ragkit behind the interface of its peers: a collection on disk, made and synced as a user would."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.peers import Found, K
from ragkit import BM25, Collection, Dense, encoder
from ragkit.protocols import IndexSpec


class Ourselves:
    """A collection in a scratch folder, which lives as long as this object.

    encoder_seconds   loading the encoder, with its conversion where `RAGKIT_HOME` does not hold it yet
    """

    def __init__(self, folder: Path, dense: bool) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        start = time.perf_counter()
        indexes: list[IndexSpec] = [BM25()]
        if dense:
            encoder()
            indexes.append(Dense())
        self.encoder_seconds = time.perf_counter() - start
        self._collection = Collection.create(Path(self._scratch.name, "c.rag"), indexes=indexes)
        self._collection.sync(folder)

    def search(self, question: str, using: str) -> list[Found]:
        hits = self._collection.search(question, k=K, using=using)
        found = [h.passage for h in hits]
        return [Found(p.document, "\n".join((p.title, " › ".join(p.path[1:]), p.text)).strip()) for p in found]

    def passages(self) -> list[str]:
        return [text for view in self._collection.version.views for text in view.columns.index_texts()]

    def bytes_on_disk(self) -> int:
        """Size of the collection's files."""
        return sum(f.stat().st_size for f in Path(self._scratch.name).rglob("*") if f.is_file())


def index(folder: Path, model: Path | None) -> Ourselves:
    """See `benchmarks.peers`; the model is ragkit's default one, wherever it lies."""
    return Ourselves(folder, model is not None)
