"""Markdown: the document is the file; its headings are found, its front matter is set aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ragkit.errors import LoadError
from ragkit.loaders.decode import is_blank, read_text
from ragkit.loaders.inline_markup import plain
from ragkit.loaders.markdown_blocks import find_headings
from ragkit.loaders.options import LoadOptions, Report
from ragkit.types import Document, Heading

_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*(?:\r\n|\r|\n)(?P<yaml>.*?)(?<=[\r\n])(?:---|\.\.\.)[ \t]*(?:\r\n|\r|\n|\Z)", re.DOTALL)
_YAML_LINE = re.compile(r"[A-Za-z_\"'][^:]*:(?=[ \t]|\Z)|[ \t#\]}]|-[ \t]|-\Z")
_TITLE = re.compile(r"^title[ \t]*:[ \t]+(?P<value>[^\r\n]+)", re.MULTILINE)
_LABEL = re.compile(r"(?:\A|[\r\n])[ \t>]*\[((?:[^\[\]\\]|\\.)+)\]:")


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document whose text is the decoded file, character for character.

    The title is that of the front matter, else the first heading of level 1, else the file's stem; `body_start`
    is the offset after the front matter, whose other keys are not read.
    """
    text = read_text(path, options)
    title, body_start = front_matter(text)
    if is_blank(text[body_start : body_start + 4096]) and is_blank(text[body_start:]):
        raise LoadError("the file is empty but for its front matter; there is nothing to index in it")
    headings = markdown_headings(text, body_start)
    title = title or next((h.text for h in headings if h.level == 1 and h.text), "") or path.stem
    yield Document(text=text, title=title, headings=headings, body_start=body_start)


def front_matter(text: str) -> tuple[str, int]:
    """(title, offset of the body) of a document that may begin with a YAML block; ("", 0) without one.

    >>> front_matter('---\\ntitle: "On x"\\n---\\nText')
    ('On x', 22)
    """
    match = _FRONT_MATTER.match(text)
    if match is None:
        return "", 0
    block = match["yaml"].replace("\r\n", "\n").replace("\r", "\n")
    if not all(_YAML_LINE.match(line) for line in block.split("\n") if line.strip()):
        return "", 0  # a horizontal rule, text, and a second one
    found = _TITLE.search(block)
    return (_scalar(found["value"]) if found else ""), match.end()


def _scalar(value: str) -> str:
    """A YAML scalar on one line, plain or quoted; "" for what is neither."""
    value = value.strip()
    quoted = re.match(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^']|'')*)'", value)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted[1] is not None else quoted[2].replace("''", "'")
    value = re.sub(r"(?:^|\s)#.*", "", value).strip()
    return "" if value[:1] in ("|", ">", "[", "{", "&", "*", "!", '"', "'") or value in ("null", "~") else value


LONGEST_HEADING = 200
"""Characters of a heading; what is longer is a paragraph that happens to stand above a line of dashes."""


def markdown_headings(text: str, start: int = 0) -> tuple[Heading, ...]:
    """The headings of a Markdown text from offset `start` on; their texts without inline markup, overlong ones left out.

    >>> markdown_headings("# The `x`\\n\\ntext\\n\\nNext\\n----\\n")
    (Heading(start=0, level=1, text='The x'), Heading(start=17, level=2, text='Next'))
    """
    labels: set[str] | None = None

    def has_label(label: str) -> bool:
        nonlocal labels
        if labels is None:
            labels = {_normal(found) for found in _LABEL.findall(text)}
        return _normal(label) in labels

    found = (Heading(h.start, h.level, plain(h.source, has_label)) for h in find_headings(text, start))
    return tuple(h for h in found if len(h.text) <= LONGEST_HEADING)


def _normal(label: str) -> str:
    return " ".join(label.split()).casefold()
