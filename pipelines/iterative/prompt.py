"""The prompt of one request, with a place for a passage, as tokens: a passage spells no control token, whatever it says."""

from __future__ import annotations

from collections.abc import Sequence

from ragkit.errors import InputError
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.types import Message, Prompt

TEMPLATE = "{passage}\n\n{prompt}"
"""How a passage stands before the prompt."""


def check_template(template: str) -> None:
    """Raise InputError unless it names each of its two places once."""
    for place in ("{passage}", "{prompt}"):
        if template.count(place) != 1:
            raise InputError(f"a template has {place} exactly once, got {template!r}")


class PassagePrompt:
    """A prompt in which passages take turns.

    tokens    of the model
    prompt    a text, or a conversation whose last message is the user's: the passage is put into that
    template  of the text, or of that message
    own       tokens of the prompt itself, without template and passage: what a query is made of at first
    """

    def __init__(self, tokens: PromptTokens, prompt: Prompt, template: str) -> None:
        check_template(template)
        text = prompt if isinstance(prompt, str) else _asked(prompt)
        self._tokens, self._bare = tokens, tokens.encode(prompt)
        slot = "[passage]"
        while slot in text or slot in template:
            slot = f"[{slot}]"
        at = template.index("{prompt}")
        pieces = (template[:at], template[at + len("{prompt}") :])
        filled = text.join(piece.replace("{passage}", slot) for piece in pieces)
        whole: Prompt = filled if isinstance(prompt, str) else [*prompt[:-1], Message("user", filled)]
        self._before, self._behind = tokens.around(whole, slot)
        self.own = tokens.text(text) if isinstance(prompt, str) else tokens.plain(text)

    def around(self, passage: str | None) -> list[int]:
        """Tokens of the prompt with a passage; None: of the prompt alone."""
        if passage is None:
            return self._bare
        first = self._before == self._tokens.begin  # then the passage begins the text
        return [*self._before, *(self._tokens.plain(passage) if first else self._tokens.continuing(passage)), *self._behind]


def _asked(messages: Sequence[Message]) -> str:
    if not messages or messages[-1].role != "user":
        raise InputError("a conversation that is written on with passages ends in a message of the user")
    return messages[-1].content
