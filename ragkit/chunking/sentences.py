"""Sentences: whole sentences, packed until a span is full."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ragkit.chunking.pack import pack
from ragkit.chunking.size import Piece, body, count_tokens
from ragkit.chunking.tokens import check_overlap, token_pieces
from ragkit.spec import validated
from ragkit.text.sentences import sentence_spans
from ragkit.types import Document, Span


@validated
class Sentences:
    """Packs whole sentences into spans; a sentence above `size` is cut by tokens.

    size     tokens that a span never exceeds, at least 1
    overlap  sentences that a span shares with the one before, as far as they fit; below size

    >>> text = "One two. Three four. Five six."
    >>> [text[s.start : s.end] for s in Sentences(size=6).split(Document(text))]
    ['One two. Three four.', 'Five six.']
    """

    name: ClassVar[str] = "sentences"
    size: Annotated[int, Field(ge=1)] = 200
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _overlap_fits(self) -> Sentences:
        check_overlap(self.overlap, self.size)
        return self

    def split(self, document: Document) -> list[Span]:
        """Spans of the body, in order."""
        start, end = body(document)
        return pack(sentence_pieces(document.text, start, end, self.size), self.size, overlap_pieces=self.overlap)


def sentence_pieces(text: str, start: int, end: int, size: int) -> list[Piece]:
    """The sentences of text[start:end], those above `size` cut by tokens."""
    pieces: list[Piece] = []
    for a, b in sentence_spans(text, start, end):
        tokens = count_tokens(text, a, b)
        if tokens <= size:
            pieces.append(Piece(a, b, tokens))
        else:
            pieces += token_pieces(text, a, b, size)
    return pieces
