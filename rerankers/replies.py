"""Replies of listwise rerankers: the order that a language model wrote, read so that every reply gives a permutation.

A model is asked for ``[2] > [3] > [1]`` (Sun et al., "Is ChatGPT Good at Search?", EMNLP 2023; Pradeep et al., RankVicuna,
2023) and writes much else: identifiers twice, too few, too many, bare numbers, prose. `parse_permutation` reads what
is there into a `Reading`: an order of all documents and what was wrong with the reply. `strict_permutation` takes the asked
form alone. Only bracketed identifiers are read, for numbers in prose are seldom identifiers; bare ones count where no
bracketed one occurs. The reference programs read every digit ("20 passages are provided" puts document 20 first), glue
letters that stand next to each other, and fail on characters of several digits (⑫); each has a test.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ragkit.errors import InputError

Identifiers = Literal["numbers", "letters"]

OUTCOMES = ("ok", "wrong_format", "repetition", "missing", "out_of_range")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Possessive repeats (*+) never backtrack: all patterns take time linear in the text.
_CHAIN = {  # the form asked for
    "numbers": re.compile(r"\s*+\[\s*+[1-9][0-9]*+\s*+\](?:\s*+>\s*+\[\s*+[1-9][0-9]*+\s*+\])*+\s*+"),
    "letters": re.compile(r"\s*+\[\s*+[A-Z]\s*+\](?:\s*+>\s*+\[\s*+[A-Z]\s*+\])*+\s*+"),
}
_BRACKET = {  # a bracket that holds nothing but identifiers: [3], [ 03 ], [3, 1]; [-3] is one that is out of range
    "numbers": re.compile(r"\[(?=[^\[\]0-9]*+[0-9])[-+0-9,\s]*+\]"),
    "letters": re.compile(r"\[\s*+[A-Z](?:[\s,]++[A-Z])*+\s*+,?\s*+\]"),
}
_INSIDE = {"numbers": re.compile(r"(?:(?<![0-9])-)?[0-9]+"), "letters": re.compile(r"[A-Z]")}
_BARE = {  # a dash before a bare number is a list's or a range's
    "numbers": re.compile(r"[0-9]+"),
    "letters": re.compile(r"(?<!\w)[A-Z](?![\w'’])"),
}
_WORD = re.compile(r"\w+")
_LEAD = re.compile(r"\s*+\[?+(?:\s*+>?+\s*+\][0-9A-Z\s]*+\[)*+")  # the chain that a prefill ends with, read backwards
_BRACKETS = {"【": "[", "】": "]", "〔": "[", "〕": "]"}  # not compatibility variants of [ and ], yet used as such


@dataclass(frozen=True)
class Reading:
    """What one reply says about n documents.

    order         (n,) the documents, best first, counted from 0; those not named follow in their prior order
    wrong_format  the reply is not a chain ``[a] > [b] > …``; what could be read was read nonetheless
    repetition    identifiers named again; the first place counts
    missing       documents not named
    out_of_range  identifiers of no document

    >>> from collections import Counter
    >>> readings = [parse_permutation(reply, 3) for reply in ("[2] > [3] > [1]", "[2] > [2]", "Sorry.")]
    >>> dict(Counter(r.outcome for r in readings))  # one outcome a reply
    {'ok': 1, 'repetition': 1, 'wrong_format': 1}
    >>> dict(Counter(o for r in readings for o in r.outcomes))  # how many replies have each fault
    {'ok': 1, 'repetition': 1, 'missing': 2, 'wrong_format': 1}
    """

    order: tuple[int, ...]
    wrong_format: bool = False
    repetition: int = 0
    missing: int = 0
    out_of_range: int = 0

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Every fault of the reply, in the order of OUTCOMES, or ("ok",) where strict_permutation takes it."""
        return tuple(name for name in OUTCOMES[1:] if getattr(self, name)) or OUTCOMES[:1]

    @property
    def outcome(self) -> str:
        """The first of `outcomes`: counts of it over windows add up to the number of windows."""
        return self.outcomes[0]


def parse_permutation(reply: str, n: int, *, prefill: str = "", identifiers: Identifiers = "numbers") -> Reading:
    """The order of n documents that a reply names, by any means.

    reply        what the model wrote
    n            documents in the window; they are called 1 to n, or A onwards
    prefill      the end of the prompt that the model went on from; a chain at its end ("[", "[3] > [") belongs to the answer
    identifiers  "numbers" or "letters"
    returns      a permutation, whatever the reply is
    raises       InputError for n below 0, for letters with n above 26, or for other identifiers
    cost         O(len(reply) + n)

    1. What comes before the last ``</think>`` is dropped, and so is a thought that was begun and never ended.
    2. The chain at the prefill's end is prepended, unless the reply repeats it.
    3. Full-width, circled, raised and other digits, letters and brackets become ASCII.
    4. Bracketed identifiers are read. Where there are none: bare numbers, or capitals that stand alone; but one bare
       identifier among other words is no order ("20 passages are provided.", "I cannot rank these.") and is not read.
    5. The first mention counts; documents not named keep their order behind the others.

    A first identifier without its opening bracket ("3] > [1]") is read only if the prefill gives that bracket.

    >>> parse_permutation("3] > [1] > [1]", 4, prefill="[")
    Reading(order=(2, 0, 1, 3), wrong_format=False, repetition=1, missing=2, out_of_range=0)
    >>> parse_permutation("<think>[1]?</think>The order is ② > ①.", 3).order
    (1, 0, 2)
    >>> parse_permutation("[B] > [A]", 2, identifiers="letters")
    Reading(order=(1, 0), wrong_format=False, repetition=0, missing=0, out_of_range=0)
    """
    _check(n, identifiers)
    text = _answer(reply, prefill)
    whole = _strict(text, n, identifiers)
    if whole is not None:
        return Reading(whole)
    named = dict.fromkeys(found := [_place(name, n, identifiers) for name in _names(plain(text), n, identifiers)])
    outside = found.count(None)
    named.pop(None, None)
    order = tuple(place for place in named if place is not None)
    rest = () if len(order) == n else tuple(place for place in range(n) if place not in named)
    form = _CHAIN[identifiers].fullmatch(text) is not None
    return Reading(order + rest, not form, len(found) - outside - len(order), len(rest), outside)


def strict_permutation(reply: str, n: int, prefill: str = "", *, identifiers: Identifiers = "numbers") -> tuple[int, ...] | None:
    """The order of a reply in exactly the form asked for, ``[a] > [b] > …``, with each identifier once; None for any other.

    Thoughts and prefill are treated as in parse_permutation; white space counts for nothing. Raises InputError likewise.

    >>> strict_permutation("2] > [1]", 2, "["), strict_permutation("[2] > [1].", 2)
    ((1, 0), None)
    """
    _check(n, identifiers)
    return _strict(_answer(reply, prefill), n, identifiers)


def plain(text: str) -> str:
    """The text with every digit, and every compatibility variant of one ASCII character, in ASCII.

    Characters that hold a whole number or letter (⑫, ⒓, Ⓐ) get spaces around them, so that ①② are two numbers; raised and
    lowered digits are parts of one (¹² is 12). Invisible format characters go.

    >>> plain("［１２］＞【٣】 ①② x¹²")
    '[12]>[3]  1  2  x12'
    """
    return swapped(text, plain_character)


def swapped(text: str, swap: Callable[[str], str]) -> str:
    """The text with every character above ASCII put through a function."""
    if text.isascii():
        return text
    new = {ord(c): short for c in set(text) if c > "\x7f" and (short := swap(c)) != c}
    return text.translate(new) if new else text


@lru_cache(4096)
def plain_character(c: str) -> str:
    """One character of `plain`."""
    category = unicodedata.category(c)
    if category == "Nd":
        return str(unicodedata.decimal(c))
    if category == "No":
        value = unicodedata.numeric(c, 0.5)  # not digit(), which raises for ⑫
        raised = unicodedata.decomposition(c).startswith(("<super>", "<sub>"))
        return c if value != int(value) else str(int(value)) if raised else f" {int(value)} "
    if category == "Cf":
        return ""
    if category == "Nl":
        return c  # a Roman numeral is no letter
    short = _BRACKETS.get(c) or unicodedata.normalize("NFKC", c)
    if len(short) != 1 or not short.isascii():
        return c
    return f" {short} " if category == "So" else short


def bracket_spans(text: str, identifiers: Identifiers) -> list[tuple[int, int]]:
    """(start, end) of every bracket in plain text that parse_permutation would read."""
    return [found.span() for found in _BRACKET[identifiers].finditer(text)]


def _check(n: int, identifiers: str) -> None:
    if identifiers not in _CHAIN:
        raise InputError(f"identifiers must be 'numbers' or 'letters', got {identifiers!r}")
    if n < 0:
        raise InputError(f"n must be the number of documents, at least 0, got {n}")
    if identifiers == "letters" and n > len(LETTERS):
        raise InputError(f"{n} documents were to be called by letters and there are {len(LETTERS)}; use identifiers='numbers'")


def _answer(reply: str, prefill: str) -> str:
    """The prefill's chain and the reply without its thoughts."""
    _, ended, answer = reply.rpartition("</think>")
    if not ended and "<think>" in prefill.rpartition("</think>")[2]:
        return ""  # the prompt began a thought and the reply never left it
    answer = answer.partition("<think>")[0]
    lead = _lead(prefill)
    if lead:
        start = answer.lstrip()
        if start.startswith(lead):
            return answer
        if start.startswith("["):
            lead = lead.removesuffix("[")
    return lead + answer


@lru_cache(64)
def _lead(prefill: str) -> str:
    found = _LEAD.match(prefill[::-1])
    return found[0][::-1].strip() if found else ""


def _strict(text: str, n: int, identifiers: Identifiers) -> tuple[int, ...] | None:
    if n == 0:
        return None if text.strip() else ()
    if not _CHAIN[identifiers].fullmatch(text):
        return None
    found = [_place(name, n, identifiers) for name in _INSIDE[identifiers].findall(text)]
    order = tuple(place for place in found if place is not None)
    return order if len(found) == len(order) == n == len(set(order)) else None


def _names(text: str, n: int, identifiers: Identifiers) -> list[str]:
    """The identifiers in plain text as they are written, in order."""
    brackets = _BRACKET[identifiers].findall(text)
    if brackets:
        return _INSIDE[identifiers].findall("".join(brackets))
    bare: list[str] = _BARE[identifiers].findall(text)
    if len({_place(name, n, identifiers) for name in bare} - {None}) > 1 or len(_WORD.findall(text)) == 1:
        return bare
    return []


def _place(name: str, n: int, identifiers: Identifiers) -> int | None:
    """The document that an identifier stands for, from 0; None where there is none."""
    if identifiers == "letters":
        place = ord(name) - ord("A")
    else:
        digits = name.lstrip("0")
        if not digits or digits[0] == "-" or len(digits) > len(str(n)):  # int() refuses texts of thousands of digits
            return None
        place = int(digits) - 1
    return place if place < n else None
