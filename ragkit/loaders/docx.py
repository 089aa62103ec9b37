"""Word documents: paragraphs and tables in their order, with headings by style.

Deleted text of tracked changes, hidden text, tables of contents, notes, page headers and images are left out; inserted text,
content controls, links, text boxes and the text of formulas are read.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.blocks import Blocks, one_line
from ragkit.loaders.decode import is_blank, read_bytes
from ragkit.loaders.foreign import parsing
from ragkit.loaders.options import LoadOptions, Report
from ragkit.registry import need
from ragkit.types import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED = frozenset((_FALLBACK, _W + "del", _W + "moveFrom"))
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_CONTENTS = re.compile(r"toc(?![a-z])", re.IGNORECASE)  # "toc 1", "TOC Heading"
_TITLE, _LIST, _LEFT_OUT = -1, 10, 11
_UNPACKED = 10  # unpacked bytes allowed, in units of max_bytes
_RATIO, _SMALL = 200, 50_000_000  # more than 200-fold compression of more than 50 MB unpacked is no document
_MOST_TAGS, _TAGS_A_BYTE = 2_000_000, 4  # each takes some hundred bytes once parsed; a page has a few hundred
_MOST_PARTS = 10_000
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))  # what Word can read; others ask for memory before they are read
_CHUNK = 1 << 20
_NO_TITLE = frozenset(("", "word document", "document", "untitled"))


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document: paragraphs apart by a blank line, list paragraphs and table rows (``a | b``) on lines.

    Levels come from the styles Title (1) and Heading 1 to 9, and from styles based on them. The title is the first
    paragraph in the style Title, else that of the file's properties, else the first heading of level 1, else the file's stem.
    raises LoadError for a broken or encrypted file and for one that unpacks to far more than a document has
    """
    data = read_bytes(path, options)
    _refuse_bombs(data, options.max_bytes)
    docx = need("docx", extra="files", why="reading a Word document")
    with parsing("the Word document"):
        word = docx.Document(io.BytesIO(data))
        body = word.element.body
        styles = word.styles.element
        properties = one_line(word.core_properties.title or "")
    if body is None:
        raise LoadError("the Word document is broken (it has no body); open and save it again with the program that made it")
    reader = _Reader(_levels(styles))
    reader.read(body)
    text = reader.blocks.text
    if is_blank(text):
        raise LoadError("the file is empty; there is nothing to index in it")
    headings = reader.blocks.headings
    first = next((h.text for h in headings if h.level == 1), "")
    title = reader.title or ("" if properties.lower() in _NO_TITLE else properties) or first or path.stem
    yield Document(text=text, title=title, headings=headings)


def _refuse_bombs(data: bytes, max_bytes: int) -> None:
    """The sizes in a zip file's directory are a promise that Python's zipfile holds it to."""
    if not data:
        raise LoadError("the file is empty; there is nothing to index in it")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise LoadError("the file is encrypted, or a .doc by another name; save it as .docx without a password")
    with parsing("the Word document"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > _UNPACKED * max_bytes or (unpacked > _SMALL and unpacked > _RATIO * len(data)):
            raise LoadError(f"the file unpacks from {len(data):,} to {unpacked:,} bytes, far more than a document has; it is left alone")
        if len(entries) > _MOST_PARTS:
            raise LoadError(
                f"the file has {len(entries):,} parts, more than {_MOST_PARTS:,}, far more than a document has; it is left alone"
            )
        if other := next((e for e in entries if e.compress_type not in _METHODS), None):
            raise LoadError(f"the file is packed by method {other.compress_type}, which is not that of Word; save it again with Word")
        limit = max(_MOST_TAGS, _TAGS_A_BYTE * len(data))
        tags = 0
        for entry in entries:
            tags += _n_tags(archive, entry, limit - tags)  # of every part: its name does not tell whether it is XML
            if tags > limit:
                raise LoadError(f"the file has more than {limit:,} XML tags, far more than a document of its size; it is left alone")


def _n_tags(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, enough: int) -> int:
    """The tags of one part; counted until there are more than enough."""
    tags = 0
    if entry.is_dir() or not entry.file_size:
        return 0
    with archive.open(entry) as part:
        while tags <= enough and (chunk := part.read(_CHUNK)):
            tags += chunk.count(b"<")
    return tags


def _levels(styles: Any) -> dict[str, int]:
    """{style id: level}: 1 to 9 for headings and styles based on one, _LIST, _TITLE or _LEFT_OUT (of a table of contents)."""
    named: dict[str, tuple[str, str]] = {}  # id: name, id of the style that it is based on
    for style in styles.iter(_W + "style"):
        name, based_on = (style.find(_W + tag) for tag in ("name", "basedOn"))
        value = ["" if e is None else e.get(_W + "val", "") for e in (name, based_on)]
        named.setdefault(style.get(_W + "styleId", ""), (value[0], value[1]))
    levels = {id: _level(id, named) for id in named}
    return {id: level for id, level in levels.items() if level}


def _level(id: str, named: dict[str, tuple[str, str]]) -> int:
    for _ in range(20):  # styles may be based on each other in a circle
        if id not in named:
            return 0
        name, id = named[id]
        if _CONTENTS.match(name):
            return _LEFT_OUT
        if found := _HEADING.fullmatch(name):
            return int(found.group(1))
        if name.lower() == "title":
            return _TITLE
        if name.lower().startswith("list "):
            return _LIST
    return 0


class _Reader:
    def __init__(self, levels: dict[str, int]) -> None:
        self.blocks = Blocks()
        self.title = ""
        self._levels = levels

    def read(self, parent: Any) -> None:
        """The blocks of a body or of a content control, which may hold others."""
        todo = [iter(parent)]
        while todo:
            element = next(todo[-1], None)
            if element is None:
                todo.pop()
            elif element.tag == _W + "p":
                self._paragraph(element)
            elif element.tag == _W + "tbl":
                self._table(element)
            elif element.tag in (_W + "sdt", _W + "sdtContent", _W + "customXml", _W + "ins", _W + "moveTo", _W + "smartTag"):
                todo.append(iter(element))

    def _paragraph(self, element: Any) -> None:
        style = element.find(f"{_W}pPr/{_W}pStyle")
        level = self._levels.get(style.get(_W + "val"), 0) if style is not None else 0
        text = "" if level == _LEFT_OUT else _text(element)
        if level == _TITLE:
            self.title = self.title or one_line(text)
            self.blocks.heading(1, text)
        elif 1 <= level <= 9:
            self.blocks.heading(level, text)
        elif text.strip():
            listed = level == _LIST or element.find(f"{_W}pPr/{_W}numPr") is not None
            if not listed:
                self.blocks.end_block()
            for line in text.strip().splitlines():
                self.blocks.inline(line)
                self.blocks.end_line()
            if not listed:
                self.blocks.end_block()
        else:
            self.blocks.end_block()

    def _table(self, table: Any) -> None:
        self.blocks.end_block()
        for row in table.iter(_W + "tr"):
            if next(row.iterancestors(_W + "tbl")) is not table:
                continue  # of a table inside a cell, whose text is part of that cell
            cells = [one_line(_text(cell)) for cell in row.iter(_W + "tc") if next(cell.iterancestors(_W + "tr")) is row]
            if any(cells):
                self.blocks.inline(" | ".join(cells))
                self.blocks.end_line()
        self.blocks.end_block()


def _text(element: Any) -> str:
    """The visible text of a paragraph or a table cell; tabs and line breaks are kept as such."""
    parts: list[str] = []
    todo = list(reversed(element))
    while todo:
        element = todo.pop()
        tag = element.tag
        if tag in _SKIPPED or (tag == _W + "r" and _is_hidden(element)):
            continue
        if tag in (_W + "t", _MATH_TEXT):
            parts.append(element.text or "")
        elif tag == _W + "tab":
            parts.append("\t")
        elif tag in (_W + "br", _W + "cr", _W + "p", _W + "tc"):  # a paragraph inside one is that of a text box
            parts.append("\n")
            todo.extend(reversed(element))
        elif tag == _W + "noBreakHyphen":
            parts.append("-")
        elif tag != _W + "pPr":  # its w:tab elements are tab stops
            todo.extend(reversed(element))
    return "".join(parts)


def _is_hidden(run: Any) -> bool:
    vanish = run.find(f"{_W}rPr/{_W}vanish")
    return vanish is not None and vanish.get(_W + "val", "true") not in ("0", "false", "off")
