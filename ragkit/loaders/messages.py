"""Conversations as chat programs write them down: a list of messages, each with a role and a content."""

from __future__ import annotations

from collections.abc import Mapping


def conversation(messages: object) -> str | None:
    """The messages as ``role: content`` lines; None if that is no list of messages.

    A content is a string, or a list of parts of which those of the type text are read. Messages without a text, such as
    the calls of tools, are left out.

    >>> conversation([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": [{"type": "text", "text": "So."}]}])
    'user: Why?\\nassistant: So.'
    >>> conversation(["no message"])
    """
    if not isinstance(messages, list) or not messages:
        return None
    said = []
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            return None
        text = _content(message.get("content"))
        if text.strip():
            said.append(f"{message['role']}: {text}")
    return "\n".join(said)


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") == "text"]
    return "\n".join(t for t in texts if isinstance(t, str))
