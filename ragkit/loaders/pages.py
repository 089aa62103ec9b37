"""From the pages of a PDF to one running text: no page headers, no hyphens of line ends, sentences over page ends whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_FEWEST = 3  # pages, for a repeated line to be a header
_MOST_LINES = 3  # of a header or a footer
_DIGITS = re.compile(r"\d+")
_HYPHEN = re.compile(r"(?<=(\w))-\n(?=(\w))")
_SENTENCE_END = re.compile("[.!?:;…。！？][\"'”’»›)\\]]*$")


def running_text(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """(the text of all pages, the offset at which each starts).

    Pages are apart by a blank line where the first ends with a sentence or either is empty, else by a line end.

    >>> running_text(["It runs over", "the page. Well-", "known."])
    ('It runs over\\nthe page. Wellknown.', (0, 13, 27))
    """
    pages = [_HYPHEN.sub(_joint, page) for page in without_running_lines(pages)]
    parts: list[str] = []
    starts: list[int] = []
    position = 0
    for n, page in enumerate(pages):
        starts.append(position)
        gap = "" if n == len(pages) - 1 else "\n\n"
        if gap and page and pages[n + 1] and not _SENTENCE_END.search(page[-20:]):
            gap = "\n"
            border = page[-2:] + gap + pages[n + 1][0]
            if _HYPHEN.sub(_joint, border) != border:
                page, gap = page[:-1], ""
        parts += (page, gap)
        position += len(page) + len(gap)
    return "".join(parts), tuple(starts)


def _joint(found: re.Match[str]) -> str:
    """What becomes of a hyphen at a line end: nothing between small letters; else it belongs to the word, or is a dash."""
    return "" if found[1].islower() and found[2].islower() else found[0]


def without_running_lines(pages: Sequence[str]) -> list[str]:
    """The pages without the first and last lines that more than half of them share but for digits; of page numbers, too.

    Nothing is dropped where there are fewer than 3 pages, and never the only line of a page.

    >>> without_running_lines(["On pumps\\none\\n1", "On pumps\\ntwo\\n2", "On pumps\\nthree\\n3"])
    ['one', 'two', 'three']
    """
    lines = [page.strip().splitlines() for page in pages]
    if len(lines) < _FEWEST:
        return ["\n".join(page) for page in lines]
    for end in (0, -1):
        for _ in range(_MOST_LINES):
            kinds = [_kind(page[end], n) if page else None for n, page in enumerate(lines)]
            repeated = _shared_by_most(kinds)
            if repeated is None:
                break
            for page, kind in zip(lines, kinds, strict=True):
                if kind == repeated and len(page) > 1:
                    del page[end]
                    while not page[end].strip():
                        del page[end]
    return ["\n".join(page).strip() for page in lines]


def _shared_by_most(kinds: Sequence[tuple[str, int] | None]) -> tuple[str, int] | None:
    [(kind, count), *_] = Counter(kinds).most_common(1)
    return kind if count > len(kinds) / 2 else None


def _kind(line: str, page: int) -> tuple[str, int] | None:
    """What lines of a kind have in common; a line of numbers must count the pages, or it would be any row of a table."""
    words = " ".join(_DIGITS.sub("", line).split())
    if any(c.isalpha() for c in words):
        return words, 0
    number = _DIGITS.search(line)
    return None if number is None else (words, int(number[0][:9]) - page)
