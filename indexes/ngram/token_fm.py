"""An FM-index over tokens: the tokens of documents as characters, the most frequent in one byte, and backwards.

Characters tell by themselves where they begin (UTF-8), so that whole tokens are found alone; because documents lie backwards, what
follows some tokens is what stands before them, which an FM-index tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.indexes.kernels.characters import SEPARATOR as SEPARATOR_BYTE
from ragkit.indexes.kernels.characters import characters_before, prepend
from ragkit.indexes.ngram.fm_index import FMIndex, Preset
from ragkit.indexes.ngram.grams import Places
from ragkit.indexes.ngram.tokens import SEPARATOR, Following, flat

_UNKNOWN = b"\xfe"
"""A byte of no character: what stands for a token that does not occur."""
_MOST = 0x10FFFF
_BLOCK = 128
_ARRAYS = {"tokens": np.int32, "counts": np.int64, "ends": np.int64, "begun": np.uint32}


@dataclass(frozen=True)
class TokenFM:
    """Tokens of D documents in an FM-index; safe to share between threads. See `TokenSuffixes` for what each call means.

    tokens  int32 (U,)     the different tokens, the most frequent first: character c stands for tokens[c]
    counts  int64 (U,)     how often each occurs
    ends    int64 (D+1,)   bytes from the end of the text to where each document begins; last: to the text's beginning
    begun   uint32 (any,)  characters that begin before every 128th byte

    Places in the text are bytes, and count from its end.
    """

    fm: FMIndex
    tokens: NDArray[np.int32]
    counts: NDArray[np.int64]
    ends: NDArray[np.int64]
    begun: NDArray[np.uint32]

    @classmethod
    def build(cls, documents: Iterable[Sequence[int]], preset: Preset = "compact") -> TokenFM:
        """See `TokenSuffixes.build`; at most 1,114,112 different tokens, and 2 GiB of text in all."""
        return cls.of_ids(*flat(documents), preset)

    @classmethod
    def of_ids(cls, ids: NDArray[np.int32], indptr: NDArray[np.int64], preset: Preset = "compact") -> TokenFM:
        """The same of documents end to end: document d owns ids[indptr[d]:indptr[d + 1]]."""
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= SEPARATOR):
            raise InputError(f"tokens must be from 0 to {SEPARATOR - 1}, got {int(ids.min())} to {int(ids.max())}")
        different, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
        if len(different) > _MOST + 1:
            raise InputError(f"an FM-index takes {_MOST + 1:,} different tokens, got {len(different):,}; use a suffix array")
        order = np.lexsort((different, -counts))
        codes = np.empty(len(order), np.uint32)
        codes[order] = np.arange(len(order), dtype=np.uint32)
        characters = codes[which]
        pieces = [_utf8(characters[a:b][::-1]) for a, b in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)]
        ends = np.cumsum([1, *(len(p) + 1 for p in pieces)]).astype(np.int64)
        separator = bytes([SEPARATOR_BYTE])
        text = np.frombuffer(separator + b"".join(p + separator for p in reversed(pieces)), np.uint8)
        begins = np.cumsum(text & 0xC0 != 0x80)
        begun = np.concatenate(([0], begins[_BLOCK - 1 :: _BLOCK])).astype(np.uint32)
        made = cls(FMIndex.build(text, preset), different[order].astype(np.int32), counts[order].astype(np.int64), ends, begun)
        for array in (made.tokens, made.counts, made.ends, made.begun):
            array.flags.writeable = False
        return made

    def save(self, folder: Path) -> None:
        """Write the FM-index and four arrays into an existing folder."""
        self.fm.save(folder)
        for name in _ARRAYS:
            save_array(folder / f"token_{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, n_documents: int) -> TokenFM:
        """Map what `save` wrote of so many documents; raises CorruptCollectionError where it can't be right."""
        arrays = {name: open_array(folder / f"token_{name}.npy") for name in _ARRAYS}
        typed = all(arrays[name].dtype == kind and arrays[name].ndim == 1 for name, kind in _ARRAYS.items())
        ends = arrays["ends"]
        if typed and len(ends) == n_documents + 1 and ends[0] == 1 and bool((np.diff(ends) > 0).all()):
            size = int(ends[-1])
            if len(arrays["tokens"]) == len(arrays["counts"]) and len(arrays["begun"]) == size // _BLOCK + 1:
                return cls(FMIndex.load(folder, size), **arrays)
        raise CorruptCollectionError(
            f"{folder} holds no FM-index of the tokens of {n_documents} documents; index again, or restore it from a backup"
        )

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.fm.nbytes + sum(a.nbytes for a in (self.tokens, self.counts, self.ends, self.begun))

    @cached_property
    def _codes(self) -> dict[int, bytes]:
        known = {int(token): _utf8(np.array([c], np.uint32)) for c, token in enumerate(self.tokens)}
        return {**known, SEPARATOR: bytes([SEPARATOR_BYTE])}

    def encode(self, pattern: Sequence[int]) -> bytes:
        """A pattern as it stands in the text: its last token first."""
        codes = self._codes
        return b"".join([codes.get(int(token), _UNKNOWN) for token in reversed(pattern)])

    @property
    def n_places(self) -> int:
        """Places in all: bytes of the text, which count from its end."""
        return len(self.fm)

    def sizes_before(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """See `TokenSuffixes.sizes_before`."""
        order = np.argsort(self.tokens)
        codes = order[np.searchsorted(self.tokens, ids, sorter=order)] if len(ids) else np.zeros(0, np.int64)
        return np.concatenate(([0], np.cumsum(1 + (codes >= 1 << 7) + (codes >= 1 << 11) + (codes >= 1 << 16)))).astype(np.int64)

    def places(self, patterns: Sequence[Sequence[int]]) -> Places:
        """Where patterns stand. cost: that of locating all"""
        lows, highs = self.find(patterns)
        sizes = np.array([len(self.encode(p)) for p in patterns], np.int64)
        found = [self.positions(low, high, size) for low, high, size in zip(lows.tolist(), highs.tolist(), sizes.tolist(), strict=True)]
        ends = np.cumsum(highs - lows)
        return Places(np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int32), ends - (highs - lows), ends, sizes)

    def find(self, patterns: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows [low, high) of each pattern, int64 (Q,) each; a token that does not occur is no error. All of an empty one."""
        lows, highs = self.fm.find([self.encode(p) for p in patterns])
        empty = np.array([len(p) == 0 for p in patterns], np.bool_)
        highs[empty] = self._all
        return lows, highs

    @property
    def _all(self) -> int:
        """Tokens and separators."""
        return len(self) + len(self.ends)

    def interval(self, pattern: Sequence[int]) -> tuple[int, int]:
        """`find` of one pattern."""
        lows, highs = self.find([pattern])
        return int(lows[0]), int(highs[0])

    def count(self, patterns: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """See `TokenSuffixes.count`."""
        lows, highs = self.find(patterns)
        counts: NDArray[np.int64] = np.where([len(p) == 0 for p in patterns], len(self), highs - lows)
        return counts

    def positions(self, low: int, high: int, size: int) -> NDArray[np.int64]:
        """Places of rows whose patterns take so many bytes, int64 (high - low,): bytes from the text's end to where each begins."""
        places = len(self.fm) - size - self.fm.locate(low, high)
        if len(places) and int(places.min()) < 0:
            raise CorruptCollectionError("an FM-index leads nowhere: it is not what was written; restore it from a backup, or index again")
        return places

    def locate(self, low: int, high: int, pattern: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(document, token of it at which the pattern begins) of its rows, int64 each. cost: that of locating, and of 128 bytes each"""
        size = len(self.encode(pattern))
        places = self.positions(low, high, size)
        documents = np.searchsorted(self.ends, places, side="right") - 1
        first = np.array([self._begun(len(self.fm) - int(p)) for p in places], np.int64)
        begins = np.array([self._begun(len(self.fm) - int(self.ends[d])) for d in documents], np.int64)
        return documents, begins - first

    def _begun(self, position: int) -> int:
        """Characters that begin before a byte of the text."""
        block = position // _BLOCK
        rest = np.frombuffer(self.fm.extract(block * _BLOCK, position), np.uint8)
        return int(self.begun[block]) + int(np.count_nonzero(rest & 0xC0 != 0x80))

    def longest_ending(self, context: Sequence[int]) -> tuple[int, int, int]:
        """See `TokenSuffixes.longest_ending`. cost O(log length) searches"""
        low, most = 0, len(context)
        step = 1
        best = (0, self._all)
        while low < most:
            length = min(low + step, most)
            found = self.interval(context[len(context) - length :])
            if found[0] >= found[1]:
                most = length - 1
                step = max(1, (most - low) // 2)
                continue
            low, best = length, found
            step = 2 * step if most == len(context) else max(1, (most - low + 1) // 2)
        return low, *best

    def states_after(self, low: int, high: int, depth: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """(tokens, lows, highs): what follows the rows, which have their first `depth` tokens in common, and the rows with it behind."""
        if depth == 0:
            tokens = np.append(self.tokens, np.int32(SEPARATOR))
            lows, highs = self.fm.find([self._codes[int(t)] for t in tokens])
        else:
            tokens, lows, highs = self._before(low, high)
        order = np.argsort(tokens, kind="stable")
        return tokens[order], lows[order], highs[order]

    def _before(self, low: int, high: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        room = min(max(high - low, 1), 1024)
        while True:
            characters, lows, highs = (np.empty(room, np.int64) for _ in range(3))
            n = characters_before(self.fm.fm, low, high, characters, lows, highs)
            if n <= room:
                break
            room = n
        characters = characters[:n]
        if len(characters) and int(characters.max()) >= len(self.tokens):
            raise CorruptCollectionError("an FM-index holds tokens that it does not know; restore it from a backup, or index again")
        tokens = np.append(self.tokens, np.int32(SEPARATOR))[characters]  # the separator is -1, the last
        return tokens, lows[:n], highs[:n]

    def following(self, low: int, high: int, depth: int) -> Following:
        """See `TokenSuffixes.following`."""
        tokens, lows, highs = self.states_after(low, high, depth)
        return Following(tokens, highs - lows)

    def extend(self, low: int, high: int, depth: int, token: int) -> tuple[int, int]:
        """The rows of a pattern with one more token behind it."""
        if depth == 0:
            return self.interval([token])
        data = np.frombuffer(self._codes.get(int(token), _UNKNOWN), np.uint8)
        first, last = prepend(self.fm.fm, data, low, high)
        return int(first), int(last)

    def continued(self, low: int, high: int, depth: int, token: int) -> int:
        """See `TokenSuffixes.continued`."""
        first, last = self.extend(low, high, depth, token)
        return last - first

    def followed(self, low: int, high: int, depth: int) -> int:
        """See `TokenSuffixes.followed`."""
        return high - low - (depth > 0 and low <= self.fm.fm.whole < high)


def _utf8(characters: NDArray[np.uint32]) -> bytes:
    """Characters in UTF-8; surrogates get the bytes that they would have."""
    return characters.tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass")
