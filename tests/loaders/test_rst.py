"""reStructuredText: section titles against docutils."""

from __future__ import annotations

from pathlib import Path

import docutils.core
import pytest
from docutils import nodes
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.loaders.rst import rst_headings
from tests.loaders.makers import load

_SETTINGS = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "doctitle_xform": False,
    "_disable_config": True,
}


def oracle(text: str) -> list[tuple[int, str]]:
    """(level, text) of the sections as docutils nests them."""
    found = []
    for section in docutils.core.publish_doctree(text, settings_overrides=_SETTINGS).findall(nodes.section):
        level, node = 0, section
        while node is not None:
            level += isinstance(node, nodes.section)
            node = node.parent
        title = section.next_node(nodes.title)
        found.append((level, " ".join(title.astext().split())))
    return found


titles = st.sampled_from(
    ["Title", "A longer title", "Ünï 日本", "``code`` and *em*", "1. Intro", "A :literal:`role` here", "link_ to", r"a\*b", "NAME_<X>"]
)
others = st.sampled_from(
    [
        "para one\nsecond line",
        "- item\n- item",
        "::\n\n   literal\n   ====",
        ".. note::\n\n   In note\n   -----",
        "=====  =====\na      b\n=====  =====\n1      2\n=====  =====",
        "=====  =====\nspan\n------------\na      b\n=====  =====",
        "| line\n| block",
        "----",
        "1. x\n2. y",
        ">>> x\n====",
        "term\n   def",
        "para\nnot a title\n====",
        "+---+\n| a |\n+---+",
        ":field: x",
        "    quote\n    -----",
        "ab\n=",
        ".. comment",
        ".. _target:",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Sections that nest without leaving out a level, which docutils would refuse, and other blocks between them."""
    parts: list[str] = []
    styles = draw(st.permutations(["=", "-", "~", "==", "--"]))
    level = seen = 0
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            level = draw(st.integers(1, min(level + 1, len(styles))))
            seen = max(seen, level)
            style, title = styles[level - 1], draw(titles)
            line = style[0] * (len(title) + 5)
            parts.append(f"{line}\n{title}\n{line}" if len(style) == 2 else f"{title}\n{line}")
        else:
            parts.append(draw(others))
    return "\n\n".join([*parts, ".. _link: https://example.org"]) + "\n"


@settings(derandomize=True, deadline=None, max_examples=150)
@given(documents(), st.sampled_from(["\n", "\r\n"]))
def test_headings_are_those_of_docutils(text: str, end: str) -> None:
    other = text.replace("\n", end)
    headings = rst_headings(other)
    assert [(h.level, h.text) for h in headings] == oracle(text)
    for heading in headings:
        assert heading.start == 0 or other[heading.start - 1] == "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("===\nTop\n===\n\nx\n", [(0, 1, "Top")]),
        ("Intro\n\nSub\n---\n", [(7, 1, "Sub")]),
        ("A\n=\n\nB\n-\n\nC\n=\n", [(0, 1, "A"), (5, 2, "B"), (10, 1, "C")]),
        ("Long title\n---\n", []),  # an adornment of three may not be too short
        ("Long title\n----\n", [(0, 1, "Long title")]),
        (".. note::\n   text\nTitle\n=====\n", [(18, 1, "Title")]),
        ("Title\n=====\nSub\n---\n", [(0, 1, "Title"), (12, 2, "Sub")]),
    ],
)
def test_worked_examples(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert [tuple(h) for h in rst_headings(text)] == expected


def test_the_document(tmp_path: Path) -> None:
    text = "\ufeffThe ``x``\r\n=========\r\n\r\nBody\r\n"
    [document], _ = load(tmp_path, "a.rst", text)
    assert (document.text, document.title, document.headings[0].start) == (text, "The x", 0)
    assert load(tmp_path, "stem.rst", "text\n")[0][0].title == "stem"
