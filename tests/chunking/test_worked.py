"""Worked examples: where each chunker cuts, and why."""

from __future__ import annotations

import re

from ragkit.chunking import Headings, Recursive, Sentences, Tokens, count_tokens
from ragkit.types import Document, Heading


def markdown(text: str, body_start: int = 0) -> Document:
    found = re.finditer(r"^(#+) (.*)$", text, re.M)
    return Document(text, headings=tuple(Heading(m.start(), len(m[1]), m[2]) for m in found), body_start=body_start)


def cut(chunker: Tokens | Sentences | Recursive | Headings, document: Document | str) -> list[str]:
    document = Document(document) if isinstance(document, str) else document
    return [document.text[s.start : s.end] for s in chunker.split(document)]


def paths(chunker: Headings, text: str) -> list[tuple[tuple[str, ...], str]]:
    document = markdown(text)
    return [(s.headings, text[s.start : s.end]) for s in chunker.split(document)]


def test_count_tokens() -> None:
    assert count_tokens("One isn't, 3.14") == 8  # One isn ' t , 3 . 14
    assert count_tokens("====\n----- ....") == 3
    assert count_tokens("日本 한국어 हिन्दी") == 4
    assert count_tokens("x" * 81) == 3  # 40 + 40 + 1
    assert count_tokens("") == count_tokens(" \u3000\n") == 0


def test_tokens() -> None:
    assert cut(Tokens(size=3, overlap=0), "a b c d") == ["a b c", "d"]
    assert cut(Tokens(size=3, overlap=2), " a b c d e ") == ["a b c", "b c d", "c d e"]
    assert cut(Tokens(size=4, overlap=1), "a b c d") == ["a b c d"]  # no window that only repeats
    assert cut(Tokens(size=2, overlap=0), "漢字。 ok") == ["漢字", "。 ok"]


def test_sentences() -> None:
    text = "A b. C d. E f. G h."  # three tokens each
    assert cut(Sentences(size=6), text) == ["A b. C d.", "E f. G h."]
    assert cut(Sentences(size=6, overlap=1), text) == ["A b. C d.", "C d. E f.", "E f. G h."]
    assert cut(Sentences(size=5, overlap=1), text) == ["A b.", "C d.", "E f.", "G h."]  # no room to repeat one
    assert cut(Sentences(size=4), "A b. C d e f g. H i.") == ["A b.", "C d e f", "g.", "H i."]


def test_recursive() -> None:
    text = "One two.\n\nThree four\nfive six\n\nSeven. Eight nine ten."
    assert cut(Recursive(size=100), text) == [text]
    assert cut(Recursive(size=7), text) == ["One two.\n\nThree four\nfive six", "Seven. Eight nine ten."]
    assert cut(Recursive(size=4), text) == ["One two.", "Three four\nfive six", "Seven.", "Eight nine ten."]
    assert cut(Recursive(size=3), text) == ["One two.", "Three four", "five six", "Seven.", "Eight nine ten", "."]
    assert cut(Recursive(size=7, overlap=4), text) == ["One two.\n\nThree four\nfive six", "Seven. Eight nine ten."]
    assert cut(Recursive(size=4, overlap=2), "a\nb\nc\nd\ne\nf") == ["a\nb\nc\nd", "c\nd\ne\nf"]


def test_crlf_is_one_line_break() -> None:
    assert cut(Recursive(size=3), "a\r\nb\r\n\r\nc d") == ["a\r\nb", "c d"]
    assert cut(Recursive(size=4), "a\r\n\r\nb c\r\nd e") == ["a", "b c\r\nd e"]  # the second paragraph fits whole
    assert cut(Recursive(size=4), "a\n\nb c\nd e") == ["a", "b c\nd e"]


LONG = " ".join(f"w{n}" for n in range(24))


def test_headings_paths() -> None:
    text = f"Intro.\n\n# A\n{LONG}\n\n## B\n{LONG}\n\n### C\n{LONG}\n\n## D\n{LONG}\n\n# E\n{LONG}\n"
    got = paths(Headings(), text)
    assert [p for p, _ in got] == [(), ("A",), ("A", "B"), ("A", "B", "C"), ("A", "D"), ("E",)]
    assert [t for _, t in got] == ["Intro.", *(f"{'#' * n} {h}\n{LONG}" for n, h in [(1, "A"), (2, "B"), (3, "C"), (2, "D"), (1, "E")])]


def test_a_bare_heading_stands_before_what_follows() -> None:
    assert paths(Headings(), f"# A\n\n## B\n\n### C\n{LONG}") == [(("A", "B", "C"), f"# A\n\n## B\n\n### C\n{LONG}")]
    assert paths(Headings(), f"# A\n\n# B\n{LONG}") == [(("B",), f"# A\n\n# B\n{LONG}")]
    # under another parent it may not go, and no text may be lost
    assert paths(Headings(), f"# A\n{LONG}\n## B\n\n# C\n{LONG}")[1:] == [(("A", "B"), "## B"), (("C",), f"# C\n{LONG}")]
    assert paths(Headings(), f"# A\n{LONG}\n# B") == [(("A",), f"# A\n{LONG}"), (("B",), "# B")]
    assert paths(Headings(), "# A") == [(("A",), "# A")]


def test_underlined_headings_count_as_bare() -> None:
    text = f"A\n===\n\nB\n---\n{LONG}"
    document = Document(text, headings=(Heading(0, 1, "A"), Heading(7, 2, "B")))
    assert [s.headings for s in Headings().split(document)] == [("A", "B")]


def test_small_sections_join_their_sibling() -> None:
    text = f"# A\n{LONG}\n## B\nb\n\n## C\nc\n\n## D\n{LONG}\n## E\n{LONG}\n# F\nf"
    assert [(p, t[:4]) for p, t in paths(Headings(), text)] == [
        (("A",), "# A\n"),
        (("A",), "## B"),
        (("A", "E"), "## E"),
        (("F",), "# F\n"),
    ]
    # not where both together are too large
    assert [p for p, _ in paths(Headings(size=30), text)][:4] == [("A",), ("A",), ("A", "D"), ("A", "E")]
    # and a bare heading is not taken away from the section below it
    assert [p for p, _ in paths(Headings(), "# A\na\n# B\n## C\nc")] == [("A",), ("B", "C")]


def test_long_sections_keep_their_heading_on_the_first_span() -> None:
    text = f"# A\n## B\n\n{LONG}\n\n{LONG}"  # 2 + 3 tokens of headings ("##" is one), 24 a paragraph
    got = paths(Headings(size=26), text)
    assert got[0][1].startswith("# A\n## B\n\nw0 w1 ")
    assert {p for p, _ in got} == {("A", "B")}
    assert all(count_tokens(t) <= 26 for _, t in got)
    tiny = paths(Headings(size=2), "# A b c\nd")  # the heading alone exceeds the size
    assert [t for _, t in tiny] == ["# A", "b c", "d"]


def test_headings_inside_the_front_matter_only_lend_their_name() -> None:
    text = "# Front\n---\n# Body\nwords"
    document = markdown(text, body_start=12)
    assert cut(Headings(), document) == ["# Body\nwords"]
    assert cut(Headings(), Document(text, headings=(Heading(0, 1, "Front"),), body_start=12)) == ["# Body\nwords"]


def test_a_block_of_code_is_not_cut_at_its_blank_lines() -> None:
    code = "```python\none = 1\n\n\ntwo = 2\n\nthree = 3\n```"
    text = f"Words before the code here.\n\n{code}\n\nWords after the code, and more of them."
    for chunker in (Recursive(size=20), Headings(size=20)):
        assert code in [text[s.start : s.end] for s in chunker.split(Document(text))]
    lines = [text[s.start : s.end] for s in Recursive(size=6).split(Document(text))]
    assert "one = 1" in "\n".join(lines)  # code that does not fit is cut by lines
    unclosed = text.replace("\n```\n", "\n")
    assert "two = 2" in [unclosed[s.start : s.end] for s in Recursive(size=5).split(Document(unclosed))]
