"""How much memory building a segment takes, and how large one may become within a limit.

The figures are measured: BM25 over English passages of 500 bytes takes 3.9 bytes at its peak for each byte of text, most
of it the text itself, its mapped file and its terms; vectors are held once and written in blocks. What an encoder takes
for itself comes on top.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ragkit.errors import InputError
from ragkit.protocols import IndexSpec, VectorIndex
from ragkit.sizes import in_words, parse_size

SEGMENT_TEXT = 128 << 20
"""Bytes of text after which a segment is written and a new one begun, whatever memory there is."""

_A_BYTE = 4
_A_PASSAGE = 300
_AN_ID = 160
"""Bytes that are held to the end of a commit for each document, to notice an id that comes twice."""

_LEAST = 32 << 20


@dataclass(frozen=True)
class Budget:
    """What a commit may hold; left is None where nobody has set a limit."""

    left: int | None = None

    @classmethod
    def of(cls, max_ram: int | str | None) -> Budget:
        """What a limit for the whole process leaves now; raises InputError where that is too little to work with."""
        if max_ram is None:
            return cls()
        limit, held = parse_size(max_ram), resident()
        if limit - held < _LEAST:
            raise InputError(
                f"max_ram={max_ram!r} leaves no room to work: the process holds {in_words(held)} already; "
                f"give at least {in_words(held + _LEAST)}"
            )
        left = limit - held
        return cls(left - left % (1 << (left.bit_length() - 3)))  # in coarse steps, so that a rerun cuts at the same documents

    def full(self, text_bytes: int, passages: int, ids: int, vector_bytes: int) -> bool:
        """Whether a segment is to be written now.

        passages      of the segment, of text_bytes in all
        ids           documents of the commit so far
        vector_bytes  of one passage
        """
        if text_bytes >= SEGMENT_TEXT:
            return True
        if self.left is None:
            return False
        room = max(self.left - _AN_ID * ids, self.left // 4)  # however many ids there are, segments stay of some use
        return _A_BYTE * text_bytes + (_A_PASSAGE + vector_bytes) * passages >= room

    @property
    def segment_text(self) -> int:
        """Bytes of text that merged segments may have."""
        return SEGMENT_TEXT if self.left is None else min(SEGMENT_TEXT, self.left // (2 * _A_BYTE))


NO_LIMIT = Budget()


def peak_of(text_bytes: int, passages: int, ids: int, vector_bytes: int) -> int:
    """About the most that indexing so much takes where nobody sets a limit, beside what the process holds anyway."""
    of_one = min(1.0, SEGMENT_TEXT / max(text_bytes, 1))
    return int(of_one * (_A_BYTE * text_bytes + (_A_PASSAGE + vector_bytes) * passages)) + _AN_ID * ids


def bytes_a_passage(indexes: Iterable[IndexSpec]) -> int:
    """Bytes of the vectors of one passage; loads the encoders."""
    encoders = (spec.encoder() for spec in indexes if isinstance(spec, VectorIndex))
    return sum(4 * e.dim for e in encoders if e is not None)


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:  # no Linux: the most that it ever held, if that is told
        try:
            import resource
        except ImportError:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if os.uname().sysname == "Darwin" else peak << 10
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
