"""What the index of exact strings holds of one segment: documents end to end in shards, each with a structure that finds strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.collection.segment import SegmentColumns
from ragkit.errors import CorruptCollectionError
from ragkit.indexes.ngram.documents import Documents, documents_at
from ragkit.indexes.ngram.fm_index import FMIndex, Preset
from ragkit.indexes.ngram.suffixes import LIMIT, SuffixArray
from ragkit.text.folding import Folding, occurrences

Structure = Literal["fm", "suffix-array"]
OFFSET_BITS = 32
"""Places in a segment are numbers: the document's row, and in as many bits the byte in its folded text."""


class Strings(Protocol):
    """A structure that finds strings in one text: `FMIndex`, `SuffixArray`.

    reading  to locate one occurrence takes as long as to read so many bytes of documents; 0: next to nothing
    """

    @property
    def reading(self) -> int: ...
    def __len__(self) -> int: ...
    def find(self, patterns: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
    def locate(self, low: int, high: int) -> NDArray[np.int64]: ...
    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Shard:
    """Documents that follow one another, the first of them a row of the segment; starts int64 (D+1,) as of `Documents`."""

    first: int
    starts: NDArray[np.int64]
    strings: Strings

    def places(self, low: int, high: int) -> NDArray[np.int64]:
        """Ascending places of the structure's rows low to high - 1."""
        documents, offsets = documents_at(self.starts, np.sort(self.strings.locate(low, high)))
        return (documents + self.first << OFFSET_BITS) | offsets


@dataclass(frozen=True)
class TextPart:
    """The strings of a segment's documents.

    columns, folding           the documents, and what counts as the same text
    begins, ends  int64 (P,)   places where each passage begins and ends
    """

    columns: SegmentColumns
    folding: Folding
    shards: tuple[Shard, ...]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def build(
        cls,
        columns: SegmentColumns,
        folding: Folding,
        structure: Structure,
        preset: Preset,
        advance: Callable[[], None] = lambda: None,
        limit: int = LIMIT,
    ) -> TextPart:
        """Of a segment; advance is called for each document, limit is the most bytes of a shard, unless one document is larger."""
        begins, ends = (np.zeros(columns.n_passages, np.int64) for _ in range(2))
        rows = np.searchsorted(columns.document_of, np.arange(columns.n_documents + 1))
        shards: list[Shard] = []
        held: list[bytes] = []
        size = 0

        def close(after: int) -> None:
            nonlocal size
            if held:
                documents = Documents.of_bytes(held)
                strings = FMIndex.build(documents.text, preset) if structure == "fm" else SuffixArray.build(documents.text)
                shards.append(Shard(after - len(held), documents.starts, strings))
                held.clear()
                size = 0

        for row, text in enumerate(columns.texts()):
            data = folding.encode(text)
            if size + len(data) >= limit:
                close(row)
            held.append(data)
            size += len(data) + 1
            mine = slice(rows[row], rows[row + 1])
            begins[mine], ends[mine] = _borders(columns, mine, text, len(data), folding) + (row << OFFSET_BITS)
            advance()
        close(columns.n_documents)
        return cls(columns, folding, tuple(shards), begins, ends)

    def save(self, folder: Path) -> None:
        """Write the passages' places, and each shard into a folder of its own."""
        save_array(folder / "passages.npy", np.stack((self.begins, self.ends)))
        save_array(folder / "shards.npy", np.array([s.first for s in self.shards], np.int64))
        for n, shard in enumerate(self.shards):
            (folder / str(n)).mkdir()
            save_array(folder / str(n) / "starts.npy", shard.starts)
            shard.strings.save(folder / str(n))

    @classmethod
    def load(cls, folder: Path, columns: SegmentColumns, folding: Folding, structure: Structure) -> TextPart:
        """Map what `save` wrote; raises CorruptCollectionError where it can't be right."""
        passages, firsts = open_array(folder / "passages.npy"), open_array(folder / "shards.npy")
        if passages.dtype == np.int64 and passages.shape == (2, columns.n_passages) and firsts.dtype == np.int64 and firsts.ndim == 1:
            cuts = [*firsts.tolist(), columns.n_documents]
            shards = [_shard(folder / str(n), first, stop, structure) for n, (first, stop) in enumerate(pairwise(cuts))]
            if sum(len(s.starts) - 1 for s in shards) == columns.n_documents:
                return cls(columns, folding, tuple(shards), passages[0], passages[1])
        raise CorruptCollectionError(
            f"{folder} holds no strings of {columns.n_documents} documents; index again, or restore it from a backup"
        )

    def count(self, patterns: Sequence[bytes]) -> NDArray[np.int64]:
        """How often each pattern stands in the documents, int64 (Q,)."""
        found = np.zeros(len(patterns), np.int64)
        for shard in self.shards:
            lows, highs = shard.strings.find(patterns)
            found += highs - lows
        return found

    def find(self, patterns: Sequence[bytes]) -> list[NDArray[np.int64]]:
        """Where each pattern stands: ascending places, int64 (any,) a pattern.

        cost  that of locating all occurrences, or of reading all documents where that is less
        """
        found: list[list[NDArray[np.int64]]] = [[np.zeros(0, np.int64)] for _ in patterns]
        for shard in self.shards:
            lows, highs = shard.strings.find(patterns)
            for pattern, places, low, high in zip(patterns, found, lows.tolist(), highs.tolist(), strict=True):
                if (high - low) * shard.strings.reading > len(shard.strings):
                    places.append(self._read(shard, pattern))
                elif low < high:
                    places.append(shard.places(low, high))
        return [np.concatenate(places) for places in found]

    def _read(self, shard: Shard, pattern: bytes) -> NDArray[np.int64]:
        """Places in a shard, by reading its documents."""
        rows = range(shard.first, shard.first + len(shard.starts) - 1)
        texts = ((row, self.folding.encode(self.columns.document_text(row))) for row in rows)
        return np.fromiter(((row << OFFSET_BITS) | at for row, data in texts for at in occurrences(data, pattern)), np.int64)

    def passages_at(self, places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Rows of the passages in which texts of that length at these places lie, wholly or in part; int64 (any,), once for each."""
        reach = np.maximum.accumulate(self.ends) if len(self.ends) else self.ends  # passages may overlap, not be out of order
        firsts = np.searchsorted(reach, places, side="right")
        sizes = np.maximum(np.searchsorted(self.begins, places + length) - firsts, 0)
        of = np.repeat(np.arange(len(places)), sizes)
        rows = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes) + firsts[of]
        there: NDArray[np.int64] = rows[(self.ends[rows] > places[of]) & (self.begins[rows] < places[of] + length)]
        return there


def _borders(columns: SegmentColumns, rows: slice, text: str, size: int, folding: Folding) -> NDArray[np.int64]:
    """(2, rows): where a document's passages begin and end in its folded text of so many bytes."""
    offsets = np.stack((columns.starts[rows], columns.ends[rows]))
    if offsets.shape[1] == 1 and offsets[0, 0] == 0 and offsets[1, 0] == len(text):
        return np.array([[0], [size]], np.int64)
    return folding.borders(text, offsets)


def _shard(folder: Path, first: int, stop: int, structure: Structure) -> Shard:
    starts = open_array(folder / "starts.npy")
    if starts.dtype != np.int64 or starts.shape != (stop - first + 1,) or starts[0] != 0 or not bool((np.diff(starts) > 0).all()):
        raise CorruptCollectionError(
            f"{folder} does not say where {stop - first} documents begin; index again, or restore it from a backup"
        )
    size = int(starts[-1])
    return Shard(first, starts, FMIndex.load(folder, size) if structure == "fm" else SuffixArray.load(folder, size))
