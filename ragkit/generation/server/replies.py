"""Replies of an OpenAI-compatible server, read from plain JSON: texts, reasons to end, token counts, log-probabilities.

Both APIs and both forms of log-probabilities are read: the chat API's list of positions, which some servers also give for completions,
and the completions API's parallel lists.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from ragkit.errors import ReplyError
from ragkit.generation.server.where import Where
from ragkit.generation.types import TokenLogprob

Finish = Literal["stop", "length", "filtered"]

_FINISH: dict[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "filtered"}

_NEVER = -9999.0
"""OpenAI's sign for a probability that it doesn't tell."""


def parsed(body: str, where: Where) -> dict[str, Any]:
    """The JSON object of a reply; raises ReplyError where it is none, or holds an error."""
    try:
        reply = json.loads(body)
    except ValueError as exc:
        raise ReplyError(
            f"{where.server} replied with {_kind(body)}, not JSON: {plain(where.blacken(body))!r}; does base_url lead to an API?"
        ) from exc
    if not isinstance(reply, dict):
        raise ReplyError(f"{where.server} replied with JSON of another form: {where.blacken(body)[:120]!r}; does base_url lead to an API?")
    if reply.get("error") and not reply.get("choices"):
        raise ReplyError(f"{where.server} replied with an error: {plain(where.blacken(json.dumps(reply['error'])))}")
    return reply


def choice_of(reply: Mapping[str, Any], where: Where) -> Mapping[str, Any]:
    """The one choice of a reply."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyError(f"{where.server} returned no choices; the reply holds {where.blacken(str(sorted(reply)))}")
    return choices[0]


def text_of(choice: Mapping[str, Any], where: Where) -> tuple[str, Finish]:
    """What was written and why it ended; a refusal is "filtered", with what was written before it."""
    reason = choice.get("finish_reason")
    message = _object(choice.get("message"))
    text = message.get("content") if message else choice.get("text")
    if message.get("refusal"):
        reason = "content_filter"
    if isinstance(text, list):  # some servers send the parts of a message
        text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
    if text is None and reason == "content_filter":
        text = ""
    if not isinstance(text, str):
        more = "; the model may have used up max_tokens for its reasoning: raise it" if reason == "length" else ""
        raise ReplyError(f"{where.server} returned no text (finish_reason {where.blacken(repr(reason))}){more}")
    return text, finish_of(reason)


def finish_of(reason: Any) -> Finish:
    """A server's finish_reason as ours; whatever is neither the limit nor a filter is an ordinary end."""
    return _FINISH.get(str(reason), "stop")


def piece_of(event: Mapping[str, Any]) -> tuple[str, str | None]:
    """(text, finish_reason) of an event of a stream; an event of counts alone has neither."""
    choices = event.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    delta = _object(choice.get("delta"))
    text = delta.get("content") if delta else choice.get("text")
    reason = "content_filter" if delta.get("refusal") else choice.get("finish_reason")
    return text if isinstance(text, str) else "", None if reason is None else str(reason)


def counted(reply: Mapping[str, Any]) -> tuple[int | None, int | None, int]:
    """(prompt tokens, generated tokens, cached tokens among the prompt's); None where the server does not tell."""
    usage = _object(reply.get("usage"))
    details = _object(usage.get("prompt_tokens_details"))
    read, written, cached = (_count(v) for v in (usage.get("prompt_tokens"), usage.get("completion_tokens"), details.get("cached_tokens")))
    return read, written, min(cached or 0, read or 0)


def written_logprobs(choice: Mapping[str, Any], where: Where) -> tuple[TokenLogprob, ...]:
    """Of the tokens written."""
    told = _logprobs(choice, where)
    if isinstance(told.get("content"), list):
        return tuple(TokenLogprob(_token(p), at_most_0(p.get("logprob"))) for p in map(_object, told["content"]))
    tokens, values = told.get("tokens"), told.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(values, list):
        raise _none(where)
    return tuple(TokenLogprob(str(t), at_most_0(v)) for t, v in zip(tokens, values, strict=False))


def next_logprobs(choice: Mapping[str, Any], where: Where) -> dict[str, float]:
    """Text -> log-probability of the most probable first tokens; empty where the model ended at once."""
    told = _logprobs(choice, where)
    positions = told.get("content")
    if not isinstance(positions, list):
        positions = told.get("top_logprobs")
    if positions == []:
        return {}
    first = _object(positions[0]) if isinstance(positions, list) else {}
    if not first:
        raise _none(where)
    if "top_logprobs" not in first:  # the completions API: text -> log-probability
        return {str(t): at_most_0(v) for t, v in first.items()}
    found: dict[str, float] = {}
    for p in map(_object, first["top_logprobs"] if isinstance(first["top_logprobs"], list) else ()):
        found[_token(p)] = max(at_most_0(p.get("logprob")), found.get(_token(p), -math.inf))
    return found


def echoed_mean(choice: Mapping[str, Any], prompt: str, continuation: str, where: Where) -> float:
    """Mean log-probability of the continuation's tokens in an echoed text; a token across the border counts as the continuation's.

    One token was written after the text. A server that leaves it out of its lists has them shifted: it tells each token's probability
    after itself, as llama-cpp-python 0.3 does (its issue 1983). Where the model ended at once there is no such token to tell by.
    """
    told = _logprobs(choice, where)
    tokens, values, offsets = told.get("tokens"), told.get("token_logprobs"), told.get("text_offset")
    if not isinstance(tokens, list) or not isinstance(values, list):
        raise _none(where)
    whole, tokens = prompt + continuation, [str(t) for t in tokens]
    if "".join(tokens).startswith(whole) or not (isinstance(offsets, list) and all(isinstance(n, int) for n in offsets)):
        offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
    places = list(zip(tokens, values, offsets, strict=False))
    own = [at_most_0(v) for t, v, at in places if v is not None and at + len(t) > len(prompt) and at < len(whole)]
    if not own:
        raise ReplyError(f"{where.server} did not echo the prompt with its log-probabilities; name the feature 'continuation' in `without`")
    if len(str(choice.get("text"))) > len(whole) and max(at for _, _, at in places) < len(whole):
        raise ReplyError(
            f"{where.server} tells the log-probabilities of an echoed text one token too late, so they can't be used; "
            "name the feature 'continuation' in `without`"
        )
    return sum(own) / len(own)


def at_most_0(value: Any) -> float:
    """A log-probability without rounding above 0; -inf where it isn't told."""
    known = isinstance(value, int | float) and not math.isnan(value) and value > _NEVER
    return min(float(value), 0.0) if known else -math.inf


def plain(body: str) -> str:
    """The words of an error page, short."""
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", body, flags=re.S | re.I) if _kind(body) == "an HTML page" else body
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:297] + "..."


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _kind(body: str) -> str:
    return "an HTML page" if re.match(r"\s*<(!doctype|html|head|body)", body, re.I) else "text" if body.strip() else "nothing"


def _logprobs(choice: Mapping[str, Any], where: Where) -> Mapping[str, Any]:
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        raise _none(where)
    return told


def _none(where: Where) -> ReplyError:
    return ReplyError(f"{where.server} returned no log-probabilities; use a server that does, or name the feature in `without`")


def _token(position: Mapping[str, Any]) -> str:
    """A token's text: from its bytes where they are told and whole, for servers may write parts of characters otherwise."""
    raw = position.get("bytes")
    if isinstance(raw, list) and raw:
        try:
            return bytes(raw).decode()
        except (ValueError, TypeError):
            return str(position.get("token", ""))
    return str(position.get("token", ""))
