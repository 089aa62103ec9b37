"""Sorting the suffixes of a text, and the plain suffix array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.indexes.kernels.suffixes import suffix_ranges

LIMIT = (1 << 31) - 2
"""Bytes of a text: positions are int32."""


def sort_suffixes(text: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Positions of all suffixes in the order of their bytes, a suffix before what it is a beginning of; int32 (n,).

    text     uint8 (n,)
    raises   InputError for a text of more than `LIMIT` bytes
    cost     O(n log n), a second for 15 MB; 5 n bytes and what the text takes
    """
    from pydivsufsort import divsufsort

    if len(text) > LIMIT:
        raise InputError(f"a text of {len(text):,} bytes is too long for one index of suffixes; cut it in parts of at most {LIMIT:,}")
    if len(text) == 0:
        return np.zeros(0, np.int32)
    return np.asarray(divsufsort(np.require(text, requirements=("C", "W", "O"))), np.int32)  # it wants an array that it could write into


@dataclass(frozen=True)
class SuffixArray:
    """A text and its sorted suffixes: the fastest search, in five bytes a byte.

    text      uint8 (n,)
    suffixes  int32 (n,)
    """

    text: NDArray[np.uint8]
    suffixes: NDArray[np.int32]

    @classmethod
    def build(cls, text: NDArray[np.uint8]) -> SuffixArray:
        """See `sort_suffixes`."""
        made = cls(text, sort_suffixes(text))
        for array in (made.text, made.suffixes):
            array.flags.writeable = False
        return made

    @property
    def reading(self) -> int:
        """See `FMIndex.reading`: locating takes next to nothing."""
        return 0

    def save(self, folder: Path) -> None:
        """Write text.npy and suffixes.npy into an existing folder."""
        save_array(folder / "text.npy", self.text)
        save_array(folder / "suffixes.npy", self.suffixes)

    @classmethod
    def load(cls, folder: Path, length: int) -> SuffixArray:
        """Map what `save` wrote of a text of that many bytes; raises CorruptCollectionError where it can't be right. cost O(length)"""
        text, suffixes = open_array(folder / "text.npy"), open_array(folder / "suffixes.npy")
        typed = text.dtype == np.uint8 and suffixes.dtype == np.int32 and text.shape == suffixes.shape == (length,)
        if typed and (length == 0 or (int(suffixes.min()) >= 0 and int(suffixes.max()) < length)):  # the kernel checks no bounds
            return cls(text, suffixes)
        raise CorruptCollectionError(f"{folder} holds no suffixes of a text of {length} bytes; index again, or restore it from a backup")

    def __len__(self) -> int:
        return len(self.text)

    def find(self, patterns: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See `FMIndex.find`; cost O(length log n) a pattern."""
        lows, highs = np.empty(len(patterns), np.int64), np.empty(len(patterns), np.int64)
        data, starts = end_to_end(patterns)
        suffix_ranges(self.text, self.suffixes, data, starts, lows, highs)
        return lows, highs

    def count(self, patterns: Sequence[bytes]) -> NDArray[np.int64]:
        """See `FMIndex.count`."""
        lows, highs = self.find(patterns)
        return highs - lows

    def locate(self, low: int, high: int) -> NDArray[np.int64]:
        """See `FMIndex.locate`."""
        return self.suffixes[low:high].astype(np.int64)

    def extract(self, start: int, stop: int) -> bytes:
        """See `FMIndex.extract`."""
        return self.text[start:stop].tobytes()


def end_to_end(patterns: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Patterns one behind the other, uint8 (any,), and where each begins, int64 (Q+1,)."""
    starts = np.zeros(len(patterns) + 1, np.int64)
    np.cumsum([len(p) for p in patterns], out=starts[1:])
    return np.frombuffer(b"".join(patterns), np.uint8), starts
