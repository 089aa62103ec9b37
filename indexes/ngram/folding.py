"""What counts as the same text: white space, case and Unicode forms, with the way back to the text as it was written.

White space is folded first. Then the text is folded piece by piece, a character with the marks that belong to it: what a piece becomes does
not depend on its neighbours, so that every folded character has a piece of the text that it stands for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.spec import validated

_PARTS = re.compile(r"[\x00-\x7f]+(?=[\x00-\x7f]|\Z)|[\x00-\x7f]?[^\x00-\x7f]+")
"""Runs of ASCII, and runs of other characters with the ASCII character that marks at their beginning would belong to."""
_SPACES = re.compile(r"\s+")
_FORMS: dict[str, Literal["NFD", "NFKD"] | None] = {"none": None, "canonical": "NFD", "compatible": "NFKD"}


@validated
class Folding:
    """What two texts may differ in and still be the same.

    case     False: capital letters count for small ones (full case folding: "STRASSE" is "straße")
    unicode  "canonical": "é" is "e" with an accent behind it; "compatible": also "ﬁ" is "fi" and "①" is "1"; "none": code points count.
             Texts are decomposed (NFD, NFKD), not composed
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

    def spans(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each character of the folded text, where what it comes from begins and ends in the text; int64 (any,) each.

        >>> [a.tolist() for a in Folding().spans("É \\n!")]
        [[0, 0, 1, 3], [1, 1, 3, 4]]
        """
        spaced = text if self.spaces else _SPACES.sub(" ", text)
        starts = np.arange(len(text), dtype=np.int64)
        if not self.spaces:
            inside = np.zeros(len(text), np.bool_)  # of a run of white space all but its first character
            for run in _SPACES.finditer(text):
                inside[run.start() + 1 : run.end()] = True
            starts = starts[~inside]
        ends = np.append(starts[1:], len(text))
        pieces = [p for part in _PARTS.findall(spaced) for p in (part if part.isascii() else _characters(part))]
        sizes = np.array([len(p) for p in pieces], np.int64)
        lengths = [len(self._fold_piece(p)) for p in pieces]
        behind = np.cumsum(sizes)
        return np.repeat(starts[behind - sizes], lengths), np.repeat(ends[behind - 1], lengths)

    def _fold_part(self, part: str) -> str:
        form = _FORMS[self.unicode]
        if part.isascii():
            return part if self.case else part.lower()
        if (form is None or unicodedata.is_normalized(form, part)) and (self.case or part.casefold() == part):
            return part
        return "".join(map(self._fold_piece, _characters(part)))

    def _fold_piece(self, piece: str) -> str:
        return _folded(piece, self.case, _FORMS[self.unicode])


@lru_cache(maxsize=1 << 14)
def _folded(piece: str, case: bool, form: Literal["NFD", "NFKD"] | None) -> str:
    folded = piece if form is None else unicodedata.normalize(form, piece)
    if not case:
        folded = folded.casefold()
        folded = folded if form is None else unicodedata.normalize(form, folded)
    return folded


@lru_cache(maxsize=1 << 14)
def _begins(character: str) -> bool:
    """Whether a character begins a piece: it is no mark, and does not fall apart into marks."""
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) == 0


def _characters(part: str) -> Iterator[str]:
    """Characters with their marks."""
    start = 0
    for i in range(1, len(part)):
        if _begins(part[i]):
            yield part[start:i]
            start = i
    yield part[start:]
