"""Prompts as tokens, with this law: control tokens come from the template alone, never from what is written in a message.

A message that spells a control token (``<|im_end|>``, ``</s>``) is cut into ordinary tokens. For that, the tokenizer is copied
with its control tokens renamed to random words, which the template's own are replaced by and which nobody can spell.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from threading import RLock
from typing import Any

from ragkit.errors import InputError
from ragkit.generation.local.templates import Piece, arrange
from ragkit.generation.types import Message, Prompt

_LIKE_CONTROL = re.compile(r"<.+>|\[.+\]")


class PromptTokens:
    """Cuts prompts into tokens; safe to share between threads.

    tokenizer      of transformers
    chat_template  in place of the tokenizer's own
    whole          texts get all that the tokenizer adds (encoder-decoder models); else what it adds at the beginning alone
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None, *, whole: bool = False) -> None:
        self.tokenizer, self.chat_template = tokenizer, chat_template
        self._lock = RLock()  # a tokenizer's switches are shared state
        self._control = _control_tokens(tokenizer)
        self._numbers = frozenset(self._control.values())
        self._controls = re.compile("|".join(re.escape(t) for t in sorted(self._control, key=len, reverse=True)) or r"(?!)")
        self._plain: _Renamed | None = None
        bare, full = self.text("a"), [int(i) for i in tokenizer("a").input_ids]
        at = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        self.begin, self.end = full[:at], full[at + len(bare) :] if whole else []

    def encode(self, prompt: Prompt, *, alone: bool = False) -> list[int]:
        """Tokens of a prompt. alone: one user's turn without a chat template is its content as it stands

        raises  InputError for a prompt of no tokens
        """
        ids = [*self.begin, *self.text(prompt), *self.end] if isinstance(prompt, str) else self._conversation(prompt, alone)
        if not ids:
            raise InputError("a prompt is empty, and the model's tokenizer begins no text by itself; give at least one word")
        return ids

    def text(self, text: str) -> list[int]:
        """Tokens of a text by itself, control tokens included where it spells them, with nothing added."""
        with self._lock:
            return [int(i) for i in self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids]

    def plain(self, text: str) -> list[int]:
        """The same without control tokens: what spells one is ordinary text."""
        return self._cut([(text, False)])

    def continuing(self, text: str, *, control: bool = False) -> list[int]:
        """Tokens of a text that goes on from another: no space is put before its first word.

        control: control tokens that it spells are meant
        """
        return self._continuing([(text, control)])

    def around(self, prompt: Prompt, slot: str) -> tuple[list[int], list[int]]:
        """Tokens before and behind the place that a prompt marks with slot, cut apart.

        raises  InputError where slot doesn't stand in the prompt exactly once
        """
        pieces = [(prompt, True)] if isinstance(prompt, str) else arrange(prompt, self.tokenizer, self.chat_template)
        at = [i for i, (text, _) in enumerate(pieces) if slot and slot in text]
        if len(at) != 1 or pieces[at[0]][0].count(slot) != 1:
            raise InputError(f"the slot {slot!r} must stand in the prompt exactly once, for the blocks are put there")
        text, own = pieces[at[0]]
        before, behind = text.split(slot)
        begin = [] if not isinstance(prompt, str) and self._templated() else self.begin
        return [*begin, *self._cut([*pieces[: at[0]], (before, own)])], self._continuing([(behind, own), *pieces[at[0] + 1 :]])

    def _continuing(self, pieces: Sequence[Piece]) -> list[int]:
        # tokenizers that mark the beginnings of words add a space to every text, so it is cut behind another text
        alone = self._cut(pieces)
        for before in ("\n", ":", "a\n"):
            ahead, both = self._cut([(before, False)]), self._cut([(before, False), *pieces])
            if both[: len(ahead)] == ahead and len(both) > len(ahead):
                return both[len(ahead) :]
        return alone

    def _conversation(self, messages: Sequence[Message], alone: bool) -> list[int]:
        if alone and not self._templated() and len(messages) == 1 and messages[0].role == "user":
            return [*self.begin, *self.plain(messages[0].content), *self.end]
        ids = self._cut(arrange(messages, self.tokenizer, self.chat_template))
        return ids if self._templated() else [*self.begin, *ids, *self.end]

    def _templated(self) -> bool:
        """Whether a template begins and ends conversations itself."""
        return self.chat_template is not None or bool(getattr(self.tokenizer, "chat_template", None))

    def _cut(self, pieces: Sequence[Piece]) -> list[int]:
        """Tokens of pieces written one after the other; control tokens are the template's own alone."""
        ids = self.text("".join(text for text, _ in pieces))
        wanted = sum(len(self._controls.findall(text)) for text, own in pieces if own)
        return ids if self._control_among(ids) == wanted else self._renamed().encode(pieces)

    def _control_among(self, ids: Sequence[int]) -> int:
        return sum(i in self._numbers for i in ids)

    def _renamed(self) -> _Renamed:
        with self._lock:
            if self._plain is None:
                self._plain = _Renamed(self.tokenizer, self._control)
            return self._plain


def _control_tokens(tokenizer: Any) -> dict[str, int]:
    """Control tokens by their text: those marked as special, and added ones that look like marks."""
    added = {int(i): token for i, token in tokenizer.added_tokens_decoder.items()}
    return {str(t): i for i, t in added.items() if t.special or _LIKE_CONTROL.fullmatch(str(t))}


class _Renamed:
    """A copy of a tokenizer whose control tokens have names that nobody can spell."""

    def __init__(self, tokenizer: Any, control: dict[str, int]) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError("a message spells a control token of the model, and its tokenizer can't be told to read that as text")
        made = json.loads(backend.to_str())
        names = {text: f"control{secrets.token_hex(12)}" for text in control}
        numbers = {t["content"]: int(t["id"]) for t in made["added_tokens"]}
        for token in made["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        made.update(post_processor=None, truncation=None, padding=None)
        _rename_vocabulary(made["model"], names)
        self._copy = Tokenizer.from_str(json.dumps(made))
        self._numbers = {self._copy.token_to_id(names.get(text, text)): number for text, number in numbers.items()}
        self._names = names
        self._controls = re.compile("|".join(re.escape(t) for t in sorted(names, key=len, reverse=True)) or r"(?!)")

    def encode(self, pieces: Sequence[Piece]) -> list[int]:
        text = "".join(self._controls.sub(lambda m: self._names[m[0]], text) if own else text for text, own in pieces)
        return [self._numbers.get(i, i) for i in self._copy.encode(text, add_special_tokens=False).ids]


def _rename_vocabulary(model: dict[str, Any], names: dict[str, str]) -> None:
    """Control tokens that stand in the vocabulary too would be found there as words."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(text, text): i for text, i in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in model["merges"]]
        model["merges"] = [list(p) for p in pairs if not ({*p, "".join(p)} & names.keys())]
