"""What counts as the same text: white space, case and Unicode forms, with the way back to the text as it was written.

White space is folded first. Then the text is folded piece by piece, a character with the marks that belong to it: what a piece becomes does
not depend on its neighbours, so that every folded character has a piece of the text that it stands for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.spec import validated

_PARTS = re.compile(r"[\x00-\x7f]+(?=[\x00-\x7f]|\Z)|[\x00-\x7f]?[^\x00-\x7f]+")
"""Runs of ASCII, and runs of other characters with the ASCII character that marks at their beginning would belong to."""
_SPACES = re.compile(r"\s+")
_IS_SPACE = np.array([chr(c).isspace() for c in range(0x3002)])
"""Of each code point up to the last space and one more: whether it is white space, as the pattern has it."""
_Forms = tuple[Literal["NFD", "NFKD"], Literal["NFC", "NFKC"]]
_FORMS: dict[str, _Forms | None] = {"none": None, "canonical": ("NFD", "NFC"), "compatible": ("NFKD", "NFKC")}
"""In what a text is taken apart, and in what it is put together again."""


@validated
class Folding:
    """What two texts may differ in and still be the same.

    case     False: capital letters count for small ones (full case folding: "STRASSE" is "straße")
    unicode  "canonical": "é" is "e" with an accent behind it, and no "e"; "compatible": also "ﬁ" is "fi" and "①" is "1"; "none": code
             points count. Texts are composed (NFC, NFKC)
    spaces   False: any run of white space is one space
    """

    case: bool = False
    unicode: Literal["none", "canonical", "compatible"] = "canonical"
    spaces: bool = False
    name: ClassVar[str] = "folding"

    def fold(self, text: str) -> str:
        """The text that is searched.

        >>> Folding().fold("Cafe\\u0301\\n au  lait") == Folding().fold("CAFÉ au lait")
        True
        """
        spaced = text if self.spaces else _SPACES.sub(" ", text)
        return "".join(map(self._fold_part, _PARTS.findall(spaced)))

    def encode(self, text: str) -> bytes:
        """The folded text in UTF-8; lone surrogates, which that has no bytes for, get those that they would have."""
        return self.fold(text).encode(errors="surrogatepass")

    def pattern(self, text: str) -> bytes:
        """What is looked for in encoded texts; raises InputError where it is no text, or empty."""
        if not isinstance(text, str):
            raise InputError(f"what is looked for must be a text, got {type(text).__name__}")
        if not text:
            raise InputError("an empty text stands everywhere; give at least one character to look for")
        return self.encode(text)

    def place(self, text: str, start: int, length: int) -> tuple[int, int]:
        """Where bytes of the encoded text stand in the text as it was written, in code points.

        A piece that was folded whole is given whole; bytes within a character stand for the character. cost that of folding the text
        """
        found: tuple[tuple[int, int], ...] = self.places(text, [start], length)
        return found[0]

    def places(self, text: str, starts: Sequence[int], length: int) -> tuple[tuple[int, int], ...]:
        """The same of many places, for which the text is folded once."""
        at = self._characters_at(text)
        begins, ends = self.spans(text)
        firsts = np.searchsorted(at, starts, side="right") - 1
        lasts = np.searchsorted(at, np.asarray(starts, np.int64) + length - 1, side="right") - 1
        return tuple(zip(begins[firsts].tolist(), ends[lasts].tolist(), strict=True))

    def borders(self, text: str, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of the encoded text in front of each offset, which counts code points of the text; int64 (any,).

        A piece that an offset cuts belongs to what is in front of it.
        """
        begins, _ = self.spans(text)
        found: NDArray[np.int64] = self._characters_at(text)[np.searchsorted(begins, offsets)]
        return found

    def _characters_at(self, text: str) -> NDArray[np.int64]:
        """The byte at which each character of the encoded text begins, and last how many bytes there are."""
        data = np.frombuffer(self.encode(text), np.uint8)
        return np.append(np.flatnonzero(data & 0xC0 != 0x80), len(data))

    def spans(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each character of the folded text, where what it comes from begins and ends in the text; int64 (any,) each.

        >>> [a.tolist() for a in Folding().spans("É \\n!")]
        [[0, 0, 1, 3], [1, 1, 3, 4]]
        """
        if not text:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        spaced = text if self.spaces else _SPACES.sub(" ", text)
        starts = np.arange(len(text), dtype=np.int64)
        if not self.spaces:
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            space = _IS_SPACE[np.minimum(codes, len(_IS_SPACE) - 1)]
            starts = starts[~(space & np.concatenate(([False], space[:-1])))]
        ends = np.append(starts[1:], len(text))
        if spaced.isascii():
            return starts, ends
        sizes, lengths = zip(*(self._piece_lengths(part) for part in _PARTS.findall(spaced)), strict=True)
        behind = np.cumsum(np.concatenate(sizes))
        folded = np.concatenate(lengths)
        return np.repeat(starts[behind - np.concatenate(sizes)], folded), np.repeat(ends[behind - 1], folded)

    def _piece_lengths(self, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Characters of each piece of a part, as it was and folded."""
        if part.isascii():
            ones = np.ones(len(part), np.int64)
            return ones, ones
        pieces = list(_characters(part))
        return np.array([len(p) for p in pieces], np.int64), np.array([len(self._fold_piece(p)) for p in pieces], np.int64)

    def _fold_part(self, part: str) -> str:
        form = _FORMS[self.unicode]
        if part.isascii():
            return part if self.case else part.lower()
        if (form is None or unicodedata.is_normalized(form[1], part)) and (self.case or part.casefold() == part):
            return part
        return "".join(map(self._fold_piece, _characters(part)))

    def _fold_piece(self, piece: str) -> str:
        return _folded(piece, self.case, _FORMS[self.unicode])


def occurrences(data: bytes, pattern: bytes) -> Iterator[int]:
    """Where a pattern stands in encoded text, ascending, also where occurrences overlap. cost O(text + occurrences)

    Two neighbours that overlap by half or more repeat a piece of the text; how far that goes on is seen without looking for the pattern.

    >>> list(occurrences(b"banana", b"ana")), list(occurrences(b"xaaaaay", b"aaa"))
    ([1, 3], [1, 2, 3])
    """
    at, before = data.find(pattern), -len(pattern)
    while at >= 0:
        yield at
        if (period := at - before) <= len(pattern) // 2:
            last = at + (_repeated(data, at, period) + period - len(pattern)) // period * period
            yield from range(at + period, last + 1, period)
            at = last
        before, at = at, data.find(pattern, at + 1)


def _repeated(data: bytes, start: int, period: int) -> int:
    """How many bytes from a start on equal those a period behind them."""
    whole, size, step = np.frombuffer(data, np.uint8), 0, 1024
    while True:
        ahead = whole[start + size + period : start + size + period + step]
        differ = np.flatnonzero(whole[start + size : start + size + len(ahead)] != ahead)
        if len(differ):
            return size + int(differ[0])
        if len(ahead) < step:
            return size + len(ahead)
        size, step = size + step, 2 * step


@lru_cache(maxsize=1 << 14)
def _folded(piece: str, case: bool, forms: _Forms | None) -> str:
    """A piece folded, until folding it again changes nothing."""
    apart, together = forms or (None, None)
    before, folded = "", piece
    while folded != before:
        before = folded
        folded = folded if apart is None else unicodedata.normalize(apart, folded)
        folded = folded if case else folded.casefold()
        folded = folded if together is None else unicodedata.normalize(together, folded)
    return folded


@lru_cache
def _joining() -> frozenset[str]:
    """Characters that are no marks and are put together with what is before them: vowels and finals of Hangul, some Indic vowels."""
    pairs = (unicodedata.decomposition(chr(c)).split() for c in range(0x110000))
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    return frozenset(seconds).union(map(chr, range(0x1161, 0x1176)), map(chr, range(0x11A8, 0x11C3)))


@lru_cache(maxsize=1 << 14)
def _begins(character: str) -> bool:
    """Whether a character begins a piece: it is no mark, does not fall apart into marks, and is not put together with what is before it."""
    first = unicodedata.normalize("NFD", character)[0]
    return unicodedata.combining(first) == 0 and first not in _joining()


def _characters(part: str) -> Iterator[str]:
    """Characters with their marks."""
    start = 0
    for i in range(1, len(part)):
        if _begins(part[i]):
            yield part[start:i]
            start = i
    yield part[start:]
