"""Finding the headings of a Markdown document in one pass over its lines.

Only lines that can open a heading, a fence or an HTML block are looked at, which one regular expression
finds; fenced code and HTML are skipped by searching for their end. List items are followed only where an
indented line asks for it. The rules are CommonMark's (0.31), with GitHub's tables, but for headings
inside block quotes and on the line of a list marker, which are not sections of the document.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_CANDIDATE = re.compile(
    r"\n(?P<indent>[ \t]*)(?:"
    r"(?P<atx>\#{1,6})(?=[ \t\n]|\Z)"
    r"|(?P<markers>(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*)(?P<fence>`{3,}(?=[^`\n]*(?:\n|\Z))|~{3,})"
    r"|(?P<html><(?=[!?/A-Za-z]))"
    r"|(?P<under>=+|-+)[ \t]*(?=\n|\Z)"
    r")"
)
_MARKER = re.compile(r"([-+*]|\d{1,9}[.)])([ \t]+|(?=\n|\Z))")
_NO_TEXT = re.compile(
    r"(?:>[ \t]?|(?:[-+*]|\d{1,9}[.)])(?:[ \t]+|(?=\n|\Z)))+(?:\#{1,6}[ \t\n]|\n|\Z)"
)  # quotes and items without a paragraph
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})(?=\n|\Z)")
_HEADING_START = re.compile(r"\#{1,6}(?:[ \t\n]|\Z)")
_STARTER = re.compile(r"[ \t]*(?:>|\#{1,6}[ \t\n]|`{3}|~{3})")
_INTERRUPTING_ITEM = re.compile(r"(?:[-+*]|1[.)])[ \t]+[^ \t\n]")
_DELIMITER_ROW = re.compile(r"[ \t]*(?=[^\n]*\|)\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*(?=\n|\Z)")
_DEFINITION = re.compile(r" {0,3}\[(?:[^\[\]\\\n]|\\.)+\]:[ \t]*[^\s]+[ \t]*(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\))?[ \t]*(?=\n|\Z)")
_BLANK = re.compile(r"\n[ \t]*(?=\n|\Z)")

_RAW = (  # HTML blocks that end with a text of their own (CommonMark's kinds 1 to 5)
    (re.compile(r"<(?:script|pre|style|textarea)(?=[ \t>\n]|\Z)", re.I), re.compile(r"</(?:script|pre|style|textarea)>", re.I)),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
)
_ELEMENT = re.compile(  # kind 6: to the next blank line
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption"
    r"|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p"
    r"|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)(?=[ \t\n>]|/>|\Z)",
    re.I,
)
_TAG_ALONE = re.compile(  # kind 7: to the next blank line, unless inside a paragraph
    r"(?:<[A-Za-z][A-Za-z0-9-]*(?:[ \t]+[A-Za-z_:][\w.:-]*(?:[ \t]*=[ \t]*(?:[^ \t\n\"'=<>`]+|'[^'\n]*'|\"[^\"\n]*\"))?)*[ \t]*/?>"
    r"|</[A-Za-z][A-Za-z0-9-]*[ \t]*>)[ \t]*(?=\n|\Z)"
)


class Found(NamedTuple):
    """A heading as it stands: start of its first line, level, raw text between the marks."""

    start: int
    level: int
    source: str


def find_headings(text: str, start: int = 0) -> list[Found]:
    """The headings from offset `start` on, in order.

    cost  O(len(text)); some tens of megabytes a second

    >>> [(h.start, h.level, h.source) for h in find_headings("# A\\n```\\n# no\\n```\\nB\\n--\\n")]
    [(0, 1, 'A'), (17, 2, 'B')]
    """
    # one character for one, so that offsets stay: line ends become \n, and a line that was there before the start is made up
    body = text[start:]
    if body.startswith("\ufeff"):
        body = " " + body[1:]
    if "\r" in body:
        body = body.replace("\r\n", " \n").replace("\r", "\n")
    return [h._replace(start=h.start + start) for h in _Scan("\n" + body).run()]


@lru_cache(maxsize=256)
def _fence_end(char: str, length: int, content: int) -> re.Pattern[str]:
    close = rf"(?P<close>[ \t]*){re.escape(char)}{{{length},}}[ \t]*(?=\n|\Z)"
    return re.compile(rf"\n(?:{close}|(?P<left>{_outside(content)}))" if content else rf"\n{close}")


def _outside(content: int) -> str:
    return rf"(?= {{0,{content - 1}}}[^ \t\n])"


@lru_cache(maxsize=256)
def _left(content: int) -> re.Pattern[str]:
    return re.compile(r"\n" + _outside(content))


def _n_cells(row: str) -> int:
    row = row.strip(" \t").replace("\\|", "")
    return row.removeprefix("|").removesuffix("|").count("|") + 1


def _column(white: str, start: int = 0) -> int:
    """The column after white space that begins at column `start`."""
    if "\t" not in white:
        return start + len(white)
    for c in white:
        start += 4 - start % 4 if c == "\t" else 1
    return start


class _Scan:
    """One pass. Positions are offsets of the \\n before a line, which are the offsets of the line in the caller's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: list[Found] = []
        self._floor = 0  # before the first line that no block found so far has taken
        self._lists: list[int] = []  # column at which the content of each open list item begins
        self._followed = 0  # lines before this one have been looked at for list items
        self._paragraph_open = False  # at self._followed: may the next line be a lazy continuation?
        self._empty_item = False  # at self._followed: does the line before open an item and say nothing?
        self._item_ends: dict[int, tuple[int, int]] = {}  # by the column of an item's content: a line in it, and where it ends
        self._table = -1  # start of the last paragraph known to be a table
        self._known = (-1, -1)  # a line known to go on with a paragraph, and where that began

    def run(self) -> list[Found]:
        position = 0
        while match := _CANDIDATE.search(self.text, position):
            position = max(self._candidate(match), match.start() + 1)
        return self._found

    def _candidate(self, match: re.Match[str]) -> int:
        """Deal with one line; the position to go on from."""
        line = match.start()
        indent = _column(match["indent"])
        if match["under"] is not None:
            return self._underline(line, indent, match)
        content, column = self._enter(line, indent, bool(match["markers"]))
        if column - content > 3:
            return self._line_end(line)
        if match["atx"] is not None:
            end = self._line_end(line)
            source = self.text[match.end() : end].strip(" \t")
            bare = source.rstrip("#")
            if bare == "" or bare[-1] in " \t":
                source = bare.rstrip(" \t")
            self._found.append(Found(line, len(match["atx"]), source))
            return self._close(end)
        if match["fence"] is not None:
            return self._close(self._after_fence(match.end(), match["fence"], content))
        return self._html(line, match.start("html"), content)

    def _close(self, position: int) -> int:
        self._floor = self._followed = position
        self._paragraph_open = self._empty_item = False
        return position

    def _line_end(self, line: int) -> int:
        end = self.text.find("\n", line + 1)
        return len(self.text) if end < 0 else end

    def _indent(self, line: int) -> tuple[int, int]:
        """Offset of a line's first character that is not white, and its column."""
        at = line + 1
        while self.text[at : at + 1] in (" ", "\t"):
            at += 1
        return at, _column(self.text[line + 1 : at])

    # fences and HTML

    def _after_fence(self, position: int, fence: str, content: int) -> int:
        pattern = _fence_end(fence[0], len(fence), content)
        position = self._line_end(position - 1)
        while match := pattern.search(self.text, position):
            if match["close"] is None:
                return match.start()
            beyond = _column(match["close"]) - content
            if beyond < 0:
                return match.start()  # outside the list item that the fence stands in: it opens another one
            if beyond <= 3:
                return match.end()
            position = match.end()
        return len(self.text)

    def _html(self, line: int, at: int, content: int) -> int:
        limit = self._item_end(line, content)
        for opening, ending in _RAW:
            if opening.match(self.text, at):
                # the end may stand on the first line, for a comment even inside its opening (<!-->)
                end = ending.search(self.text, at + 2, limit)
                return self._close(limit if end is None else min(limit, self._line_end(end.end() - 1)))
        if _ELEMENT.match(self.text, at) or (_TAG_ALONE.match(self.text, at) and self._paragraph(line) is None):
            blank = _BLANK.search(self.text, self._line_end(line), limit)
            return self._close(limit if blank is None else blank.start())
        return self._line_end(line)

    def _item_end(self, line: int, content: int) -> int:
        """Where the list item ends whose content begins at a column and holds a line; searched for once an item."""
        if not content:
            return len(self.text)
        start, end = self._item_ends.get(content, (0, 0))
        if not start <= line < end:
            left = _left(content).search(self.text, self._line_end(line))
            end = len(self.text) if left is None else left.start()
            self._item_ends[content] = (line, end)
        return end

    # underlined headings

    def _underline(self, line: int, indent: int, match: re.Match[str]) -> int:
        end = self._line_end(line)
        paragraph = self._paragraph(line)
        if paragraph is not None:
            start, content = paragraph
            if start >= 0 and 0 <= indent - content <= 3 and not self._is_table(start, line):
                rows = self.text[start + 1 : line].split("\n")
                source = " ".join(row.strip(" \t") for row in rows)
                self._found.append(Found(start, 1 if match["under"][0] == "=" else 2, source))
                return self._close(end)
        if _RULE.match(self.text, line + 1):
            content, column = self._enter(line, indent, False)
            if column - content <= 3:
                return self._close(end)
        return end

    def _is_table(self, start: int, line: int) -> bool:
        if start == self._table:
            return True
        paragraph, at = start, self._line_end(start)
        while at < line:
            end = self._line_end(at)
            if _DELIMITER_ROW.match(self.text, at + 1) and _n_cells(self.text[start + 1 : at]) == _n_cells(self.text[at + 1 : end]):
                self._table = paragraph
                return True
            start, at = at, end
        return False

    def _paragraph(self, line: int) -> tuple[int, int] | None:
        """(start, column of its container) of the paragraph that the line before this one belongs to.

        The start is -1 for one that began in a block quote or on the line of a list marker.
        """
        first = line
        while first > self._floor:
            before = self.text.rfind("\n", 0, first)
            if not self.text[before + 1 : first].strip(" \t"):
                break
            first = before
            if first == self._known[0]:
                break
        if first == line:
            return None
        known = first == self._known[0]
        at = first
        content = self._enter(first, self._indent(first)[1], False)[0]
        start = self._known[1] if known and self._known[1] >= 0 else None
        fresh = not known  # the line may begin a paragraph
        while at < line:
            offset, column = self._indent(at)
            char = self.text[offset]
            if start is None and not fresh:
                pass  # lazy lines of a quote or a list item
            elif column - content <= 3 and _RULE.match(self.text, at + 1):
                start, fresh = None, True
            elif column - content <= 3 and (char == ">" or self._is_item(offset, start is None)):
                start, fresh = None, _NO_TEXT.match(self.text, offset) is not None
            elif start is None and column - content <= 3 and not _DEFINITION.match(self.text, at + 1):
                start, fresh = at, False
            at = self._line_end(at)
        if start is None and fresh:
            return None
        self._known = (line, -1 if start is None else start)
        return self._known[1], content

    def _is_item(self, offset: int, at_start: bool) -> bool:
        return (_MARKER if at_start else _INTERRUPTING_ITEM).match(self.text, offset) is not None

    # list items

    def _enter(self, line: int, indent: int, marked: bool) -> tuple[int, int]:
        """(column at which the content of the innermost list item around a line begins, column of the line's own content)."""
        if indent == 0 and not marked:
            self._lists.clear()
            self._followed, self._paragraph_open, self._empty_item = line, False, False
            return 0, 0
        while self._followed < line:
            self._follow(self._followed)
            self._followed = self._line_end(self._followed)
        offset, column = self._indent(line)
        while self._lists and column < self._lists[-1]:
            self._lists.pop()
        if marked:
            column = self._items(offset, column)[1]
        return (self._lists[-1] if self._lists else 0), column

    def _follow(self, line: int) -> None:
        """Bring the open list items up to date with one more line."""
        offset, column = self._indent(line)
        if offset >= len(self.text) or self.text[offset] == "\n":
            if self._empty_item and self._lists:
                self._lists.pop()  # an item may begin with one blank line, not with two
            self._paragraph_open = self._empty_item = False
            return
        rule = _RULE.match(self.text, line + 1) is not None
        item = not rule and _MARKER.match(self.text, offset) is not None
        if item and self._paragraph_open and (not self._lists or column >= self._lists[-1]):
            item = _INTERRUPTING_ITEM.match(self.text, offset) is not None
        starter = rule or item or _STARTER.match(self.text, line + 1) is not None
        while self._lists and column < self._lists[-1] and (starter or not self._paragraph_open):
            self._lists.pop()
        content = self._lists[-1] if self._lists else 0
        self._empty_item = False
        if item and 0 <= column - content <= 3:
            offset = self._items(offset, column)[0]
            self._empty_item = self.text[offset : offset + 1] in ("", "\n")
            self._paragraph_open = not self._empty_item and _HEADING_START.match(self.text, offset) is None
        else:
            self._paragraph_open = not rule and (self._paragraph_open or column - content <= 3)

    def _items(self, offset: int, column: int) -> tuple[int, int]:
        """Open the list items whose markers stand at an offset; offset and column of what follows them."""
        rule = self._rule_tail(offset)
        while match := _MARKER.match(self.text, offset):
            after = column + len(match[1])
            inside = _column(match[2], after)
            offset = match.end()
            if inside - after > 4 or not match[2]:  # indented code in the item, or nothing yet
                self._lists.append(after + 1)
                return offset, inside
            self._lists.append(inside)
            column = inside
            if offset >= rule and _RULE.match(self.text, offset):
                break
        return offset, column

    def _rule_tail(self, offset: int) -> int:
        """Where the end of a line that may be a rule begins: looked up once, for a line may have thousands of markers."""
        end = self._line_end(offset - 1)
        rest = self.text[offset:end].rstrip(" \t")
        return offset + len(rest.rstrip(rest[-1] + " \t")) if rest[-1:] in ("-", "*", "_") else end
