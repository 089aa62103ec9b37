"""The FM-index: a text, compressed, in which every string is counted and found in time that does not grow with the text.

source: Ferragina & Manzini, Opportunistic Data Structures with Applications, FOCS 2000. Counts are kept as `ragkit.indexes.kernels.ranks`
describes, positions as samples by position, so that none is more than a fixed number of steps away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.errors import CorruptCollectionError, InputError
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


_ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "firsts": (np.int64, 1), "numbers": (np.uint16, 1), "entries": (np.uint32, 3), "pool": (np.uint16, 1), "pools": (np.int64, 1),
    "blocks": (np.uint32, 1), "tokens": (np.uint8, 1), "plain": (np.bool_, 1), "symbols": (np.uint8, 2), "groups": (np.int64, 1),
    "marks": (np.uint16, 1), "positions": (np.uint32, 1), "rows": (np.uint32, 1),
}  # fmt: skip


class FMIndex:
    """An FM-index of a text of n bytes; safe to share between threads.

    The text is not kept beside it: `extract` gives it back.
    """

    def __init__(self, fm: FM) -> None:
        self.fm = fm

    @classmethod
    def build(cls, text: NDArray[np.uint8], preset: Preset = "compact") -> FMIndex:
        """Of a text, uint8 (n,), of at most 2^31 - 2 bytes.

        preset  "compact": 0.41 bytes a byte of cpp-docs; "fast": 0.71, and about half the time
        cost    about half more than `sort_suffixes`; 7 n bytes and what the text takes
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

    @property
    def reading(self) -> int:
        """Bytes of documents that can be read, folded and searched while one occurrence is located: measured, 20 µs at 45 MB/s."""
        return 16 * self.fm.every

    def save(self, folder: Path) -> None:
        """Write one .npy an array into an existing folder, and one of the numbers."""
        for name, array in self.fm._asdict().items():
            if isinstance(array, np.ndarray):
                save_array(folder / f"{name}.npy", array)
        save_array(folder / "layout.npy", np.array(self.fm[len(_ARRAYS) :], np.int64))

    @classmethod
    def load(cls, folder: Path, length: int) -> FMIndex:
        """Map what `save` wrote of a text of that many bytes; raises CorruptCollectionError where it can't be right."""
        arrays = [open_array(folder / f"{name}.npy") for name in _ARRAYS]
        numbers = open_array(folder / "layout.npy")
        typed = all(a.dtype == kind and a.ndim == n for a, (kind, n) in zip(arrays, _ARRAYS.values(), strict=True))
        if typed and numbers.dtype == np.int64 and numbers.shape == (4,):
            fm = FM._make((*arrays, *numbers.tolist()))
            if _fits(fm, length):
                return cls(fm)
        raise CorruptCollectionError(
            f"{folder} holds files of an FM-index that do not fit together; index again, or restore it from a backup"
        )

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
        if len(out) and out.min() < 0:
            raise CorruptCollectionError("an FM-index leads nowhere: it is not what was written; restore it from a backup, or index again")
        return out

    def extract(self, start: int, stop: int) -> bytes:
        """The text from start to stop."""
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"the text has {len(self)} bytes, got the range {start} to {stop}")
        out = np.zeros(stop - start, np.uint8)
        extract(self.fm, start, out)
        return out.tobytes()


def _counts(rows: NDArray[np.uint8], shift: int) -> tuple[NDArray[Any], ...]:
    """The first nine arrays of `FM`."""
    pieces = range(0, len(rows), 1 << SUPER)  # each is widened to eight bytes a byte
    counts = sum((np.bincount(rows[i : i + (1 << SUPER)], minlength=256) for i in pieces), np.zeros(256, np.int64))
    firsts = np.concatenate(([1], 1 + np.cumsum(counts))).astype(np.int64)
    numbers = np.full(256, NONE, np.uint16)
    present = np.flatnonzero(counts)
    numbers[present] = np.arange(len(present))
    n_super = (len(rows) + (1 << SUPER) - 1) >> SUPER
    pools = np.zeros(n_super + 1, np.int64)
    measure_pools(rows, numbers, len(present), shift, pools)
    entries = np.zeros((n_super + 1, len(present), 2), np.uint32)
    pool, blocks = np.zeros(pools[-1], np.uint16), np.empty((n_super << (SUPER - shift)) + 2, np.uint32)
    tokens, plain = np.empty(len(rows), np.uint8), np.zeros(n_super + 1, np.bool_)
    symbols = np.zeros((n_super + 1, 31), np.uint8)
    used = fill_ranks(rows, numbers, len(present), shift, pools, entries, pool, blocks, tokens, plain, symbols)
    padded = np.zeros(used + (1 << shift), np.uint8)  # a block that is damaged is read to there
    padded[:used] = tokens[:used]
    return firsts, numbers, entries, pool, pools, blocks, padded, plain, symbols


def _fits(fm: FM, length: int) -> bool:
    """Whether all that the kernels go by lies in the arrays: they check no bounds but those of the rows."""
    if not (0 <= fm.shift <= SUPER and 0 <= fm.whole <= length and fm.every > 0 and fm.every_row > 0) or len(fm.firsts) != 257:
        return False
    n_super, block = (length + (1 << SUPER) - 1) >> SUPER, 1 << fm.shift
    present = fm.numbers[fm.numbers != NONE] if len(fm.numbers) == 256 else None
    lengths = (
        (len(fm.pools), n_super + 1), (len(fm.blocks), (n_super << (SUPER - fm.shift)) + 2), (len(fm.plain), n_super + 1),
        (len(fm.groups), (length >> SUPER) + 2), (len(fm.marks), -(-length // fm.every)),
        (len(fm.positions), -(-length // fm.every)), (len(fm.rows), -(-length // fm.every_row)),
    )  # fmt: skip
    if present is None or sorted(present.tolist()) != list(range(len(present))):
        return False
    if fm.entries.shape != (n_super + 1, len(present), 2) or fm.symbols.shape != (n_super + 1, 31):
        return False
    if any(found != wanted for found, wanted in lengths):
        return False
    sizes, offsets = fm.entries[:-1, :, 1] & 255, fm.entries[:-1, :, 1] >> 13
    ends = offsets + np.where(sizes == 255, 1 << (SUPER - fm.shift), sizes)
    return (
        _ascends(fm.firsts, 0, length + 1)
        and int(fm.firsts[256]) == length + 1
        and _ascends(fm.pools, 0, len(fm.pool))
        and bool((ends <= np.diff(fm.pools)[:, None]).all())
        and not fm.entries[-1, :, 1].any()
        and _ascends(fm.blocks, 0, len(fm.tokens) - block)
        and _ascends(fm.groups, 0, len(fm.marks))
        and bool((fm.rows <= length).all())
    )


def _ascends(numbers: NDArray[Any], least: int, most: int) -> bool:
    return len(numbers) == 0 or (int(numbers[0]) >= least and int(numbers[-1]) <= most and bool((numbers[1:] >= numbers[:-1]).all()))
