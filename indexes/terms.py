"""Terms of a lexical index: a sorted vocabulary on disk, and the language that its words are read in."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ragkit.collection.files import open_batch, save_batch
from ragkit.errors import CorruptCollectionError
from ragkit.indexes.kernels.postings import find_bytes
from ragkit.text import detect

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns

_SAMPLE = 500
"""Passages that decide the language of a collection."""
_SCHEMA = pa.schema([pa.field("term", pa.large_string())])
_FILE = "terms.arrow"


class Terms:
    """A sorted vocabulary in an Arrow column, searched in place."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        self.column = column
        _, offsets, data = column.buffers()
        self._offsets = np.frombuffer(offsets, np.int64)[: len(column) + 1] if len(column) else np.zeros(1, np.int64)
        self._data = np.frombuffer(data or b"", np.uint8)

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, at: int) -> str:
        return str(self.column[at].as_py())

    def find(self, term: str) -> int:
        """Number of a term, -1 where it is not in the vocabulary."""
        return int(find_bytes(np.frombuffer(term.encode(errors="surrogatepass"), np.uint8), self._data, self._offsets))

    def save(self, folder: Path) -> None:
        """Write terms.arrow."""
        save_batch(folder / _FILE, pa.RecordBatch.from_pydict({"term": self.column}))

    @classmethod
    def load(cls, folder: Path) -> Terms:
        """Map what `save` wrote; raises CorruptCollectionError where it holds something else."""
        batch = open_batch(folder / _FILE)
        if batch.schema != _SCHEMA:
            raise CorruptCollectionError(f"{folder / _FILE} holds no terms; index again, or restore it from a backup")
        return cls(batch.column(0))


def language_of(columns: SegmentColumns) -> str:
    """The language of the first passages, as an `Analyzer` names it."""
    return detect(list(islice(columns.index_texts(), _SAMPLE)))
