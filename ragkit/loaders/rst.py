"""reStructuredText: the document is the file; its section titles are found by their adornment."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ragkit.loaders.decode import read_text
from ragkit.loaders.inline_markup import LONGEST
from ragkit.loaders.options import LoadOptions, Report
from ragkit.types import Document, Heading

_MARK = r"[!-/:-@\[-`{-~]"
_CANDIDATE = re.compile(rf"\n(?:(?P<line>(?P<char>{_MARK})(?P=char)*)[ \t]*(?=\n|\Z)|(?P<table>=+(?: +=+)+)[ \t]*(?=\n|\Z))")
_BORDER = re.compile(r"\n=[= ]*(?=\n|\Z)")
_BLANK = re.compile(r"\n[ \t]*(?=\n|\Z)")
_NO_TITLE = re.compile(  # lines that begin another block: lists, directives, fields, tables, doctests
    r"[-+*•‣⁃](?:[ \t]|\Z)|\.\.(?:[ \t]|\Z)|__(?:[ \t]|\Z)|>>>(?:[ \t]|\Z)|\|(?:[ \t]|\Z)|\+-[-+]+\+[ \t]*\Z"
    r"|:(?![: ])(?:[^:\\]|\\.|:(?![ `]|\Z))*(?<! ):(?:[ \t]|\Z)"
)
_ADORNMENT = re.compile(rf"({_MARK})\1*[ \t]*\Z")
_INLINE = re.compile(
    r"``(?P<literal>.+?)``"
    r"|(?::[\w.+:-]+:)?`(?P<role>[^`]+)`(?::[\w.+:-]+:)?(?:__?(?!\w))?"
    r"|\*\*(?P<strong>[^\s*](?:.*?[^\s*])?)\*\*"
    r"|\*(?P<emphasis>[^\s*](?:.*?[^\s*])?)\*"
    r"|(?<![^\s'\"(\[{<\-/:])(?P<reference>\w(?:[\w.+:-]*\w)?)__?(?=[\s'\")\]}>/\\:.,;!?-]|\Z)"
    r"|\\(?P<escaped>.)"
)
_TARGET = re.compile(r"\s*<[^<>]*>\Z")


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document whose text is the decoded file, character for character; its title is its first heading, else the file's stem."""
    text = read_text(path, options)
    headings = rst_headings(text)
    yield Document(text=text, title=headings[0].text if headings else path.stem, headings=headings)


def rst_headings(text: str) -> tuple[Heading, ...]:
    """The section titles of a reStructuredText document; a title starts at its overline if it has one.

    Levels are given to the adornments in the order in which they appear, as docutils does.

    >>> rst_headings("Top\\n===\\n\\nOne\\n---\\n")
    (Heading(start=0, level=1, text='Top'), Heading(start=9, level=2, text='One'))
    """
    body = text
    marked = body.startswith("\ufeff")
    if marked:
        body = "\n" + body[1:]
    if "\r" in body:  # one character for one, so that offsets stay
        body = body.replace("\r\n", " \n").replace("\r", "\n")
    found = tuple(_scan("\n" + body))
    return (found[0]._replace(start=0), *found[1:]) if marked and found and found[0].start == 1 else found


def _scan(text: str) -> Iterator[Heading]:
    """Positions are offsets of the \\n before a line, which are the offsets of the line in the caller's text."""
    styles: list[str] = []
    floor = position = 0  # floor: before the first line that no title has taken
    while match := _CANDIDATE.search(text, position):
        line, end = match.start(), match.end()
        position = end
        if match["table"] is not None:
            position = floor = _after_table(text, end)
            continue
        above = text.rfind("\n", 0, line) if line > floor else line
        below = _end(text, end)
        under = _end(text, below)
        title = text[end + 1 : below].rstrip()
        over = (
            _is_break(text, above, line, floor)
            and title.strip() != ""
            and text[below + 1 : under].rstrip() == match["line"]
            and not _ADORNMENT.match(title)
        )
        if over:
            if not _fits(title, match["line"]):
                continue
            start, style, position = line, match["char"] * 2, under
        else:
            title = text[above + 1 : line].rstrip()
            before = text.rfind("\n", 0, above) if above > floor else above
            if (
                above == line
                or not title
                or title[0] in " \t"
                or not _fits(title, match["line"])
                or _NO_TITLE.match(title)
                or _ADORNMENT.match(title)
                or not _is_break(text, before, above, floor)
            ):
                continue
            start, style = above, match["char"]
        floor = position
        if style not in styles:
            styles.append(style)
        yield Heading(start, styles.index(style) + 1, _plain(title.strip()))


def _end(text: str, line: int) -> int:
    if line >= len(text):
        return len(text)
    end = text.find("\n", line + 1)
    return len(text) if end < 0 else end


def _is_break(text: str, before: int, line: int, floor: int) -> bool:
    """Whether a title may begin at `line`: nothing, a blank line or the last line of a list or directive stands before it."""
    if before == line or line <= floor:
        return True
    previous = text[before + 1 : line]
    return not previous.strip() or previous[0] in " \t" or (_NO_TITLE.match(previous) is not None and not previous.startswith(">>>"))


def _fits(title: str, adornment: str) -> bool:
    """Adornments of four and more may be too short (docutils warns), shorter ones are then text."""
    return len(adornment) >= 4 or _width(title) <= len(adornment)


def _width(title: str) -> int:
    if title.isascii():
        return len(title)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in title)


def _after_table(text: str, position: int) -> int:
    """The end of a simple table whose upper border ends at `position`: its second border, or its third where rows follow at once."""
    borders = 0
    end = position
    while match := _BORDER.search(text, end):
        end = match.end()
        borders += 1
        if borders == 2 or end >= len(text) or _BLANK.match(text, end):
            return end
    return position


def _plain(title: str) -> str:
    """A title without inline markup, on one line."""

    def bare(match: re.Match[str]) -> str:
        if match["role"] is not None:
            return _TARGET.sub("", match["role"]) or match["role"]
        if match["escaped"] is not None:
            return "" if match["escaped"].isspace() else match["escaped"]
        return next((g for name in ("literal", "strong", "emphasis", "reference") if (g := match[name]) is not None), "")

    return " ".join(_INLINE.sub(bare, title[: 2 * LONGEST]).split())[:LONGEST]
