"""HTML pages: the text that a reader of the page sees, with its headings.

Scripts, styles, templates, navigation, form controls, hidden elements and the line numbers of listings are left out. Nothing outside the
file is fetched, and no entity that the page itself defines is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragkit.errors import LoadError
from ragkit.loaders.blocks import Blocks, one_line
from ragkit.loaders.charsets import ERRORS, page_codec
from ragkit.loaders.decode import decode, is_blank, marked_encoding, read_bytes
from ragkit.loaders.foreign import parsing
from ragkit.loaders.options import LoadOptions, Report
from ragkit.registry import need
from ragkit.types import Document

_DROPPED_TAGS = """script style noscript template nav head svg canvas iframe object embed applet audio video map
    select textarea button input datalist dialog"""
_BLOCK_TAGS = """address article aside blockquote body center details div dl fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header
    hgroup hr legend main ol p pre section summary table tbody tfoot thead caption ul"""
_DROPPED = frozenset(_DROPPED_TAGS.split())
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_LINES = frozenset(("li", "dt", "dd", "tr", "br"))
_HEADING = re.compile(r"h[1-6]")
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']\s*([A-Za-z0-9_.:-]+)")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_PERMALINKS = frozenset(("headerlink", "anchor", "anchor-link", "permalink"))
_PERMALINK_TEXTS = frozenset(("", "#", "¶", "§"))
_MOST_ATTRIBUTES = 20_000  # of one tag: the parser's time grows with the square of their number
_ATTRIBUTE = r"""(?>[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+)?+)?+)"""
_OPENING = r"<[A-Za-z][^\s/>]*+"
_TAGS = re.compile(
    rf"(?P<huge>{_OPENING}{_ATTRIBUTE}{{{_MOST_ATTRIBUTES + 1}}})"
    r"|<(?P<raw>script|style|title|textarea|xmp|iframe|noembed|noframes)(?![A-Za-z]).*?(?:</(?P=raw)|\Z)"  # no tags inside
    rf"|<!--.*?(?:-->|\Z)|{_OPENING}{_ATTRIBUTE}*+",
    re.IGNORECASE | re.DOTALL,
)
_PROLOGUE = re.compile(r"\ufeff?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!DOCTYPE[^\[>]*\[.*?\]\s*>)?", re.IGNORECASE | re.DOTALL)


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document: blocks apart by a blank line, list items and ``a | b`` table rows on lines, pre as it stands.

    The encoding is that of the byte-order mark, `options.encoding`, the page's own declaration
    (a meta element, else an XML declaration; read as browsers do), or UTF-8. The title is
    the page's, else its first h1, else the file's stem.
    """
    data = read_bytes(path, options)
    declared = None if options.encoding else _declared(data)
    text = decode(data, options.encoding or declared, ERRORS if declared else "strict")
    root = _parse(text)
    page = _Page()
    if root is not None:
        page.read(root)
    if is_blank(page.text):
        raise LoadError("the file is empty: no text is left of the page without its scripts, navigation and hidden parts")
    titles = [] if root is None else [one_line("".join(t.itertext())) for t in root.iter("title") if t.getparent().tag != "svg"]
    first = next((h.text for h in page.headings if h.level == 1), "")
    title = next(filter(None, titles), "") or first or path.stem
    yield Document(text=page.text, title=title, headings=page.headings)


def _declared(data: bytes) -> str | None:
    """The codec named by a meta element in the first 1,024 bytes, else by an XML declaration.

    A page that can be searched for its encoding is not UTF-16, whatever it says.
    """
    if marked_encoding(data) is not None:
        return None
    found = _CHARSET.search(data[:1024]) or _XML_ENCODING.match(data)
    name = found.group(1).decode("ascii") if found else None
    return None if name is None or name.lower().startswith(("utf-8", "utf8", "utf-16", "utf-32")) else page_codec(name)


def _parse(text: str) -> Any:
    etree = need("lxml.etree", extra="files", why="reading an HTML page")
    # Python has decoded already: an XML declaration would ask for another encoding, an internal subset would show as text
    text = text[_PROLOGUE.match(text).end() :]  # type: ignore[union-attr]  # every part of the pattern is optional
    if len(text) > 2 * _MOST_ATTRIBUTES and any(tag["huge"] for tag in _TAGS.finditer(text)):
        raise LoadError(
            f"the HTML page is broken (a tag of more than {_MOST_ATTRIBUTES:,} attributes); open and save it again in a browser"
        )
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    with parsing("the HTML page"):
        root = etree.fromstring(text.encode("utf-8"), parser)
        fatal = next((e for e in parser.error_log if e.type_name == "ERR_RESOURCE_LIMIT"), None)
    if fatal is not None:  # the parser stops there and would silently drop the rest
        raise LoadError(f"the HTML page is broken ({one_line(fatal.message)}); its elements are nested too deep to be a text")
    return root


class _Page:
    """Walks the tree once, without recursion, into `Blocks`."""

    def __init__(self) -> None:
        self._out = [Blocks()]  # the page; above it the heading or table cell that is being read
        self._pre = 0
        self._tables: list[bool] = []  # of each open table: does it hold data (True) or lay out the page?
        self._rows: list[list[str]] = []

    @property
    def text(self) -> str:
        return self._out[0].text.strip("\n")

    @property
    def headings(self) -> tuple[Any, ...]:
        return self._out[0].headings

    def read(self, root: Any) -> None:
        etree = need("lxml.etree", extra="files", why="reading an HTML page")
        walker = etree.iterwalk(root, events=("start", "end"))
        dropped = None
        for event, element in walker:
            tag = element.tag
            if event == "start":
                if tag in _DROPPED or _is_hidden(element):
                    dropped = element
                    walker.skip_subtree()
                else:
                    self._start(element, tag)
            else:
                if dropped is element:
                    dropped = None
                else:
                    self._end(element, tag)
                if element is not root:
                    self._write(element.tail)

    def _write(self, text: str | None) -> None:
        if text and self._pre and len(self._out) == 1:
            self._out[0].verbatim(text)
        elif text:
            self._out[-1].inline(text)

    def _break(self, element: Any) -> None:
        """What an element does to the line before and after it; blocks directly inside a list item stay with it."""
        tag, parent = element.tag, element.getparent()
        if tag == "br" and self._pre:
            return
        in_item = tag in ("ul", "ol", "p") and parent is not None and parent.tag == "li"
        if tag in _LINES or in_item:
            self._out[-1].end_line()
        elif tag in _BLOCKS or (tag in ("td", "th") and not self._is_cell(tag)):
            self._out[-1].end_block()

    def _start(self, element: Any, tag: str) -> None:
        text = element.text
        self._break(element)
        if tag == "pre":
            self._pre += 1
            text = text[1:] if text and text.startswith("\n") else text
        elif tag == "table":
            self._tables.append(_holds_data(element))
        elif tag == "tr" and self._tables and self._tables[-1]:
            self._rows.append([])
        elif self._is_cell(tag) or _HEADING.fullmatch(tag):
            self._out.append(Blocks())
        self._write(text)

    def _end(self, element: Any, tag: str) -> None:
        if tag == "pre":
            self._pre -= 1
        elif tag == "table":
            self._tables.pop()
        elif tag == "tr" and self._tables and self._tables[-1]:
            row = self._rows.pop()
            if any(row):
                self._out[-1].inline(" | ".join(row))
        elif self._is_cell(tag):
            self._rows[-1].append(one_line(self._out.pop().text))
        elif _HEADING.fullmatch(tag):
            heading = self._out.pop().text
            if len(self._out) == 1:
                self._out[0].heading(int(tag[1]), heading)
            else:  # inside another heading or a cell it is part of that line
                self._out[-1].inline(heading)
        elif tag == "br" and self._pre:
            self._write("\n")
        self._break(element)

    def _is_cell(self, tag: str) -> bool:
        return tag in ("td", "th") and bool(self._tables) and self._tables[-1] and bool(self._rows)


def _holds_data(table: Any) -> bool:
    """A table with a table, a heading or a listing inside lays out a page; only others become lines of cells."""
    inside = table.iter("table", "pre", "h1", "h2", "h3", "h4", "h5", "h6")
    return all(e is table for e in inside)


def _is_hidden(element: Any) -> bool:
    """Hidden by the page, or of no use to a reader of its text: menus, line numbers, links to the heading beside them."""
    tag = element.tag
    if tag in ("html", "body"):
        return False
    get = element.get
    classes = (get("class") or "").split()
    return (
        get("hidden") is not None
        or get("aria-hidden") == "true"
        or (get("role") or "").strip().lower() == "navigation"
        or bool(_HIDDEN_STYLE.search(get("style") or ""))
        or (bool(classes) and (_numbers_lines(tag, classes) or _is_permalink(element, classes)))
    )


def _numbers_lines(tag: str, classes: list[str]) -> bool:
    return "linenos" in classes or "linenodiv" in classes or (tag == "td" and "gutter" in classes)


def _is_permalink(element: Any, classes: list[str]) -> bool:
    if element.tag != "a" or _PERMALINKS.isdisjoint(classes):
        return False
    return "headerlink" in classes or "".join(element.itertext()).strip() in _PERMALINK_TEXTS
