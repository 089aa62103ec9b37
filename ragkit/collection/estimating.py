"""What indexing a corpus will take, from indexing a sample of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

from ragkit.collection.collection import Collection
from ragkit.collection.home import default_indexes
from ragkit.collection.memory import bytes_a_passage, peak_of, resident
from ragkit.collection.sync import walk_roots
from ragkit.errors import InputError, LoadError, MissingDependencyError
from ragkit.loaders import LoadOptions, SourceFile, iter_file, loader_for
from ragkit.progress import Progress, track
from ragkit.protocols import Chunker, IndexSpec
from ragkit.sizes import in_words, parse_size
from ragkit.types import Document

_SAMPLE = 4 << 20
"""Bytes of files that are indexed to learn from."""

_OF_ONE_FILE = 1 << 18
_WARM_UP = 4
"""Files that are indexed before the clock runs: the first compile kernels and load encoders."""

_UNPACKED = 4
"""About how many times as large a compressed file is once it is unpacked."""


@dataclass(frozen=True)
class Estimate:
    """What indexing will take, about: bytes on disk and in memory, and seconds; sampled is the share of the bytes that was indexed."""

    files: int
    bytes: int
    documents: int
    passages: int
    disk: int
    ram: int
    seconds: float
    sampled: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.files} files, {in_words(self.bytes)}: about {self.documents} documents in {self.passages} passages, "
            f"{in_words(self.disk)} on disk, {in_words(self.ram)} of memory, {_duration(self.seconds)} "
            f"(from {100 * self.sampled:.2g} % of it)"
        )


def estimate(
    corpus: str | Path | Sequence[str | Path],
    *,
    indexes: Sequence[IndexSpec] | None = None,
    chunker: Chunker | Literal["auto"] | None = "auto",
    options: LoadOptions | None = None,
    max_ram: int | str | None = None,
    progress: Progress = False,
) -> Estimate:
    """Index a sample of a folder, a file, or several of them, and say what all of it will take. Nothing is kept.

    indexes, chunker  as of `Collection.create`; default as of `ragkit.open`
    options, max_ram  as of `Collection.sync`

    Files are drawn at random, and of large ones only the beginning is read. raises InputError where no file can be read
    """
    roots = [Path(root) for root in ([corpus] if isinstance(corpus, str | Path) else corpus)]
    files = [f for f in walk_roots(roots, False, []) if loader_for(f.path) is not None]
    total = sum(_size(f) for f in files)
    specs = list(indexes) if indexes is not None else default_indexes()
    drawn = Random(7).sample(files, len(files))
    with tempfile.TemporaryDirectory(prefix="ragkit-estimate-") as scratch:
        _index(Path(scratch, "first"), drawn[:_WARM_UP], specs, chunker, options, False)
        start = time.perf_counter()
        made, read = _index(Path(scratch, "sample"), drawn, specs, chunker, options, progress)
        seconds = time.perf_counter() - start
        if not len(made):
            raise InputError(f"{', '.join(map(str, roots))} holds no file that can be read; give a folder of documents")
        share = min(1.0, read / total)
        documents, passages = len(made) / share, made.version.n_passages / share
        text = sum(v.columns.text_size for v in made.version.views) / share
        vectors = bytes_a_passage(specs)
        ram = resident() + peak_of(int(text), int(passages), int(documents), vectors)
        return Estimate(
            files=len(files),
            bytes=sum(f.size for f in files),
            documents=round(documents),
            passages=round(passages),
            disk=round(made.info()["bytes"] / share),
            ram=ram if max_ram is None else min(ram, parse_size(max_ram)),
            seconds=seconds / share,
            sampled=share,
        )


def _index(
    folder: Path,
    files: Sequence[SourceFile],
    indexes: Sequence[IndexSpec],
    chunker: Chunker | Literal["auto"] | None,
    options: LoadOptions | None,
    progress: Progress,
) -> tuple[Collection, float]:
    """A collection of the first of these files, and how many bytes of them are in it."""
    made = Collection.create(folder, indexes=indexes, chunker=chunker)
    taken = 0.0

    def documents() -> Iterator[Document]:
        nonlocal taken
        with track("indexing a sample", min(_SAMPLE, sum(map(_size, files))), progress) as tracker:
            for file in files:
                read = 0
                try:
                    found = iter_file(file, options or LoadOptions(), lambda _: None)
                    for document in islice(found, 100_000):
                        yield document
                        read += len(document.text.encode(errors="replace"))
                        if read >= _OF_ONE_FILE:
                            break
                    else:
                        read = _size(file)
                except (LoadError, MissingDependencyError):
                    read = _size(file)  # it is looked at, and skipped, in the real run too
                taken += min(read, _size(file))
                tracker.advance(min(read, _size(file)))
                if taken >= _SAMPLE:
                    return

    with made._commit(False) as commit:
        for document in documents():
            with suppress(InputError):  # what sync would leave out and report
                commit.upsert(document, on_clash=lambda name, told: None)
    return made, taken


def _size(file: SourceFile) -> int:
    """Bytes of a file once it is unpacked, about."""
    return max(1, file.size * (_UNPACKED if file.path.suffix == ".gz" else 1))


def _duration(seconds: float) -> str:
    """Seconds for people.

    >>> _duration(0.4), _duration(75), _duration(9000)
    ('0.4 s', '75 s', '2.5 hours')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
