"""A reply of a language model, read tolerantly: what was thought is dropped, citations are found, sentences are cut.

Citations may stand after a sentence or before its full stop, or at the head of a line, as [1], [1, 3], [1-3], [passage 1] or
【1】. Brackets in code are code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ragkit.pipelines.extractive import NOT_FOUND
from ragkit.pipelines.untrusted import visible_characters
from ragkit.text import sentence_spans

_OPEN, _CLOSE = re.compile(r"<think(?:ing)?>", re.IGNORECASE), re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_TAGS = ("<think>", "<thinking>", "</think>", "</thinking>")
_NUMBERS = r"\d+(?:\s*(?:,|;|&|-|–|and)\s*(?:passages?\s+)?\d+)*"
_MARK = re.compile(
    rf"\[\s*(?:\^|passages?\s+|sources?\s+|documents?\s+)?({_NUMBERS})\s*\]|【\s*({_NUMBERS})(?:†[^】\n]{{0,60}})?\s*】", re.IGNORECASE
)
_BRACKETS = re.compile(r"\[\s*(\d+)\s*\]")
_NUMBER = re.compile(r"(\d+)(?:\s*[-–]\s*(?:passages?\s+)?(\d+))?")
_CODE = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})[^\n`]*(?:\n.*?^[ \t>]*(?P=fence)[`~]*[ \t]*$|(?P<unclosed>(?:\n.*)?\Z))"
    r"|(?<!`)(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)
_LINE_END = re.compile(r"[\r\n\u2028\u2029]+")
_ENDED = re.compile(r"[.!?…。！？｡।॥؟۔][\"'”’»)*_`]*\s*\Z")
_LETTERS = re.compile(r"[\W_]+")
_WIDEST = 20  # passages that one range may name


@dataclass(frozen=True)
class Sentence:
    """``text[start:end]`` of a reply, and the numbers that it cites, each once, in order."""

    start: int
    end: int
    cited: tuple[int, ...]


@dataclass(frozen=True)
class Reply:
    """A reply without its marks: its sentences and how many marks named no passage."""

    text: str
    sentences: tuple[Sentence, ...]
    invalid: int


def without_thinking(text: str) -> str:
    """The text without <think>…</think>; what nothing closes goes to the end, and what nothing opens begins at the start.

    >>> without_thinking("<think>Hm.</think> It is red."), without_thinking("Hm.</think>Red."), without_thinking("<think>Hm.")
    ('It is red.', 'Red.', '')
    """
    kept: list[str] = []
    at = 0
    while (opened := _OPEN.search(text, at)) is not None:
        kept.append(text[at : opened.start()])
        closed = _CLOSE.search(text, opened.end())
        at = closed.end() if closed is not None else len(text)
    rest = "".join((*kept, text[at:]))
    closings = list(_CLOSE.finditer(rest))
    return (rest[closings[-1].end() :] if closings else rest).strip()


class ThinkingFilter:
    """The same for text that comes in pieces: `feed` gives what may be shown of what has come, `end` the rest.

    >>> shown = ThinkingFilter()
    >>> [shown.feed(p) for p in ("<thi", "nk>Hm.</th", "ink>It is ", "red.")] + [shown.end()]
    ['', '', 'It is ', 'red.', '']
    """

    def __init__(self) -> None:
        self._waiting, self._thinking, self._begun = "", False, False

    def feed(self, piece: str) -> str:
        self._waiting += piece
        return self._shown("".join(self._ready()))

    def end(self) -> str:
        rest, self._waiting = self._waiting, ""
        return "" if self._thinking else self._shown(rest)

    def _ready(self) -> Iterator[str]:
        while (tag := (_CLOSE if self._thinking else _OPEN).search(self._waiting)) is not None:
            if not self._thinking:
                yield self._waiting[: tag.start()]
            self._waiting, self._thinking = self._waiting[tag.end() :], not self._thinking
        held = _beginning(self._waiting)
        ready, self._waiting = self._waiting[: len(self._waiting) - held], self._waiting[len(self._waiting) - held :]
        if not self._thinking:
            yield ready

    def _shown(self, text: str) -> str:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text


def _beginning(text: str) -> int:
    """Characters at the end of a text that may be the beginning of a tag."""
    low = text[-len("</thinking>") :].lower()
    return next((n for n in range(len(low), 0, -1) if any(tag.startswith(low[-n:]) for tag in _TAGS)), 0)


def says_not_found(text: str) -> bool:
    """Whether a sentence is the one that says so, in whatever dress.

    >>> says_not_found('**"Not found in these documents."**'), says_not_found("Not found in these documents, but here is a poem.")
    (True, False)
    """
    return _LETTERS.sub("", text).casefold() == _LETTERS.sub("", NOT_FOUND).casefold()


def parse(text: str, passages: int) -> Reply:
    """The sentences of a reply and the passages, 1 to `passages`, that each cites."""
    text = visible_characters(text)[0].strip()
    marks: list[_Mark] = []
    invalid = 0
    while cuts := list(_cuts(text, passages)):  # one mark may hide another: [[1]2]
        invalid += sum(cut.invalid for cut in cuts)
        marks = [replace(m, position=_shifted(m.position, cuts)) for m in marks]
        marks += [_Mark(_shifted(cut.start, cuts), cut.numbers, cut.leads) for cut in cuts]
        ends = [0, *(cut.end for cut in cuts)]
        text = "".join(text[end : cut.start] + cut.fill for end, cut in zip(ends, cuts, strict=False)) + text[ends[-1] :]
    text = _closed(text)
    spans = _sentences(text, {m.position for m in marks if not m.leads and _ENDED.search(text, max(0, m.position - 8), m.position)})
    cited: list[list[int]] = [[] for _ in spans]
    for mark in sorted(marks, key=lambda m: m.position):
        if spans:
            begun = [n for n, (start, _) in enumerate(spans) if start < mark.position]
            to_come = [n for n, (_, end) in enumerate(spans) if end > mark.position]
            owner = to_come[0] if to_come and (mark.leads or not begun) else begun[-1]
            cited[owner].extend(n for n in mark.numbers if n not in cited[owner])
    return Reply(text, tuple(Sentence(a, b, tuple(c)) for (a, b), c in zip(spans, cited, strict=True)), invalid)


def _closed(text: str) -> str:
    """The text with a last block of code closed, where a reply was cut inside it."""
    last = next((m for m in _CODE.finditer(text) if m["unclosed"] is not None), None)
    return text if last is None else f"{text}\n{last['fence']}"


@dataclass(frozen=True)
class _Mark:
    """Where a citation stood, the passages that it names, and whether it is for what follows."""

    position: int
    numbers: tuple[int, ...]
    leads: bool


@dataclass(frozen=True)
class _Cut:
    """A mark as it stands in a reply: ``text[start:end]`` is to become `fill`."""

    start: int
    end: int
    fill: str
    numbers: tuple[int, ...]
    invalid: int
    leads: bool


def _cuts(text: str, passages: int) -> Iterator[_Cut]:
    code = code_spans(text)
    end = 0
    for m in _MARK.finditer(text):
        if any(a <= m.start() < b for a, b in code):
            continue
        start, leads = m.start(), _leads(text, m)
        while not leads and start > end and text[start - 1] in " \t":
            start -= 1
        end = m.end()
        while leads and text[end : end + 1] in (" ", "\t"):
            end += 1
        glued = start > 0 and not text[start - 1].isspace() and text[end : end + 1].isalnum()
        yield _Cut(start, end, " " if glued else "", *_numbers(m[1] or m[2], passages), leads)


def _shifted(position: int, cuts: Sequence[_Cut]) -> int:
    """Where a place of a text lies after the cuts."""
    return position - sum(min(c.end, position) - c.start - len(c.fill) for c in cuts if c.start < position)


def marks_in(text: str) -> list[int]:
    """The numbers in brackets that stand in a text, each once, in order; those in code are code.

    >>> marks_in("Red. [1] Blue, as in `a[7]`. [2][1]")
    [1, 2]
    """
    code = code_spans(text)
    found = [m for m in _BRACKETS.finditer(text) if not any(a <= m.start() < b for a, b in code)]
    return list(dict.fromkeys(int(m[1][:9]) for m in found))


def code_spans(text: str) -> list[tuple[int, int]]:
    """Where code stands: between fences, and between back ticks on one line."""
    return [m.span() for m in _CODE.finditer(text)]


def _leads(text: str, mark: re.Match[str]) -> bool:
    """Whether a mark stands at the head of a line, in front of what it is for."""
    head = text[text.rfind("\n", 0, mark.start()) + 1 : mark.start()]
    tail = text[mark.end() :].partition("\n")[0]
    return not head.strip(" \t-*+>•.0123456789)") and bool(_LETTERS.sub("", _MARK.sub("", tail)))


def _numbers(listed: str, passages: int) -> tuple[tuple[int, ...], int]:
    """The passages that a mark names, and how many of its numbers name none."""
    numbers: list[int] = []
    wrong = 0
    for first, last in _NUMBER.findall(listed):
        if max(len(first), len(last)) > 6:
            wrong += 1
            continue
        a, b = int(first), int(last or first)
        for n in range(a, b + 1) if a <= b < a + _WIDEST else (a, b):
            if 1 <= n <= passages:
                numbers.append(n)
            else:
                wrong += 1
    return tuple(dict.fromkeys(numbers)), wrong


def _sentences(text: str, ends: set[int]) -> list[tuple[int, int]]:
    """The sentences of a reply; a line of it ends one, and a citation behind a full stop. Code is not cut."""
    code = code_spans(text)
    ends = ends.union(m.end() for m in _LINE_END.finditer(text))
    joined: list[tuple[int, int]] = []
    for a, b in pairwise((0, *sorted(ends - {0, len(text)}), len(text))):
        for start, end in sentence_spans(text, a, b):
            if joined and any(first < joined[-1][1] < last and start < last for first, last in code):
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
    return joined
