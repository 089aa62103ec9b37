"""Files made to be slow, deep or misleading: the formats that are text."""

from __future__ import annotations

import codecs
import encodings.aliases
from typing import NamedTuple


class Outside(NamedTuple):
    """What an attack tries to reach: files beside the indexed folder, and an address that counts its callers."""

    text: str
    dtd: str
    url: str


Attacks = dict[str, tuple[str, bytes]]  # {name of the attack: (file name, content)}
SIZE = 100_000
"""How often an attack repeats what it repeats: enough for a quadratic loop to be noticed."""


def _files(suffix: str, contents: dict[str, str | bytes]) -> Attacks:
    return {name: (f"a{suffix}", c.encode("utf-8", "surrogatepass") if isinstance(c, str) else c) for name, c in contents.items()}


def text_attacks(outside: Outside, n: int = SIZE, suffix: str = ".txt") -> Attacks:
    contents: dict[str, str | bytes] = {
        "long line": "word " * n * 10,
        "empty lines": "\n" * n * 50 + "x",
        "marks on one letter": "e" + "\u0301" * n * 10,
        "half a surrogate pair": "a\ud800b",
        "beyond the last character": b"a\xf4\x90\x80\x80",
        "overlong form": b"a\xc0\xafb",
        "NUL at the end": b"a" * 1_000_000 + b"\0",
        "odd UTF-16": codecs.BOM_UTF16_LE + b"a\0b",
        "UTF-16 surrogates": codecs.BOM_UTF16_LE + b"\x00\xd8" * 1000,
        "UTF-32 beyond": codecs.BOM_UTF32_LE + b"\xff\xff\xff\x7f",
        "only a mark": codecs.BOM_UTF32_BE,
        "marks alone": codecs.BOM_UTF8 * 100_000,
        "control characters": bytes(range(1, 32)) * 10_000,
        "letters that grow when folded": "\u0130\ufb03\u1e9e" * 300_000,
    }
    return _files(suffix, contents)


def markdown_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    deep = "".join(f"{'  ' * k}- a\n" for k in range(800))
    contents: dict[str, str | bytes] = {
        "quotes in quotes": ">" * n + " # a\n\na\n---\n",
        "spaced quotes": "> " * n + "a\n\n    # b\n",
        "items on one line": "- " * n + "a\n  # b\n",
        "items on one line, many times": ("- " * 500 + "a\n  # b\n") * 200,
        "rules that are none": "* " * n + "a\n  # b\n" + "_ " * n + "\n---\n" + "- " * n + "b\n---\n",
        "nested items": deep + "  " * 800 + "# a\n",
        "nested items, each with a heading": "".join(f"{'  ' * k}- a\n{'  ' * k}  # b\n" for k in range(600)),
        "numbers": "1. " * n + "a\n   # b\n",
        "fences in items": "- ```\n" * n + "# a\n",
        "fences of all lengths": "".join("`" * k + "\n" for k in range(3, 1000)) + "# a\n",
        "HTML in an item": "- a\n" + "  <a b\n" * n,
        "open comments in an item": "- a\n" + "  <!-x\n" * n,
        "open declarations in items": "- <!x\n" * n + "# a\n",
        "elements": "<div>\n" * n + "\n# a\n",
        "open tag": "<a " + "b " * n + "\n# a\n",
        "open tags": "<a b=c d\n" * n,
        "a late table": "a\n" * n + "a|b\n-|-\n" + "--\n" * n,
        "short underlines": "a\n    --\n" * n,
        "indented underlines": "a\n" + "    --\n" * n,
        "underlines": "a\n--\n" * n,
        "lazy quotes": "> a\n" + "a\n--\n" * n,
        "rules": "---\n" * n,
        "long paragraph": "a\n" * n + "===\n",
        "long paragraphs with definitions": "[a]: b\n" * n + "--\n" * n,
        "definitions": "# [a] [b]\n" + "[a\n" * n + "[" + "b" * n + "\n",
        "tabs": "\t" * n + "# a\n" + "-\t" * n + "a\n\t# b\n",
        "line ends": "\r" * n + "# a\r\r\n" + "\r\n\r" * n,
        "open front matter": "---\n" + "a: b\n" * n,
        "front matter of dashes": "---\n" + "--- \t" * n + "\n",
        "front matter with an open quote": '---\ntitle: "' + '\\"' * n + "\n---\na",
        "cells": "|".join("a" * n) + "\n" + "-|" * n + "\n--\n" + "a\n--\n",
    }
    inline = {
        "stars": "*a " * n,
        "stars in pairs": "**a" * n,
        "stars that close": "*a" * 165 + "a*" * 165,
        "underlines": "_a " * n,
        "underlines that close": "_a " * 120 + " a_" * 120,
        "brackets": "[" * n,
        "closed brackets": "[" * 300 + "]" * 300 + "(a)",
        "links": "[a](" * n,
        "links with blanks": ("[a](" + " " * 240) * 4,
        "links in brackets": "[a](" + "(" * n,
        "images": "![" * n,
        "ticks": "".join("`" * (k % 40 + 1) + " " for k in range(300)),
        "tags": "<a " * n,
        "attributes": "<a" + " a" * n,
        "attributes with blanks": "<a" + " " * 300 + "a=" + " " * 300,
        "entities": "&" * n,
        "escapes": "\\" * n,
        "comments": "<!--" * n,
        "anchors": "{#" * n,
        "blanks": "a" + " " * n + "#",
        "private characters": "\U000f0000`a`" * 200,
        "angles": "<a:" * 300,
    }
    for name, line in inline.items():
        line = line[:1000]
        contents[f"headings of {name}"] = f"# {line}\n" * (n // 300)
        contents[f"a heading of {name} over lines"] = line.replace(" ", "\n") + "\n===\n"
    return _files(".md", contents)


def rst_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    marks = "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"
    titles = {
        "a role": ":" * n,
        "ticks": "`" * n,
        "stars": "*a " * n,
        "strong": "**a" * n,
        "fields": ":a" + "\\:" * n,
        "blanks": "a" + " " * n + "b",
        "underscores": "a_" * n,
        "escapes": "\\" * n,
        "wide letters": "\u6f22" * n,
        "dots": "a.+:-" * n,
    }
    contents: dict[str, str | bytes] = {
        f"title of {name}": f"{t[:2000]}\n{'=' * 2000}\n\n" * 100 + f"{t}\n====\n" for name, t in titles.items()
    }
    contents |= {
        "adornments": "====\n" * n,
        "overlines": "====\na\n" * n,
        "overlined": "====\na\n====\n\n" * n,
        "every adornment": "".join(f"{c * 5}\na\n{c * 5}\n\nb\n{c * 4}\n\n" for c in marks) * 300,
        "open tables": "=== ===\n" * n,
        "open tables apart": "=== ===\na\n\n" * n,
        "a long table": "== ==\n" + "a\n" * n + "== ==\n" * n,
        "a long adornment": "=" * n * 10 + "\n",
        "a long adornment that is none": "=" * n * 10 + "a\n",
        "blank table borders": "= " * n + "\n" + "= =\n" * n,
        "included files": f".. include:: {outside.text}\n\n.. raw:: html\n   :file: {outside.text}\n\n"
        f".. csv-table::\n   :url: {outside.url}\n",
    }
    return _files(".rst", contents)


def html_attacks(outside: Outside, n: int = SIZE) -> Attacks:
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    tags = "div b p li ul table td tr a span pre h1 dl blockquote svg math font form select title template object button ruby"
    nested = tags.split()
    contents: dict[str, str | bytes] = {f"{tag} in {tag}": f"<{tag}>" * n + "a" for tag in nested}
    contents |= {f"2,000 {tag} in {tag}": "<p>a</p>" + f"<{tag}>a" * 2000 + f"</{tag}>b" * 2000 for tag in nested}
    contents |= {
        "tables in tables": "<table><tr><td>" * n + "a",
        "600 tables in tables": "a" + "<table><tr><td>a" * 600,
        "tables of headings": "<table><tr><td>" * 300 + "<h1>a</h1>" * 20_000,
        "misnested": "<b><i><a><p>" * n + "a",
        "misnested and closed": "<a><b>x</a></b><i><table>y</i>" * 20_000,
        "lists": "a<ul><li>" * n + "a",
        "rows": "<table>" + "<tr><td>a<td>b" * n,
        "cells": "<table><tr>" + "<td>a" * n,
        "attributes": "<p " + "".join(f"a{k} " for k in range(n)) + ">a",
        "one attribute often": "<p " + 'class="anchor" ' * n + ">a",
        "long attribute": f'<p style="{"display :" * n}">a',
        "classes": f'<a class="{"anchor " * n}">a</a>' * 2,
        "permalinks": '<a class="anchor"><b>' * 2000 + "a",
        "open tag": "a<p " + "x" * n * 10,
        "open comment": "a<!--" + "-" * n * 10,
        "comments": "a" + "<!---->" * n,
        "entities": "a" + "&amp" * n + "&#" * n + "&#99999999999;" * n,
        "numbers": "a&#" + "9" * n + ";&#x110000;&#xD800;&#0;",
        "billion laughs": f'<!DOCTYPE html [<!ENTITY l0 "lol">{laughs}]><p>a&l9;',
        "laughs in the middle": f'<p>a<!DOCTYPE html [<!ENTITY l0 "lol">{laughs}]>&l9;',
        "outer entity": f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{outside.text}"><!ENTITY % y SYSTEM "{outside.url}"> %y;]><p>a&x;',
        "outer DTD": f'<!DOCTYPE html SYSTEM "file://{outside.dtd}"><p>a&canary;',
        "DTD from the network": f'<!DOCTYPE html PUBLIC "x" "{outside.url}"><p>a',
        "fetched": f'<base href="{outside.url}"><link rel=stylesheet href="{outside.url}"><script src="{outside.url}"></script>'
        f'<iframe src="file://{outside.text}"></iframe><object data="{outside.url}"></object><img src="{outside.url}">a',
        "included": f'<x xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file://{outside.text}" parse="text"/>a</x>',
        "open doctype": "<!DOCTYPE a [" + "]" * n,
        "doctype with blanks": "<!DOCTYPE a [" + ("]" + " " * 100) * 10_000,
        "declaration": "<?xml " + "a" * n,
        "encoding declared late": "a" * 5000 + "<meta charset=utf-7>" * 1000,
        "headings": "<h1>a</h1>" * n,
        "title of titles": "<title>" + "<title>a" * n + "</title>a",
        "svg titles": "<svg><title>" * 2000 + "a</title></svg><p>a",
        "breaks": "a" + "<br>" * n,
        "blocks": "a" + "<div></div>" * n,
        "NUL reference": "<p>a\u0001\u0085\ufffe\uffff</p>",
        "framesets": "<frameset>" * 1000 + "<noframes>a",
        "namespaces": "<a:b xmlns:a='" + "x" * n + "'>a" + "<svg:p>" * 1000,
        "processing instructions": "a" + "<?a b?>" * n,
    }
    made = _files(".html", contents)
    odd = "idna punycode undefined unicode_escape raw_unicode_escape palmos mbcs utf-7 a.b encodings.idna .. utf_8_sig _codecs aliases"
    for name in sorted({*encodings.aliases.aliases.values(), *odd.split(), "hex", "rot13", "1", ":", "-", "x" * 900}):
        body = f'<meta charset="{name}">a \\N{{BEL}} \\x \\ud800 xn--a +AGE- '.encode() + bytes(range(128, 256))
        made[f"charset {name[:20]}"] = ("a.html", body)
    return made
