"""Building the text of a document from blocks and lines, as the loaders of HTML and Word files do.

Blocks are separated by a blank line, lines by a line end; white space inside a line is one space.
"""

from __future__ import annotations

import re

from ragkit.types import Heading

_WHITE = re.compile(r"[ \t\n\r\f\v\xa0]+")
_LINE, _BLOCK = 1, 2


def one_line(text: str) -> str:
    """The text with every run of white space as one space, none at its ends."""
    return " ".join(text.split())


class Blocks:
    """A text under construction, with the headings met on the way.

    >>> b = Blocks()
    >>> b.heading(1, "Top"); b.inline(" one\\n two"); b.end_line(); b.inline("three "); b.end_block()
    >>> b.text, b.headings
    ('Top\\n\\none two\\nthree', (Heading(start=0, level=1, text='Top'),))
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._gap = 0  # line ends that are due before the next text
        self._space = False
        self._headings: list[Heading] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def headings(self) -> tuple[Heading, ...]:
        return tuple(self._headings)

    def _put(self, text: str) -> None:
        if self._gap and self._length:
            self._parts.append("\n" * self._gap)
            self._length += self._gap
        elif self._space and self._length:
            self._parts.append(" ")
            self._length += 1
        self._gap, self._space = 0, False
        self._parts.append(text)
        self._length += len(text)

    def inline(self, text: str) -> None:
        """Running text: joins what stands on the line already."""
        words = _WHITE.sub(" ", text)
        if words.startswith(" "):
            self._space = True
        if bare := words.strip(" "):
            self._put(bare)
            self._space = words.endswith(" ")

    def verbatim(self, text: str) -> None:
        """Text whose white space is kept."""
        if text:
            self._put(text)

    def end_line(self) -> None:
        """What follows starts on a new line."""
        self._gap, self._space = max(self._gap, _LINE), False

    def end_block(self) -> None:
        """What follows is set off by a blank line."""
        self._gap, self._space = _BLOCK, False

    def heading(self, level: int, text: str) -> None:
        """A heading on a line of its own; nothing if the text is blank."""
        text = one_line(text)
        if text:
            self.end_block()
            self._put(text)
            self._headings.append(Heading(self._length - len(text), level, text))
            self.end_block()
