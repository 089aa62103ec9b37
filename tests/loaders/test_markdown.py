"""Markdown: headings against markdown-it-py, titles, front matter."""

from __future__ import annotations

import bisect
import itertools
import os
import random
import re
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ragkit.loaders.inline_markup import LONGEST, plain
from ragkit.loaders.markdown import front_matter, markdown_headings
from tests.loaders.makers import load

Line = tuple[int, int, str]
CPP_DOCS = Path(os.environ.get("RAGKIT_DATA", "../shared/data")) / "cpp-docs/cpp-docs.tar.xz"
_PARSER = MarkdownIt("commonmark").enable("table")
_IN_CONTAINER = re.compile(r"[ \t]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]|>)")  # on the line of a list marker or a quote: no section


def _render(children: Iterable[Any]) -> str:
    kinds = {"text": lambda t: t.content, "code_inline": lambda t: t.content, "softbreak": lambda t: " ", "hardbreak": lambda t: " "}
    kinds |= {"text_special": lambda t: t.content, "image": lambda t: _render(t.children)}
    return "".join(kinds[t.type](t) for t in children if t.type in kinds)


def oracle(text: str) -> list[Line]:
    """(line, level, text) of the headings outside block quotes, as markdown-it-py sees them."""
    found: list[Line] = []
    quotes = 0
    lines = text.split("\n")
    tokens = _PARSER.parse(text)
    for token, inner in itertools.pairwise(tokens):
        quotes += (token.type == "blockquote_open") - (token.type == "blockquote_close")
        if token.type == "heading_open" and not quotes and token.map and not _IN_CONTAINER.match(lines[token.map[0]]):
            found.append((token.map[0], int(token.tag[1]), " ".join(_render(inner.children or ()).split())[:LONGEST]))
    return found


def ours(text: str, start: int = 0) -> list[Line]:
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    return [(bisect.bisect_right(starts, h.start) - 1, h.level, h.text) for h in markdown_headings(text, start)]


# Blocks that stand apart, as people write them. Free mixing of their lines is measured by `test_hostile_mixtures`.
blocks = st.sampled_from(
    [
        "# One",
        "## Two ##",
        "###### Six",
        "####### seven",
        "#none",
        "#",
        "   ### indented",
        "    # code",
        "\t# code",
        "Title\n=====",
        "Two lines\nof title\n---",
        "text\n    ---",
        "para\n# interrupts",
        "```\n# no\n```",
        "~~~ sh\n# no\n```\n## no\n~~~",
        "````\n```\n# no\n````",
        "``` not `a fence\n# yes",
        "- item\n\n  ```\n  # no\n  ```",
        "1. item\n\n   ```sh\n# not closed by this, but outside\n",
        "1. item\n\n   ## in item",
        "10. item\n\n    ## in item\n\n    ```\n    # no\n    ```",
        "- ```\n  # no\n  ```\n# yes",
        "- foo\n---",
        "- foo\nlazy\n---",
        "> quote\n---",
        "> # quoted",
        "> quote\nlazy\n===",
        "***",
        "* * *\nTitle\n---",
        "<!--\n# no\n-->",
        "<!-- one line -->\n# yes",
        "<div>\n# no\n</div>",
        "<pre>\n\n# no\n\n</pre>",
        "<span>\n# no",
        "text\n<span>\n# yes",
        "| a | b |\n|---|---|\n| 1 | 2 |\n---",
        "a | b\n---",
        "[ref]: /url\n---",
        "[ref]: /url\nTitle\n---",
        "2. two\n\n    # code",
        "text\n2. no list\n===",
        "-\n\n  # after an empty item",
        '# a `code # x` **bold** _em_ [link](u "t") ![img](s) <b>tag</b> &amp; \\* end #',
        "## snake_case_name and 2*3*4",
        "# [text][ref] and [ref] and [no]",
        "plain text",
        "two\nlines",
    ]
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(blocks, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_headings_are_those_of_markdown_it(parts: list[str], end: str) -> None:
    text = "\n\n".join(parts) + "\n"
    expected = oracle(text)
    assert ours(text) == expected
    other = text.replace("\n", end)
    headings = markdown_headings(other)
    assert [(h.level, h.text) for h in headings] == [(level, t) for _, level, t in expected]
    for heading in headings:
        assert heading.start == 0 or other[heading.start - 1] in "\r\n"


_LINES = """# A|## B #|###C|#|   ### D|    # E|text|more|||===|---|- item|  - nested|1. one|2. two|   # in|      # deep|```|~~~|  ```
    ```|# *em*
# `c`|> quote|> # q|<!-- c|c -->|<div>|</div>|<span>|***|    code|\tcode|  text2|-|* * *|  ---|  ===|- ```|    text4|-   para|10. ten"""


def test_hostile_mixtures() -> None:
    """Any lines in any order. What remains are lists that begin with an empty item or go on lazily below a quote."""
    lines = _LINES.replace("\n", "|").split("|")
    rng = random.Random(7)
    n, same = 3000, 0
    for _ in range(n):
        text = "\n".join(rng.choice(lines) for _ in range(rng.randint(1, 8))) + "\n"
        same += ours(text) == oracle(text)
    assert same / n >= 0.99


@pytest.mark.skipif(not CPP_DOCS.exists(), reason="the documentation corpus is absent")
def test_a_documentation_corpus() -> None:
    """Every heading of 300 real files, found at 20 megabytes a second and more."""
    texts: list[str] = []
    with tarfile.open(CPP_DOCS) as archive:
        for n, member in enumerate(archive):
            if n % 7 == 0 and member.isfile() and (data := archive.extractfile(member)):
                texts.append(data.read().decode("utf-8"))
            if len(texts) == 300:
                break
    total = 0
    for text in texts:
        _, start = front_matter(text)
        body = re.sub(r"[^\r\n]", " ", text[:start]) + text[start:]
        expected = oracle(body.replace("\r\n", "\n").replace("\ufeff", " "))
        assert ours(text, start) == expected
        total += len(expected)
    assert total > 1000


def test_linear_in_the_length_of_hostile_texts() -> None:
    n = 50_000
    paragraphs = ("text\n" * n, "x\n" + "<b>\n" * n, "x\n" + "    ===\n" * n, "> a\n" * n + "===", "[a]: b\n" * n + "=")
    lists = ("- a\n" + "  b\n <b>\n" * n, "- " * n, "- a\n  # b\n" * n, "- a\n  ```\n" * n)
    for text in (*paragraphs, *lists, "# " + "[" * n, "# " + "*a " * n, "---\n" + "a: b\n" * n):
        began = time.perf_counter()
        markdown_headings(text, front_matter(text)[1])
        assert time.perf_counter() - began < 10, text[:20]  # about a second at most; minutes if it were quadratic


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("`a *b* c`", "a *b* c"),
        ("`` ` ``", "`"),
        ("**bold *and em***", "bold and em"),
        ("snake_case and __init__", "snake_case and init"),
        ("operator*(a, b) * c", "operator*(a, b) * c"),
        ('[`code` link](x.md "t") tail', "code link tail"),
        ("[[nodiscard]] attribute", "[[nodiscard]] attribute"),
        ("![alt](img.png) x", "alt x"),
        ('<a name="x"></a>Name', "Name"),
        ("vector<int> v", "vector v"),
        ("`vector<int>` v", "vector<int> v"),
        ("operator\\<\\<", "operator<<"),
        ("a &lt; b &copy; &nosuch;", "a < b © &nosuch;"),
        ("<https://x.y/z>", "https://x.y/z"),
        ("Heading {#anchor}", "Heading"),
        ("Heading { .class }", "Heading { .class }"),
        ("Known [label] and [text][label]", "Known label and text"),
        ("a[1][2]", "a[1][2]"),
        ("x" * 2000, "x" * LONGEST),
    ],
)
def test_inline_markup(source: str, text: str) -> None:
    assert plain(source, lambda label: label == "label") == text


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("---\ntitle: Plain title # comment\n---\nB", "Plain title", "B"),
        ('---\r\ntitle: "Quo\\"ted: x"\r\nms.date: 1\r\n---\r\nB', 'Quo"ted: x', "B"),
        ("\ufeff---\ntitle: 'It''s'\n...\nB", "It's", "B"),
        ("---\ndescription: >\n  long\n  text\ntags:\n- a\n---\nB", "", "B"),
        ("---\ntitle: |\n  x\n---\nB", "", "B"),
        ("---\n---\nB", "", "B"),
        ("---\ntitle: x\nB", "", "---\ntitle: x\nB"),
        ("---\nJust text.\n\nMore.\n---\nB", "", "---\nJust text.\n\nMore.\n---\nB"),
        ("# No\n---\ntitle: x\n---\n", "", "# No\n---\ntitle: x\n---\n"),
    ],
)
def test_front_matter(text: str, title: str, body: str) -> None:
    found, start = front_matter(text)
    assert (found, text[start:]) == (title, body)


def test_the_document(tmp_path: Path) -> None:
    text = "---\ntitle: On *x*\n---\n# Head\r\n\r\n## Sub `b`\nBody\n"
    [document], _ = load(tmp_path, "a.md", text)
    assert (document.text, document.title) == (text, "On *x*")
    assert document.body_start == text.index("# Head")
    assert [(text[h.start :].split()[0], h.level, h.text) for h in document.headings] == [("#", 1, "Head"), ("##", 2, "Sub b")]


def test_titles_without_front_matter(tmp_path: Path) -> None:
    assert load(tmp_path, "a.md", "## Two\n\n# One `x`\n")[0][0].title == "One x"
    assert load(tmp_path, "stem.md", "## Two\n")[0][0].title == "stem"
    [marked], _ = load(tmp_path, "b.md", "\ufeff# Marked\n")
    assert (marked.title, marked.headings[0].start) == ("Marked", 0)


def test_a_paragraph_above_dashes_is_no_heading() -> None:
    paragraph = "This sentence goes on and on. " * 10
    text = f"# Title\n\n{paragraph}\n---\n\nText\n"
    assert [h.text for h in markdown_headings(text)] == ["Title"]
