"""Headings: one span a section, under the path of its headings; long sections are cut as `Recursive` does.

What happens to small sections is decided here. A heading with nothing under it stands in front of the
section that follows, if that one is below or beside it; otherwise (nothing follows but the text of a higher
heading) it is a span of its own, for no text may be lost. A section of fewer than `SMALL` tokens is joined to the next
one of the same parent where both fit together; their span then lies under the path of the parent. Sections of different
parents are never joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from ragkit.chunking.pack import pack
from ragkit.chunking.recursive import pieces, pieces_of_large, tokens_if_fit
from ragkit.chunking.size import Piece, body, count_tokens, trim
from ragkit.spec import validated
from ragkit.types import Document, Span

SMALL = 20  # tokens below which a section seeks company

# A heading's line with what may be drawn above and below it in Markdown and reStructuredText.
_RULE = r"[ \t]*+(?:={2,}+|-{2,}+|~{3,}+|\^{3,}+|\"{3,}+|#{3,}+|\*{3,}+|\+{3,}+|'{3,}+|`{3,}+)[ \t]*+(?:\r\n|[\r\n]|\Z)"
_HEADING = re.compile(rf"(?:{_RULE})?+[^\r\n]*+(?:\r\n|[\r\n]|\Z)(?:{_RULE})?+")


@dataclass(frozen=True, slots=True)
class _Section:
    """text[start:end] from one heading to the next; number and parent count headings, -1 is the root."""

    start: int
    body: int  # where the heading ends
    end: int
    number: int
    parent: int
    path: tuple[str, ...]
    empty: bool  # nothing but the heading


@validated
class Headings:
    """One span a section of `Document.headings`, with the titles of its headings; text before the first heading has none.

    size     tokens that a span never exceeds, at least 1

    >>> from ragkit.types import Heading
    >>> text = "# Guide\\n\\n## Install\\nRun pip."
    >>> Headings().split(Document(text, headings=(Heading(0, 1, "Guide"), Heading(9, 2, "Install"))))
    [Span(start=0, end=28, headings=('Guide', 'Install'))]
    """

    name: ClassVar[str] = "headings"
    size: Annotated[int, Field(ge=1)] = 200

    def split(self, document: Document) -> list[Span]:
        """Spans of the body, in order."""
        text, size, spans = document.text, self.size, list[Span]()
        sections = list(_sections(document))
        n = 0
        while n < len(sections):
            first = last = sections[n]
            path, head = first.path, first.body
            alone = last.empty  # so far nothing but headings
            tokens = -1
            n += 1
            while n < len(sections):
                following = sections[n]
                if alone and following.parent in (last.number, last.parent):
                    path, head, alone = following.path, following.body, following.empty
                elif not alone and not following.empty and following.parent == last.parent:
                    tokens = tokens if tokens >= 0 else count_tokens(text, first.start, last.end)
                    joint = tokens_if_fit(text, first.start, following.end, size) if tokens < SMALL else None
                    if joint is None:
                        break
                    path, tokens = following.path[:-1], joint
                else:
                    break
                last = following
                n += 1
            spans += _cut(text, first.start, head, last.end, size, path)
        return spans


def _sections(document: Document) -> Iterator[_Section]:
    """The sections in order, trimmed of white space, none blank; together they hold the whole body."""
    text = document.text
    start, end = body(document)
    headings = sorted((h for h in document.headings if h.start < end), key=lambda h: h.start)
    edges = [min(max(h.start, start), end) for h in headings] + [end]
    a, b = trim(text, start, edges[0])
    if a < b:
        yield _Section(a, a, b, -2, -3, (), False)
    above: list[int] = []  # numbers of the headings that enclose the current one
    for number, heading in enumerate(headings):
        while above and headings[above[-1]].level >= heading.level:
            above.pop()
        parent = above[-1] if above else -1
        above.append(number)
        a, b = trim(text, edges[number], edges[number + 1])
        if a < b:
            line = _HEADING.match(text, a, b) if heading.start >= start else None
            under = trim(text, line.end(), b)[0] if line is not None else a
            yield _Section(a, under, b, number, parent, tuple(headings[i].text for i in above), under == b)


def _cut(text: str, start: int, head: int, end: int, size: int, path: tuple[str, ...]) -> list[Span]:
    """Spans of a section; its headings, text[start:head], stay with the first words under them."""
    if tokens_if_fit(text, start, end, size) is not None:
        return [Span(start, end, path)]
    line = trim(text, start, head)
    above = count_tokens(text, *line)
    under = pieces_of_large(text, head, end, size) if head < end else []
    if not under or not above or above >= size:
        return pack([*pieces(text, *line, size), *under], size, headings=path)
    if above + under[0].tokens > size:
        room = 1 << (size - above).bit_length() - 1  # a power of two: each size that is cut to compiles a pattern of its own
        under[:1] = pieces(text, under[0].start, under[0].end, room)
    under[0] = Piece(start, under[0].end, above + under[0].tokens)
    return pack(under, size, headings=path)
