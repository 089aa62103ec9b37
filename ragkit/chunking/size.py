"""Sizes of passages in word tokens, counted without a model.

A token is a run of letters and digits, a run of rule characters (----, ====), any other single mark, or one
character of Han or kana; scripts written without spaces count four characters a token. Runs are cut at
40 characters, so that a blob of base64 is not one token. Counts add up: a text never has more tokens than
its pieces have together, which is what lets chunkers pack pieces without counting again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ragkit.text.words import HAN_KANA, UNSPACED, word_class
from ragkit.types import Document

_MOST = 1 << 30  # repetitions that a regular expression can count
RUN = 40  # characters that a word or rule may have and still count as one token


class Piece(NamedTuple):
    """text[start:end], which has that many tokens."""

    start: int
    end: int
    tokens: int


def _token(ascii_only: bool) -> str:
    rule = rf"[-=*#~+.]{{1,{RUN}}}+"
    if ascii_only:
        return rf"[0-9A-Za-z_]{{1,{RUN}}}+|{rule}|\S"
    return rf"[{word_class()}]{{1,{RUN}}}+|{rule}|[{HAN_KANA}]|[{UNSPACED}]{{1,4}}+|\S"


@lru_cache(2)
def token_pattern(ascii_only: bool) -> re.Pattern[str]:
    """Matches one token; `ascii_only` gives the same tokens of ASCII text, faster."""
    return re.compile(_token(ascii_only))


@lru_cache(64)
def window_pattern(ascii_only: bool, step: int, more: int) -> re.Pattern[str]:
    """Matches up to step + more tokens in one go; group 1 is where they start, group 2 where the first `step` of them end."""
    token = rf"(?:\s*+(?:{_token(ascii_only)}))"
    return re.compile(rf"\s*+(){token}{{1,{min(step, _MOST)}}}+(){token}{{0,{min(more, _MOST)}}}+")


def count_tokens(text: str, start: int = 0, end: int | None = None) -> int:
    """Tokens in ``text[start:end]``.

    >>> count_tokens("One isn't enough: 東京!"), count_tokens("-----"), count_tokens("x" * 100)
    (9, 1, 3)
    """
    return len(token_pattern(text.isascii()).findall(text, start, len(text) if end is None else end))


def body(document: Document) -> tuple[int, int]:
    """(start, end) of the citable body without the white space around it; start == end where there is none."""
    text = document.text
    return trim(text, max(0, document.body_start), len(text))


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The range without the white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return min(start, end), end
