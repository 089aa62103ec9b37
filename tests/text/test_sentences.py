"""Sentences: worked texts, the laws of spans, and time that grows no faster than the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragkit.text.sentences import MAX_SENTENCE, sentence_spans


def cut(text: str) -> list[str]:
    return [text[s:e] for s, e in sentence_spans(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith met Mr. Jones.", "They left."],
        ["J. R. R. Tolkien wrote it.", "He knew C. S. Lewis."],
        ["He lives in the U.S. now.", "We met in the U.S.", "The end."],
        ["Use e.g. this, i.e. that, vs. those.", "See Fig. 3 and No. 5.", "Is it?", "No.", "Then go!"],
        ["It costs 3.50 dollars.", "Version 1.2.3 is out.", "See main.cpp.", "Visit https://a.b/c.d?x=1."],
        ["Really?!", "Yes!", "Wait... what?", "I see…", "Fine."],
        ['He said "Stop."', "She left.", "(It is so.)", "[Note.]", "**Bold.**", "End."],
        ["Text.[1]", "More.[12][3]", "End"],
        ["We met at 5 p.m.", "Then at 6 a.m. on Monday.", "Apples, pears, etc. are fruit."],
        ["Am 3. Oktober kam Dr. Müller.", "Er ging z.B. heute.", "Das war 1990.", "Gut."],
        ["यह पहला है।", "यह दूसरा है।", "क्या?"],
        ["هل أنت هنا؟", "نعم."],
        ["hello there.", "how are you?", "fine."],
        ["1. First thing.", "2. Second thing."],
    ],
    ids=lambda s: s[0][:20],
)
def test_prose(sentences: list[str]) -> None:
    assert cut(" ".join(sentences)) == sentences
    assert cut("  \n" + "\n\n".join(sentences) + "\n") == sentences


def test_chinese_and_japanese_need_no_space() -> None:
    assert cut("他说：“你好。”然后走了！真的？是。") == ["他说：“你好。”", "然后走了！", "真的？", "是。"]
    assert cut("「はい。」完了です。") == ["「はい。」", "完了です。"]


def test_lines() -> None:
    text = "# Title\nHard\nwrapped line\nof prose.\n- item one\n- item two\n  goes on\n1) first\n| a | b |\n|---|---|\nAfter\n***\nLast"
    assert cut(text) == [
        "# Title", "Hard\nwrapped line\nof prose.", "- item one", "- item two\n  goes on", "1) first", "| a | b |", "|---|---|",
        "After\n***", "Last",
    ]  # fmt: skip
    assert cut("Title\n=====\nText") == ["Title\n=====", "Text"]
    assert cut("a\r\nb\r\n\r\nc\r\n# H\r\nd") == ["a\r\nb", "c", "# H", "d"]
    assert cut("a\u2028b\u2029\u2029c") == ["a\u2028b", "c"]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Select the General tab.", "Select OK."],
        ["The gap is 5 mm.", "Tighten the bolt.", "It is 10 ft.", "Measure it.", "Wait for 10 sec.", "Remove it."],
        ["It is 3 min.", "Add 2 kg.", "Cut 4 in.", "Drive 5 km.", "Leave 6 cm.", "Stop."],
        ["Read the ref.", "Skip the para.", "Open the app.", "Write the def.", "Set the env.", "Visit example.fr.", "Done."],
        ["See Sec. 4, tab. 3, Ref. [7], ch. V and Vol. II there.", "It came on Jan. 5 or in Dec.", "Prices rose."],
        ["they sold mt. stuart to gen. lee.", "it was a hill."],
        ["Fr. Müller met Gen. Lee in Ft. Worth.", "MM. Dupont et Martin sont venus."],
        ["It is signed by the CA.", "Clients check it.", "Open it in VS.", "Build it.", "DR. SMITH OF ACME INC. LONDON left."],
    ],
    ids=lambda s: s[0][:20],
)
def test_words_that_are_abbreviations_only_sometimes(sentences: list[str]) -> None:
    assert cut(" ".join(sentences)) == sentences


def test_a_sentence_may_begin_with_lower_case_code() -> None:
    for sentences in (
        ["Install the package.", "`pip` will do the rest.", "`npm` is not needed."],
        ["Install it!", "**pip** will do.", "**`npm`** too.", '"auto" is the default.', "[`x`](u) is a link.", "*`n`* is a size."],
        ["Use e.g. `pip`, i.e. `that`, vs. `npm`.", "Wait... `x` is here.", "The marks `.` `x` and **`!`** *`c`* stay."],
        ['"Go away!" she said.', "Use the tab.", "`pip` is there."],
    ):
        assert cut(" ".join(sentences)) == sentences
        assert cut("\n".join(sentences)) == sentences


def test_a_wrapped_number_is_no_list_item() -> None:
    assert cut("As defined in Section\n12. The Commission shall adopt it.") == [
        "As defined in Section\n12.",
        "The Commission shall adopt it.",
    ]
    assert cut("It is given in\n   2. of RFC 7231.") == ["It is given in\n   2. of RFC 7231."]
    assert cut("The plan (of A or\nB) and 11 or\n12) go.") == ["The plan (of A or\nB) and 11 or\n12) go."]
    for above in ("Steps:", "Done.", "# Title", "- item", "6. item", "As **this:**", "Steps\n"):
        assert cut(f"{above}\n7. Foo bar\n8. Baz") == [above.strip(), "7. Foo bar", "8. Baz"]
    assert cut("Steps\n1. Foo bar\n2. Baz") == ["Steps", "1. Foo bar", "2. Baz"]


def test_numbered_titles() -> None:
    for title in (
        "3.2.  Header Fields",
        "Section 1.1. Definitions.",
        "## 3.2. Header Fields",
        "## 1. Intro",
        "A.1. Notes",
        "Step 3. Click OK.",
    ):
        assert cut(title) == [title]
        assert cut(f"Text.\n\n{title}\n\nMore") == ["Text.", title, "More"]
    assert cut("Released in 3.2. Header fields. See Section 3. Click it.") == [
        "Released in 3.2.", "Header fields.", "See Section 3.", "Click it.",
    ]  # fmt: skip


def test_lettered_items() -> None:
    items = ["(a) first thing;", "(b) second thing", "(iv) fourth", "(1) one", "2) two", "a) letter", "i) last"]
    assert cut("\n".join(items)) == items
    assert cut("This applies to:\n  " + "\n  ".join(items)) == ["This applies to:", *items]
    assert cut("As in paragraph\n(b) of the Article") == ["As in paragraph\n(b) of the Article"]
    assert cut("Q. What is it? A. A pump.") == ["Q. What is it?", "A. A pump."]
    assert cut("a. First thing.\nb. Second") == ["a. First thing.", "b. Second"]


def test_fences() -> None:
    block = "```py\nx = 1. Y\n\nz! A\n```"
    assert cut(f"Text\n{block}\nafter. More") == ["Text", block, "after.", "More"]
    assert cut(block) == [block]
    assert cut("~~~~\n~~~\n```\n~~~~") == ["~~~~\n~~~\n```\n~~~~"]
    assert cut("```open\nab. B\nc") == ["```open", "ab.", "B\nc"]  # nothing closes it: a line like others
    long = "```\n" + "\n\n".join(["row " * 100] * 3) + "\n```"
    assert [len(s) for s in cut(long)] == [403, 399, 404]


def test_range() -> None:
    text = "One. Two. Three."
    assert sentence_spans(text, 5, 9) == [(5, 9)]
    assert sentence_spans(text, 3) == [(3, 4), (5, 9), (10, 16)]
    assert sentence_spans(text, 4, 4) == sentence_spans(text, 9, 3) == sentence_spans(" \n") == []
    assert sentence_spans(text, -3, 99) == sentence_spans(text)


def test_long_sentences_are_cut_at_white_space() -> None:
    spans = sentence_spans("word " * 1000)
    assert [e - s for s, e in spans] == [1999, 1999, 999]
    assert [e - s for s, e in sentence_spans("x" * 4500)] == [2000, 2000, 500]


alphabet = st.sampled_from(
    [
        "a",
        "B",
        "1",
        ".",
        "!",
        "?",
        "…",
        " ",
        " ",
        "\n",
        "\r",
        "\t",
        "#",
        "-",
        "|",
        "`",
        "```",
        "~~~",
        "*",
        '"',
        ")",
        "。",
        "।",
        "漢",
        "é",
        "\u0301",
        "\u2028",
        "\u2029",
        "\ufeff",
        "😀",
        "Dr",
        "e.g",
        "[1]",
        "12. ",
        "3.2",
        "(a) ",
        "Section ",
        "mm",
        "\x85",
        "\x1c",
        "\u3000",
    ]
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(alphabet, max_size=60).map("".join), st.integers(0, 20), st.integers(0, 80))
@example("```\n" + "x\n\n" * 400 + "```", 0, 5000)
@example("a " * 1500 + "b" * 4100, 0, 9000)
def test_laws(text: str, start: int, end: int) -> None:
    spans = sentence_spans(text, start, end)
    last, stop = start, min(end, len(text))
    for s, e in spans:
        assert last <= s < e <= stop
        assert e - s <= MAX_SENTENCE
        assert text[last:s].strip() == ""
        assert text[s:e] == text[s:e].strip()
        last = e
    assert text[last:stop].strip() == ""


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        ".",
        ".*",
        "!)",
        "\n",
        " ",
        "```py\n",
        "`",
        "\n~~~ x",
        "* ",
        "\n---x",
        ".[1]",
        "\u0301",
        "。",
        "\r\n\t",
        "a. ",
        "1.",
        "\n" + "`" * 500 + "x",
        "\n12. ",
        "x\n(a) ",
        "1.1",
        ". `a",
    ],
    ids=repr,
)
def test_time_is_linear(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    begun = time.perf_counter()
    sentence_spans(text)
    assert time.perf_counter() - begun < 5  # a second at most; what is quadratic takes many minutes
