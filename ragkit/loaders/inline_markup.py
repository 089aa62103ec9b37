"""The plain text of a Markdown heading: code, emphasis, links, tags, escapes and entities as a reader sees them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

LONGEST = 500  # characters of a heading that are kept: it is repeated with every passage below it

_OPAQUE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|<(?P<link>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[\w.+-]+@[\w.-]+)>"
    r"|(?P<tag><!--.*?-->|</[A-Za-z][\w-]*\s*>|<[A-Za-z][\w-]*(?:\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'|\"[^\"]*\"))?)*\s*/?>)"
    r"|(?P<entity>&(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)"
)
_TARGET = r"\((?:\s*(?:<[^<>]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?\s*)\)"
_IMAGE = re.compile(r"!\[([^\[\]]*)\]" + _TARGET)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]" + _TARGET)
_REFERENCE = re.compile(r"!?\[([^\[\]]+)\](?:\[([^\[\]]*)\])?")
_STARS = re.compile(r"(\*{1,3})(?=[^\s*])(.+?)(?<=[^\s*])\1")
_UNDERLINES = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])(.+?)(?<=[^\s_])\1(?!\w)")
_ANCHOR = re.compile(r"\s*\{[#.:][^{}]*\}\s*$")
_PRIVATE = range(0xF0000, 0xFFFFE)


def plain(source: str, has_label: Callable[[str], bool] = lambda label: False) -> str:
    """The text of a heading without its markup, on one line, at most `LONGEST` characters.

    has_label  whether the document defines a link label; ``[text][label]`` and ``[label]`` are links only then

    >>> plain("The `a_b` of [*all* things](x.md) &amp; C\\\\* {#id}")
    'The a_b of all things & C*'
    """
    source = source[: 2 * LONGEST]
    text = _ANCHOR.sub("", source)
    if not _MARKED.search(text):
        return " ".join(text.split())[:LONGEST]
    kept: dict[str, str] = {}
    free = (c for c in map(chr, _PRIVATE) if c not in source)  # stand in for what no other rule may touch

    def keep(match: re.Match[str]) -> str:
        if match["tag"] is not None:
            return ""
        if match["code"] is not None:
            code = match["code"].replace("\n", " ")
            padded = len(code) > 2 and code[0] == code[-1] == " " and code.strip() != ""
            value = code[1:-1] if padded else code
        else:
            value = html.unescape(match["entity"]) if match["entity"] else match["escaped"] or match["link"]
        key = next(free)
        kept[key] = value
        return key

    def refer(match: re.Match[str]) -> str:
        label = match[2] or match[1]
        return match[1] if has_label("".join(kept.get(c, c) for c in label)) else match[0]

    text = _OPAQUE.sub(keep, text)
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _REFERENCE.sub(refer, text)
    for pattern in (_STARS, _UNDERLINES):
        before = ""
        while before != text:
            before, text = text, pattern.sub(r"\2", text)
    return " ".join("".join(kept.get(c, c) for c in text).split())[:LONGEST]


_MARKED = re.compile(r"[\\`<&\[*_]")
