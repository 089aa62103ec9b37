"""Tokens: windows of a fixed number of tokens, each overlapping the one before."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ragkit.chunking.size import Piece, body, count_tokens, window_pattern
from ragkit.spec import validated
from ragkit.types import Document, Span


@validated
class Tokens:
    """Cuts a document every `size` - `overlap` tokens, whatever stands there.

    size     tokens of a span, at least 1; the last span may have fewer
    overlap  tokens that a span shares with the one before; below size

    >>> text = "one two three four five"
    >>> [text[s.start : s.end] for s in Tokens(size=3, overlap=1).split(Document(text))]
    ['one two three', 'three four five']
    """

    name: ClassVar[str] = "tokens"
    size: Annotated[int, Field(ge=1)] = 200
    overlap: Annotated[int, Field(ge=0)] = 20

    @model_validator(mode="after")
    def _overlap_fits(self) -> Tokens:
        check_overlap(self.overlap, self.size)
        return self

    def split(self, document: Document) -> list[Span]:
        """Spans of the body, in order."""
        start, end = body(document)
        return [Span(a, b) for a, b in windows(document.text, start, end, self.size, self.overlap)]


def check_overlap(overlap: int, size: int) -> None:
    """Raise ValueError unless a window moves on."""
    if overlap >= size:
        raise ValueError(f"overlap must be smaller than size, got overlap={overlap} and size={size}")


def windows(text: str, start: int, end: int, size: int, overlap: int = 0) -> list[tuple[int, int]]:
    """(start, end) of each window of `size` tokens in text[start:end], which has no white space at its end."""
    pattern, found = window_pattern(text.isascii(), size - overlap, overlap), []
    while start < end:
        window = pattern.match(text, start, end)
        if window is None:
            break
        found.append((window.start(1), window.end()))
        start = window.start(2) if window.end() < end else end
    return found


def token_pieces(text: str, start: int, end: int, size: int) -> list[Piece]:
    """The windows of text[start:end] without overlap, with their sizes."""
    found = windows(text, start, end, size)
    return [Piece(a, b, size if b < end else count_tokens(text, a, b)) for a, b in found]
