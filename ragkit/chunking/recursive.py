"""Recursive: paragraphs and blocks of code where they fit, else their lines, else sentences, else tokens, packed again into spans."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ragkit.chunking.pack import pack
from ragkit.chunking.sentences import sentence_pieces
from ragkit.chunking.size import Piece, body, count_tokens, trim
from ragkit.chunking.tokens import check_overlap
from ragkit.spec import validated
from ragkit.types import Document, Span

# Coarse to fine. A break is atomic, so that one \r\n never counts as two.
_SEPARATORS = (
    re.compile(r"(?:(?>\r\n|[\n\r\u2028])[^\S\r\n\u2028]*+(?>\r\n|[\n\r\u2028])|\u2029)\s*+"),  # a blank line
    re.compile(r"[\n\r\u2028\u2029]\s*+"),
)
_FENCE_LINE = re.compile(r"^[ \t>]*+(`{3,}+|~{3,}+)([^\r\n]*+)", re.MULTILINE)


@validated
class Recursive:
    """Cuts at the coarsest break whose pieces fit, then joins neighbours up to `size`.

    size     tokens that a span never exceeds, at least 1
    overlap  tokens of whole pieces that a span may share with the one before; below size

    >>> text = "One two.\\n\\nThree four five. Six.\\n\\nSeven."
    >>> [text[s.start : s.end] for s in Recursive(size=5).split(Document(text))]
    ['One two.', 'Three four five.', 'Six.\\n\\nSeven.']
    """

    name: ClassVar[str] = "recursive"
    size: Annotated[int, Field(ge=1)] = 200
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _overlap_fits(self) -> Recursive:
        check_overlap(self.overlap, self.size)
        return self

    def split(self, document: Document) -> list[Span]:
        """Spans of the body, in order."""
        start, end = body(document)
        return pack(pieces(document.text, start, end, self.size), self.size, overlap_tokens=self.overlap)


def pieces(text: str, start: int, end: int, size: int) -> list[Piece]:
    """text[start:end], which has no white space at its ends, in pieces of at most `size` tokens."""
    tokens = tokens_if_fit(text, start, end, size)
    if tokens is not None:
        return [Piece(start, end, tokens)] if tokens else []
    return pieces_of_large(text, start, end, size)


def pieces_of_large(text: str, start: int, end: int, size: int) -> list[Piece]:
    """The same for a range that is known to have more than `size` tokens, which saves counting them."""
    found: list[Piece] = []
    _cut(text, start, end, size, 0, found)
    return found


def _cut(text: str, start: int, end: int, size: int, level: int, found: list[Piece]) -> None:
    """Append the pieces of a range that is too large."""
    if level == len(_SEPARATORS):
        found += sentence_pieces(text, start, end, size)
        return
    parts, at = [], start
    code = iter(_fenced(text, start, end) if level == 0 else ())
    fence = next(code, None)
    for separator in _SEPARATORS[level].finditer(text, start, end):
        while fence is not None and fence[1] <= separator.start():
            fence = next(code, None)
        if fence is not None and fence[0] < separator.start():
            continue  # a blank line in a block of code: code is cut by lines, and only where it does not fit
        parts.append(trim(text, at, separator.start()))
        at = separator.end()
    if not parts:  # no break of this kind: the next finer one, without counting again
        _cut(text, start, end, size, level + 1, found)
        return
    parts.append(trim(text, at, end))
    for a, b in parts:
        tokens = tokens_if_fit(text, a, b, size)
        if tokens is None:
            _cut(text, a, b, size, level + 1, found)
        elif tokens:
            found.append(Piece(a, b, tokens))


def _fenced(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where fenced blocks of code stand, in order; a fence that nothing closes is none."""
    found: list[tuple[int, int]] = []
    opening: re.Match[str] | None = None
    for line in _FENCE_LINE.finditer(text, start, end):
        if opening is None:
            opening = line
        elif line[1].startswith(opening[1]) and not line[2].strip():
            found.append((opening.start(), line.end()))
            opening = None
    return found


def tokens_if_fit(text: str, start: int, end: int, size: int) -> int | None:
    """The tokens of a range that ends in no white space, None where they are more than `size`; reads no further than it must."""
    reach = start + 8 * size  # far enough for more than `size` tokens of ordinary text
    if reach < end and count_tokens(text, start, reach) > size:
        return None
    tokens = count_tokens(text, start, end)
    return tokens if tokens <= size else None
