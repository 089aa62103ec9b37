"""The folded texts of documents, end to end, and where in them a place of the whole lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.text.folding import Folding

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
        return cls.of_bytes([folding.encode(text) for text in texts])

    @classmethod
    def of_bytes(cls, folded: Sequence[bytes]) -> Documents:
        """Put texts that are folded and encoded already end to end."""
        starts = np.zeros(len(folded) + 1, np.int64)
        np.cumsum([len(f) + 1 for f in folded], out=starts[1:])
        ends = bytes([SEPARATOR])
        return cls(np.frombuffer(ends.join(folded) + ends if folded else b"", np.uint8), starts)


def documents_at(starts: NDArray[np.int64], positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(document, byte in its folded text) of positions in the whole, int64 each.

    starts  int64 (D+1,)   as of `Documents`
    """
    documents = np.searchsorted(starts, positions, side="right") - 1
    return documents, positions - starts[documents]
