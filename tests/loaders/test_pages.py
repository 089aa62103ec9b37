"""The running text of a PDF's pages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.loaders.pages import running_text, without_running_lines


@pytest.mark.parametrize(
    ("pages", "text", "starts"),
    [
        (["One.", "Two."], "One.\n\nTwo.", (0, 6)),
        (["He said “no.”", "Two"], "He said “no.”\n\nTwo", (0, 15)),
        (["a sentence", "goes on."], "a sentence\ngoes on.", (0, 11)),
        (["hyphen-", "ated. End"], "hyphenated. End", (0, 6)),
        (["X-", "ray 1-", "2"], "X-\nray 1-\n2", (0, 3, 10)),
        (["over", "", "a figure"], "over\n\n\n\na figure", (0, 6, 8)),
        (["", "x", ""], "\n\nx\n\n", (0, 2, 5)),
        (["hy-\nphen and Über-\nGröße, grö-\nßer, a -\nb, 3-\n4"], "hyphen and Über-\nGröße, größer, a -\nb, 3-\n4", (0,)),
        (["one"], "one", (0,)),
        ([], "", ()),
    ],
)
def test_joints(pages: list[str], text: str, starts: tuple[int, ...]) -> None:
    assert running_text(pages) == (text, starts)


def test_headers_footers_and_page_numbers_are_left_out() -> None:
    pages = [
        f"Annual report 2020 – page {n}\nACME Ltd\nText {w} of\nthis {w} page.\n\n- {n} -" for n, w in enumerate(("a", "b", "c", "d"), 8)
    ]
    pages[1] = "Text without them."
    wanted = ["Text a of\nthis a page.", "Text without them.", "Text c of\nthis c page.", "Text d of\nthis d page."]
    assert without_running_lines(pages) == wanted
    assert without_running_lines(pages[:1] + pages[2:3]) == pages[:1] + pages[2:3]  # two pages


def test_what_is_no_header_stays() -> None:
    half = ["Same\na", "Same\nb", "other\nc", "more\nd"]
    assert without_running_lines(half) == half
    numbers = ["17\n3", "17\n9", "17\n4"]
    assert without_running_lines(numbers) == numbers
    only = ["Slide 1", "Slide 2", "Slide 3"]
    assert without_running_lines(only) == only


lines = st.lists(st.sampled_from(["Head", "1", "2", "word-", "word", "End.", "", "a b"]), max_size=4).map("\n".join)


def bare(text: str) -> str:
    """A text without what the joints change."""
    return "".join(text.replace("-", "").split())


@settings(derandomize=True, deadline=None)
@given(st.lists(lines, max_size=6))
def test_each_page_is_found_at_its_start(pages: list[str]) -> None:
    text, starts = running_text(pages)
    assert len(starts) == len(pages)
    assert list(starts) == sorted(starts)
    assert all(start <= len(text) for start in starts)
    kept = without_running_lines(pages)
    for n, (page, start) in enumerate(zip(kept, starts, strict=True)):
        end = starts[n + 1] if n + 1 < len(starts) else len(text)
        assert bare(text[start:end]) == bare(page)
    assert bool(text.strip()) == any(p.strip() for p in pages)


def test_cost_is_linear() -> None:
    began = time.perf_counter()
    running_text(["Head\n" + "word\n" * 2_000 + "9"] * 300)
    assert time.perf_counter() - began < 5  # a tenth of a second
