"""Conversations as text: a model's chat template, or a plain form, with marks where the contents belong.

The template never sees the contents, so that nothing in a passage can change what it writes; the contents are put in
between afterwards, trimmed where the template trims them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ragkit.errors import InputError
from ragkit.generation.types import Message

_EDGE = "\u2003"
"""A space that templates trim and never write: where it is gone from a mark, the template trims contents."""

_PLAIN = {"system": "System", "user": "User", "assistant": "Assistant"}

Piece = tuple[str, bool]
"""Text, and whether it is the template's own."""


def arrange(messages: Sequence[Message], tokenizer: Any, chat_template: str | None) -> list[Piece]:
    """The text that a model reads for a conversation, in pieces: the template's own and the contents.

    A last turn of the assistant is left open, to be gone on from. A tokenizer without a template gets
    ``"System: …\\n\\nUser: …\\n\\nAssistant:"``. Where a template refuses a system's turn or leaves it out, its text is put
    before the first user's, with an empty line between.

    raises  InputError for no messages or a conversation that the template refuses, or of which it leaves a turn out
    """
    if not messages:
        raise InputError("a conversation needs at least one message, got none")
    opened = messages[-1].role == "assistant"
    if chat_template is None and not getattr(tokenizer, "chat_template", None):
        return _plain(messages, opened)
    try:
        return _render(messages, tokenizer, chat_template, opened)
    except (_template_error(), _LeftOut) as exc:
        if messages[0].role == "system" and len(messages) > 1 and messages[1].role == "user":
            merged = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
            return arrange([merged, *messages[2:]], tokenizer, chat_template)
        roles = ", ".join(m.role for m in messages)
        raise InputError(f"the model's chat template refuses a conversation of {roles} ({exc}); give turns that it knows") from exc


class _LeftOut(Exception):
    """A template wrote without a turn that it was given."""


def _template_error() -> type[Exception]:
    from jinja2 import TemplateError

    return TemplateError


def _plain(messages: Sequence[Message], opened: bool) -> list[Piece]:
    pieces: list[Piece] = []
    for i, message in enumerate(messages):
        pieces += [(f"{_PLAIN[message.role]}: ", True), (message.content, False)]
        if i < len(messages) - 1:
            pieces.append(("\n\n", True))
    return pieces if opened else [*pieces, ("\n\nAssistant:", True)]


def _render(messages: Sequence[Message], tokenizer: Any, chat_template: str | None, opened: bool) -> list[Piece]:
    marks = [secrets.token_hex(12) for _ in messages]
    turns = [{"role": m.role, "content": f"{_EDGE}{mark}{_EDGE}"} for m, mark in zip(messages, marks, strict=True)]
    text: str = tokenizer.apply_chat_template(turns, chat_template=chat_template, tokenize=False, add_generation_prompt=not opened)
    lost = [m.role for m, mark in zip(messages, marks, strict=True) if mark not in text]
    if lost:
        raise _LeftOut(f"it leaves out what these turns say: {', '.join(lost)}")
    pieces: list[Piece] = []
    places = sorted((text.find(mark), i) for i, mark in enumerate(marks))
    end = 0
    for at, i in places:
        before, after = text[end:at], text[at + len(marks[i]) :]
        content = messages[i].content
        if before.endswith(_EDGE):
            before = before.removesuffix(_EDGE)
        else:
            content = content.lstrip()
        last = opened and i == len(messages) - 1
        if after.startswith(_EDGE):
            end = len(text) - len(after) + len(_EDGE)
        else:
            content = content if last else content.rstrip()
            end = len(text) - len(after)
        pieces += [(before, True), (content, False)]
        if last:
            return pieces
    return [*pieces, (text[end:], True)]
