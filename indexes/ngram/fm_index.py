"""The FM-index: a text, compressed, in which every string is counted and found in time that does not grow with the text.

source: Ferragina & Manzini, Opportunistic Data Structures with Applications, FOCS 2000. Counts are kept as `ragkit.indexes.kernels.ranks`
describes, positions as samples by position, so that none is more than a fixed number of steps away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.indexes.kernels.backward import FM, extract, find, locate
from ragkit.indexes.kernels.ranks import NONE, SUPER, fill_ranks, measure_pools
from ragkit.indexes.kernels.suffixes import sample, transform
from ragkit.indexes.ngram.suffixes import end_to_end, sort_suffixes

Preset = Literal["compact", "fast"]


@dataclass(frozen=True)
class Layout:
    """What trades room for speed.

    shift      logarithm of a block's bytes: counting reads half a block
    every      a position in so many is sampled: locating takes half as many steps
    every_row  likewise the row: extracting takes half as many steps more than bytes
    """

    shift: int
    every: int
    every_row: int


LAYOUTS: dict[str, Layout] = {"compact": Layout(11, 64, 128), "fast": Layout(8, 32, 64)}


class FMIndex:
    """An FM-index of a text of n bytes; safe to share between threads.

    The text is not kept beside it: `extract` gives it back.
    """

    def __init__(self, fm: FM) -> None:
        self.fm = fm

    @classmethod
    def build(cls, text: NDArray[np.uint8], preset: Preset = "compact") -> FMIndex:
        """Of a text, uint8 (n,), of at most 2^31 - 2 bytes.

        preset  "compact": a third of a text in a natural language; "fast": half of it, and half the time
        cost    a third more than `sort_suffixes`; 7 n bytes and what the text takes
        """
        if preset not in LAYOUTS:
            raise InputError(f"preset must be one of {', '.join(LAYOUTS)}, got {preset!r}")
        return cls.of_suffixes(text, sort_suffixes(text), LAYOUTS[preset])

    @classmethod
    def of_suffixes(cls, text: NDArray[np.uint8], suffixes: NDArray[np.int32], layout: Layout) -> FMIndex:
        """The same of a text whose suffixes are sorted already."""
        rows = np.empty(len(text), np.uint8)
        whole = transform(text, suffixes, rows) if len(text) else 0
        counts = _counts(rows, layout.shift)
        n_marks = -(-len(text) // layout.every)
        groups = np.zeros((len(text) >> SUPER) + 2, np.int64)
        marks, positions = np.empty(n_marks, np.uint16), np.empty(n_marks, np.uint32)
        sampled = np.empty(-(-len(text) // layout.every_row), np.uint32)
        sample(suffixes, layout.every, layout.every_row, groups, marks, positions, sampled)
        arrays = (*counts, groups, marks, positions, sampled)
        for array in arrays:
            array.flags.writeable = False
        return cls(FM._make((*arrays, layout.shift, whole, layout.every, layout.every_row)))

    def __len__(self) -> int:
        return int(self.fm.firsts[256]) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(a.nbytes for a in self.fm if isinstance(a, np.ndarray))

    def find(self, patterns: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows [low, high) that begin with each pattern, as int64 (Q,) each: `locate` says where they stand in the text.

        An empty pattern stands in all rows, also in that of the empty suffix.
        """
        lows, highs = np.empty(len(patterns), np.int64), np.empty(len(patterns), np.int64)
        data, starts = end_to_end(patterns)
        find(self.fm, data, starts, lows, highs)
        return lows, highs

    def count(self, patterns: Sequence[bytes]) -> NDArray[np.int64]:
        """How often each pattern occurs, int64 (Q,); occurrences that overlap all count."""
        lows, highs = self.find(patterns)
        return highs - lows

    def locate(self, low: int, high: int) -> NDArray[np.int64]:
        """Positions of rows in the text, int64 (high - low,), in the order of the rows."""
        if not 0 <= low <= high <= len(self) + 1:
            raise InputError(f"rows must lie in 0 to {len(self) + 1}, got {low} to {high}")
        out = np.empty(high - low, np.int64)
        locate(self.fm, low, out)
        return out

    def extract(self, start: int, stop: int) -> bytes:
        """The text from start to stop."""
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"the text has {len(self)} bytes, got the range {start} to {stop}")
        out = np.empty(stop - start, np.uint8)
        extract(self.fm, start, out)
        return out.tobytes()


def _counts(rows: NDArray[np.uint8], shift: int) -> tuple[NDArray[Any], ...]:
    """The first nine arrays of `FM`."""
    counts = np.bincount(rows, minlength=256)
    firsts = np.concatenate(([1], 1 + np.cumsum(counts))).astype(np.int64)
    numbers = np.full(256, NONE, np.uint16)
    present = np.flatnonzero(counts)
    numbers[present] = np.arange(len(present))
    n_super = (len(rows) + (1 << SUPER) - 1) >> SUPER
    pools = np.zeros(n_super + 1, np.int64)
    measure_pools(rows, numbers, len(present), shift, pools)
    entries = np.zeros((n_super + 1, len(present), 2), np.uint32)
    pool, blocks = np.zeros(pools[-1], np.uint16), np.empty((n_super << (SUPER - shift)) + 1, np.uint32)
    tokens, plain = np.empty(len(rows), np.uint8), np.zeros(n_super + 1, np.bool_)
    symbols = np.zeros((n_super + 1, 31), np.uint8)
    used = fill_ranks(rows, numbers, len(present), shift, pools, entries, pool, blocks, tokens, plain, symbols)
    return firsts, numbers, entries, pool, pools, blocks, tokens[:used].copy(), plain, symbols
