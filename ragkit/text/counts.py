"""Counts: the terms of many texts as flat arrays, which is what an inverted index is built from.

Analysis dominates the time of indexing, so each distinct word is analysed once and every further
occurrence costs one dictionary look-up.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ragkit.text.analyzer import Analyzer, TermMapper

_BLOCK = 1 << 20  # words held as Python integers before they become an array


@dataclass(frozen=True, eq=False)
class Counts:
    """The terms of N texts.

    terms    V distinct terms, in the order in which they were first seen
    ids      int32 (T,)      one per term occurrence, in text order: terms[ids[t]]
    indptr   int64 (N + 1,)  text n owns ids[indptr[n]:indptr[n + 1]]
    """

    terms: list[str]
    ids: NDArray[np.int32]
    indptr: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Terms in each text, stop words not counted: int64 (N,)."""
        return np.diff(self.indptr)


def count(texts: Iterable[str], analyzer: Analyzer) -> Counts:
    """Analyse texts and number their terms.

    >>> got = count(["a cat", "", "cats and dogs"], Analyzer())
    >>> got.terms, got.ids.tolist(), got.indptr.tolist()
    (['cat', 'dog'], [0, 0, 1], [0, 1, 1, 3])
    """
    memo = _IdMemo(analyzer.open())
    blocks = list(_blocks(texts, analyzer, memo))
    empty = np.zeros(0, np.int32)
    ids = np.concatenate([empty, *(b[0] for b in blocks)])
    lengths = np.concatenate([empty, *(b[1] for b in blocks)])
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return Counts(list(memo.vocabulary), ids, indptr)


def _blocks(texts: Iterable[str], analyzer: Analyzer, memo: _IdMemo) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """(ids, lengths of the texts) of a block of texts at a time."""
    get, split, several = memo.__getitem__, analyzer.words, analyzer.identifiers
    raw, ends = array("i"), array("q", [0])
    for text in texts:
        found = map(get, split(text))
        # a word of an identifier analyzer has a tuple of ids, any other word has one id, -1 for a stop word
        raw.extend(chain.from_iterable(found) if several else found)  # type: ignore[arg-type]
        ends.append(len(raw))
        if len(raw) >= _BLOCK:
            yield _drop_stop_words(raw, ends)
            raw, ends = array("i"), array("q", [0])
    yield _drop_stop_words(raw, ends)


def _drop_stop_words(raw: array[int], ends: array[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = np.array(raw, np.int32)
    kept = ids >= 0
    before = np.concatenate(([0], np.cumsum(kept, dtype=np.int32)))
    return ids[kept], np.diff(before[np.array(ends, np.int64)]).astype(np.int32)


class _IdMemo(dict[str, int | tuple[int, ...]]):
    """Word -> id of its term; -1 for a stop word; a tuple of ids for an analyzer of identifiers."""

    def __init__(self, mapper: TermMapper) -> None:
        super().__init__()
        self._mapper = mapper
        self._several = mapper.analyzer.identifiers
        self.vocabulary: dict[str, int] = {}

    def __missing__(self, word: str) -> int | tuple[int, ...]:
        known = self.vocabulary
        ids = tuple(known.setdefault(term, len(known)) for term in self._mapper.word_terms(word))
        self[word] = value = ids if self._several else ids[0] if ids else -1
        return value
