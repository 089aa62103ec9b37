"""The folded texts of documents, end to end, and where in them a place of the whole lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.indexes.ngram.folding import Folding

SEPARATOR = 255
"""Byte behind every document; no UTF-8 text holds it, so nothing that is found lies in two documents."""


@dataclass(frozen=True)
class Documents:
    """D documents as bytes.

    text    uint8 (n,)      folded, in UTF-8, each with `SEPARATOR` behind it
    starts  int64 (D+1,)    where each begins; last: n
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[str], folding: Folding) -> Documents:
        """Fold texts and put them end to end."""
        pieces = [folding.fold(text).encode(errors="surrogatepass") + bytes([SEPARATOR]) for text in texts]
        starts = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum([len(p) for p in pieces], out=starts[1:])
        return cls(np.frombuffer(b"".join(pieces), np.uint8), starts)


def pattern_of(text: str | bytes, folding: Folding) -> bytes:
    """What is looked for; raises InputError where it is empty, or bytes that no text can hold."""
    pattern = text if isinstance(text, bytes) else folding.fold(text).encode(errors="surrogatepass")
    if not pattern:
        raise InputError("an empty text stands everywhere; give at least one character to look for")
    if SEPARATOR in pattern:
        raise InputError(f"the byte {SEPARATOR} separates documents and is in no UTF-8 text; look for something without it")
    return pattern


def documents_at(starts: NDArray[np.int64], positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(document, byte in its folded text) of positions in the whole, int64 each.

    starts  int64 (D+1,)   as of `Documents`
    """
    documents = np.searchsorted(starts, positions, side="right") - 1
    return documents, positions - starts[documents]


def place_in_text(text: str, folding: Folding, start: int, length: int) -> tuple[int, int]:
    """Where bytes of a document's folded text stand in the text as it was written, in code points.

    A piece that was folded whole is given whole; bytes within a character stand for the character. cost that of folding the text
    """
    data = np.frombuffer(folding.fold(text).encode(errors="surrogatepass"), np.uint8)
    first, last = (int(np.count_nonzero(data[: end + 1] & 0xC0 != 0x80)) - 1 for end in (start, start + length - 1))
    starts, ends = folding.spans(text)
    return int(starts[first]), int(ends[last])
