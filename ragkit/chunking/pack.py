"""Packing: neighbouring pieces are joined, greedily and in order, into spans of at most `size` tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ragkit.chunking.size import Piece
from ragkit.types import Span


def pack(
    pieces: Sequence[Piece], size: int, *, overlap_tokens: int = 0, overlap_pieces: int = 0, headings: tuple[str, ...] = ()
) -> list[Span]:
    """Spans over pieces of which none exceeds `size`.

    A span repeats the last pieces of the one before: as many whole ones as `overlap_tokens` and
    `overlap_pieces` allow (the larger of the two) and as leave room for the next piece. O(pieces).

    >>> pack([Piece(0, 5, 2), Piece(6, 9, 1), Piece(10, 12, 2)], 3)
    [Span(start=0, end=9, headings=()), Span(start=10, end=12, headings=())]
    """
    spans: list[Span] = []
    first = total = 0  # the pieces first.. of the open span and their tokens
    for n, piece in enumerate(pieces):
        if n > first and total + piece.tokens > size:
            spans.append(Span(pieces[first].start, pieces[n - 1].end, headings))
            while first < n and (total + piece.tokens > size or (total > overlap_tokens and n - first > overlap_pieces)):
                total -= pieces[first].tokens
                first += 1
        total += piece.tokens
    if pieces:
        spans.append(Span(pieces[first].start, pieces[-1].end, headings))
    return spans
