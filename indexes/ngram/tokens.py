"""The suffix array over the tokens of documents: every count is exact, and tokens that follow are found in order.

Tokens are int32, so that no vocabulary is too large. Documents lie end to end, each behind a separator that no tokenizer gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import open_array, save_array
from ragkit.errors import CorruptCollectionError, InputError
from ragkit.generation.speculative.draft import Continuations
from ragkit.indexes.kernels.token_suffixes import longest_ending, narrow, next_tokens, token_range, token_ranges
from ragkit.indexes.ngram.grams import Places
from ragkit.indexes.ngram.suffixes import LIMIT, sort_suffixes

_ARRAYS = {"tokens": np.int32, "suffixes": np.int32, "starts": np.int64}
SEPARATOR = (1 << 24) - 1
"""Token in front of each document; the largest that is kept in three bytes while suffixes are sorted."""


@dataclass(frozen=True)
class Following:
    """What follows a text in the corpus.

    tokens  int32 (D,)   ascending, all different; `SEPARATOR` for the end of a document
    counts  int64 (D,)   how often each does
    """

    tokens: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """How often anything follows."""
        return int(self.counts.sum())

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """float64 (D,): shares of the total."""
        return self.counts / max(self.total, 1)


@dataclass(frozen=True)
class TokenSuffixes:
    """Tokens of documents, and their suffixes in order; safe to share between threads.

    tokens    int32 (n,)   `SEPARATOR` in front of each document, and one behind the last
    suffixes  int32 (n,)
    starts    int64 (D,)   where each document's tokens begin
    """

    tokens: NDArray[np.int32]
    suffixes: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def build(cls, documents: Iterable[Sequence[int]]) -> TokenSuffixes:
        """Of documents that are tokens already.

        raises  InputError for a token below 0 or not below `SEPARATOR`, and for more than 2^31 bytes at two a token, or three where
                the vocabulary is larger than 65,535
        cost    that of sorting the bytes of the tokens; 20 bytes a token
        """
        return cls.of_ids(*flat(documents))

    @classmethod
    def of_ids(cls, ids: NDArray[np.int32], indptr: NDArray[np.int64]) -> TokenSuffixes:
        """The same of documents end to end: document d owns ids[indptr[d]:indptr[d + 1]]."""
        largest = int(ids.max()) if len(ids) else 0
        if len(ids) and (int(ids.min()) < 0 or largest >= SEPARATOR):
            raise InputError(f"tokens must be from 0 to {SEPARATOR - 1}, got {int(ids.min())} to {largest}")
        starts = indptr[:-1] + np.arange(1, len(indptr))
        tokens = np.full(len(ids) + len(indptr), SEPARATOR, np.int32)
        tokens[np.arange(len(ids)) + np.repeat(starts - indptr[:-1], np.diff(indptr))] = ids
        made = cls(tokens, _sorted(tokens, largest), starts)
        for array in (made.tokens, made.suffixes, made.starts):
            array.flags.writeable = False
        return made

    def save(self, folder: Path) -> None:
        """Write tokens.npy, suffixes.npy and starts.npy into an existing folder."""
        for name, kind in _ARRAYS.items():
            save_array(folder / f"{name}.npy", getattr(self, name).astype(kind, copy=False))

    @classmethod
    def load(cls, folder: Path, n_documents: int) -> TokenSuffixes:
        """Map what `save` wrote of so many documents; raises CorruptCollectionError where it can't be right. cost O(tokens)"""
        arrays = {name: open_array(folder / f"{name}.npy") for name in _ARRAYS}
        typed = all(arrays[name].dtype == kind and arrays[name].ndim == 1 for name, kind in _ARRAYS.items())
        made = cls(**arrays) if typed else None
        if made is None or not made._fits(n_documents):
            raise CorruptCollectionError(
                f"{folder} holds no suffixes of the tokens of {n_documents} documents; index again, or restore it from a backup"
            )
        return made

    def _fits(self, n_documents: int) -> bool:
        """Whether every suffix and document lies in the tokens: the kernels check no bounds."""
        n = len(self.tokens)
        if len(self.suffixes) != n or len(self.starts) != n_documents or n < n_documents + 1:
            return False
        if int(self.suffixes.min()) < 0 or int(self.suffixes.max()) >= n:
            return False
        return n_documents == 0 or (self.starts[0] == 1 and int(self.starts[-1]) < n and bool((np.diff(self.starts) > 0).all()))

    def __len__(self) -> int:
        """Tokens, separators left out."""
        return len(self.tokens) - len(self.starts) - 1

    @property
    def n_places(self) -> int:
        """Places in all; a token takes one, and so does what separates documents."""
        return len(self.tokens)

    def sizes_before(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Places that the first tokens of `of_ids` take, int64 (T+1,); what separates documents comes on top."""
        return np.arange(len(ids) + 1)

    def places(self, patterns: Sequence[Sequence[int]]) -> Places:
        """Where patterns stand."""
        return Places(self.suffixes, *self.find(patterns), np.array([len(p) for p in patterns], np.int64))

    def find(self, patterns: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The suffixes [low, high) that begin with each pattern, int64 (Q,) each; a token that does not occur is no error.

        An empty pattern is in front of every suffix.
        """
        starts = np.zeros(len(patterns) + 1, np.int64)
        np.cumsum([len(p) for p in patterns], out=starts[1:])
        data = np.concatenate([np.zeros(0, np.int32), *map(_as_tokens, patterns)])
        lows, highs = np.empty(len(patterns), np.int64), np.empty(len(patterns), np.int64)
        token_ranges(self.tokens, self.suffixes, data, starts, lows, highs)
        return lows, highs

    def interval(self, pattern: Sequence[int]) -> tuple[int, int]:
        """`find` of one pattern."""
        low, high = token_range(self.tokens, self.suffixes, _as_tokens(pattern))
        return int(low), int(high)

    def count(self, patterns: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """How often each pattern occurs, int64 (Q,); of an empty one the number of tokens. Occurrences that overlap all count."""
        lows, highs = self.find(patterns)
        counts: NDArray[np.int64] = np.where([len(p) == 0 for p in patterns], len(self), highs - lows)
        return counts

    def locate(self, low: int, high: int, pattern: Sequence[int] = ()) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(document, place in it) of the suffixes low to high - 1, which begin with the pattern, int64 each."""
        positions = self.suffixes[low:high].astype(np.int64)
        documents = np.searchsorted(self.starts, positions, side="right") - 1
        return documents, positions - self.starts[documents]

    def longest_ending(self, context: Sequence[int]) -> tuple[int, int, int]:
        """The longest end of a context that occurs: its length, and its suffixes [low, high); length 0 where none does."""
        out = np.empty(3, np.int64)
        longest_ending(self.tokens, self.suffixes, _as_tokens(context), out)
        length, low, high = out.tolist()
        return length, low, high

    def following(self, low: int, high: int, depth: int) -> Following:
        """What follows the suffixes low to high - 1, which have their first `depth` tokens in common. cost O(different log(high - low))"""
        room = min(high - low, 1024)
        while True:
            tokens, counts = np.empty(room, np.int32), np.empty(room, np.int64)
            n = next_tokens(self.tokens, self.suffixes, low, high, depth, tokens, counts)
            if n <= room:
                break
            room = n
        tokens, counts = tokens[:n], counts[:n]
        real = tokens >= 0  # the separator behind the last document is followed by nothing
        return Following(tokens[real], counts[real])

    def following_rows(self, rows: NDArray[np.int64], depth: int) -> Following:
        """The same of some suffixes alone, which need not lie side by side."""
        positions = self.suffixes[rows].astype(np.int64) + depth
        tokens, counts = np.unique(self.tokens[positions[positions < len(self.tokens)]], return_counts=True)
        return Following(tokens, counts.astype(np.int64))

    def continuations(self, context: Sequence[int], *, most: int, length: int) -> Continuations:
        """What stands behind the longest end of a context that occurs, of at most so many occurrences, spread evenly over all."""
        matched, low, high = self.longest_ending(context)
        if not matched:
            return Continuations(0, np.zeros((0, length), np.int32), np.zeros(0, np.int64))
        n = min(most, high - low)
        places = self.suffixes[low + (np.arange(n) * (high - low)) // n].astype(np.int64) + matched
        grid = places[:, None] + np.arange(length)
        tokens = self.tokens[np.minimum(grid, len(self.tokens) - 1)]
        tokens[np.logical_or.accumulate(tokens == SEPARATOR, axis=1)] = -1
        return Continuations(matched, tokens, places)

    def states_after(self, low: int, high: int, depth: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """(tokens, lows, highs): what follows the suffixes, as `following` has it, and the suffixes with each behind; ascending."""
        found = self.following(low, high, depth)
        unfollowed = high - low - found.total  # those that end with the corpus come first
        highs = low + unfollowed + np.cumsum(found.counts)
        return found.tokens, highs - found.counts, highs

    def extend(self, low: int, high: int, depth: int, token: int) -> tuple[int, int]:
        """The suffixes of a pattern with one more token behind it."""
        first, last = narrow(self.tokens, self.suffixes, low, high, depth, token)
        return int(first), int(last)

    def continued(self, low: int, high: int, depth: int, token: int) -> int:
        """How many of the suffixes low to high - 1, which have `depth` tokens in common, go on with a token."""
        first, last = self.extend(low, high, depth, token)
        return last - first

    def followed(self, low: int, high: int, depth: int) -> int:
        """How many of them go on at all: all but one that ends with the corpus."""
        return high - low - (low < high and int(self.suffixes[low]) + depth == len(self.tokens))


def flat(documents: Iterable[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Documents end to end: tokens int32 (T,), and where each begins, int64 (D+1,)."""
    rows = [_as_tokens(d) for d in documents]
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int32), *rows]), indptr


def _as_tokens(tokens: Sequence[int]) -> NDArray[np.int32]:
    """Numbers as int32; raises InputError for one that does not fit."""
    found = np.asarray(tokens)
    if len(found) and (found.dtype.kind not in "iu" or int(found.max()) > np.iinfo(np.int32).max or int(found.min()) < -1):
        raise InputError(f"tokens must be whole numbers from 0 to {SEPARATOR - 1}, got {found[:5].tolist()}")
    return found.astype(np.int32)


def _sorted(tokens: NDArray[np.int32], largest: int) -> NDArray[np.int32]:
    """Positions of the suffixes in order: bytes are sorted, the high one first, and of those the first bytes of tokens are kept."""
    width = 2 if largest < (1 << 16) - 1 else 3
    if len(tokens) * width > LIMIT:
        raise InputError(f"{len(tokens):,} tokens are too many for one index of suffixes; cut them in parts of at most {LIMIT // width:,}")
    data = np.empty((len(tokens), width), np.uint8)
    for i in range(width):
        data[:, i] = tokens >> (8 * (width - 1 - i)) & 255
    by_bytes = sort_suffixes(data.reshape(-1))
    first: NDArray[np.int32] = by_bytes[by_bytes % width == 0] // np.int32(width)
    return first
