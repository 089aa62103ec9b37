"""Text of tokens as they are written: what has been given out never changes, and no character is given out in part.

The tokens told last are decoded with and without the new ones; the difference is the new text. The tokens before the
first give tokenizers that mark the beginnings of words what they need to know about the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BEFORE = 4
_BROKEN = "�"
_LONGEST_CHARACTER = 4
"""Tokens that one character is written in at most (bytes in UTF-8)."""


class Detokeniser:
    """Turns tokens into text, one at a time.

    tokenizer  a tokenizer of transformers
    before     tokens in front of the first; they are read for the space alone
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = self._whole(before)
        self._start, self._read = 0, len(self._ids)
        self._told = self._decode(self._ids)

    def add(self, token: int) -> str:
        """The text that is complete now and was not before; empty while a character is not yet whole."""
        self._ids.append(token)
        text = self._decode(self._ids[self._start :])
        if text.endswith(_BROKEN) and len(self._ids) - self._read < _LONGEST_CHARACTER:
            return ""
        return self._tell(text)

    def end(self) -> str:
        """What was held back, less a character that never became whole."""
        if self._read == len(self._ids):
            return ""
        return self._tell(self._decode(self._ids[self._start :])).rstrip(_BROKEN)

    def _tell(self, text: str) -> str:
        new = text[len(self._told) :]
        self._start, self._read = self._read, len(self._ids)
        self._told = self._decode(self._ids[self._start :])
        return new

    def _whole(self, before: Sequence[int]) -> list[int]:
        """The last few tokens, from the beginning of a character on."""
        for count in range(_BEFORE, _BEFORE + _LONGEST_CHARACTER):
            if not self._decode(list(before[-count:])).startswith(_BROKEN):
                return list(before[-count:])
        return []

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) if ids else ""
        return text
