"""Token counts for a model that runs elsewhere: exact by its tokenizer's folder, else an estimate from words and marks."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ragkit.chunking import count_tokens
from ragkit.errors import InputError
from ragkit.generation.types import Message
from ragkit.registry import need

A_WORD = 1.3
"""Tokens that a word or mark becomes, on average of English text in today's vocabularies."""

A_TURN = 4
"""Tokens that a chat template puts around a turn."""


class Counter:
    """Counts tokens of prompts; the tokenizer is loaded at first use."""

    def __init__(self, folder: str | os.PathLike[str] | None, *, chat: bool) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"tokenizer must be a folder on this machine, got {str(folder)!r}")
        self._folder, self._chat = folder, chat

    @cached_property
    def _tokenizer(self) -> Any:
        transformers = need("transformers", extra="models", why="Counting a server's tokens exactly")
        return transformers.AutoTokenizer.from_pretrained(str(self._folder), local_files_only=True)

    def __call__(self, prompt: str | Sequence[Message]) -> int:
        """Tokens of a prompt, with those of its chat template where it is put through one."""
        turns = [Message("user", prompt)] if self._chat and isinstance(prompt, str) else prompt
        if isinstance(turns, str):
            return self.of_text(turns)
        if self._folder is not None and self._tokenizer.chat_template:
            made = self._tokenizer.apply_chat_template([t._asdict() for t in turns], add_generation_prompt=turns[-1].role != "assistant")
            return len(made["input_ids"] if hasattr(made, "keys") else made)
        return sum(self.of_text(t.content) + A_TURN for t in turns)

    def of_text(self, text: str) -> int:
        """Tokens of a text alone."""
        if self._folder is not None:
            return len(self._tokenizer(text)["input_ids"])
        return math.ceil(count_tokens(text) * A_WORD)

    def check_single(self, candidates: Sequence[Sequence[str]]) -> None:
        """Raises InputError naming a candidate of which no spelling is one token, as far as that is known."""
        if self._folder is None:
            return
        for c in candidates:
            if all(len(self._tokenizer(s, add_special_tokens=False)["input_ids"]) != 1 for s in c):
                raise InputError(f"no spelling of the candidate {list(c)} is one token of this model")
