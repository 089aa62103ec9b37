"""Errors of the `openai` client, told once in ragkit's own words: what was asked, what the server said, what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ragkit.errors import ContextOverflow, GenerationError, OfflineError, RagkitError, ServerError
from ragkit.generation.server import retry
from ragkit.generation.server.replies import plain
from ragkit.generation.server.where import Where

if TYPE_CHECKING:
    from openai import APIError

G = TypeVar("G", bound=GenerationError)

_TOO_LONG = re.compile(
    r"context[_ ]length|context window|context size|maximum context|max_model_len|(prompt|input) is too long|too many (input )?tokens",
    re.I,
)
_LIMIT = re.compile(r"(?:context length|context window|context size|max_model_len|limit)\D{0,40}(\d+)|> (\d+) maximum", re.I)
_TOKENS = re.compile(r"(?:requested|resulted in|contains|has|passed|request|prompt is too long)\D{0,40}(\d+)", re.I)
_UNKNOWN_FIELD = re.compile(r"unsupported|not support|unrecogni|unknown|unexpected|not permitted|not allowed|extra|instead", re.I)


def status_of(exc: APIError) -> int:
    """HTTP status of an error, 0 where no reply came."""
    return int(getattr(exc, "status_code", 0))


def said(exc: APIError) -> str:
    """The server's words, short; empty where it said nothing."""
    body: Any = exc.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    if body in (None, "", {}):
        return ""
    return plain(body if isinstance(body, str) else json.dumps(body, default=str))


def refuses_field(exc: APIError, field: str) -> bool:
    """True where a server doesn't know this field of the request."""
    if status_of(exc) not in (400, 422) or overflow(exc, ""):
        return False
    words = said(exc)
    return (getattr(exc, "param", None) == field or bool(re.search(rf"\b{field}\b", words))) and bool(_UNKNOWN_FIELD.search(words))


def lower_limit(exc: APIError, field: str, asked: int) -> int | None:
    """The highest value that a server names where it refuses a field for being too high."""
    words = said(exc)
    if status_of(exc) not in (400, 422) or field not in words:
        return None
    return max((n for n in map(int, re.findall(r"\d+", words)) if 1 <= n < asked), default=None)


def overflow(exc: APIError, prompt: str) -> ContextOverflow | None:
    """The error for a prompt that the server finds too long, where it is that."""
    words = said(exc)
    if not (getattr(exc, "code", None) == "context_length_exceeded" or (status_of(exc) in (400, 413, 422) and _TOO_LONG.search(words))):
        return None
    numbers = [next((int(g) for g in m.groups() if g), 0) if (m := pattern.search(words)) else 0 for pattern in (_TOKENS, _LIMIT)]
    return ContextOverflow(
        f"{prompt or 'the prompt'} is longer than the model reads; shorten it, or ask for fewer max_tokens (the server said: {words!r})",
        tokens=numbers[0],
        limit=numbers[1],
    )


def offline_cause(exc: BaseException) -> OfflineError | None:
    """The refusal to use the network, where that is why a connection failed."""
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, OfflineError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def explained(exc: APIError, where: Where, *, prompt: str, tries: int, models: Callable[[], list[str]]) -> RagkitError:
    """The error to raise.

    prompt  its place in words, as "prompt 3", or empty
    tries   how often the request was sent
    models  asks the server which models it has; empty where it doesn't tell
    """
    refused = offline_cause(exc)
    if refused is not None:
        return OfflineError(f"{where.server} is not on this machine: {refused}")
    too_long = overflow(exc, prompt)
    if too_long is not None:
        return _blackened(too_long, where)
    status, words = status_of(exc), said(exc)
    quoted = f": {words!r}" if words else ""
    of = f" for {prompt}" if prompt else ""
    times = f", {tries} times" if tries > 1 else ""
    if status == 0:
        text = _unreached(exc, where, of, times)
    elif status in (401, 403):
        text = (
            f"{where.server} refused the key ({status}{quoted}); set OPENAI_API_KEY, or give api_key, to one that may use {where.model!r}"
        )
    elif status == 404:
        text = f"{where.server} answered 404{quoted}; {_known(where, models())}"
    elif getattr(exc, "code", None) == "insufficient_quota":
        text = f"{where.server} has no quota left for this key (429{quoted}); see to the account behind it"
    elif retry.may_pass(status):
        text = f"{where.server} failed{of} with HTTP {status}{times}{quoted}; try later, raise `retries`, or lower `concurrency`"
    else:
        text = f"{where.server} refused the request{of} (HTTP {status}{quoted}); correct what it names"
    return _blackened(ServerError(text, status=status), where)


def broken_off(exc: APIError | None, where: Where, characters: int) -> ServerError:
    """The error for a stream that ended before its finish."""
    words = (said(exc) or str(exc)) if exc is not None else "the stream ended without a finish_reason"
    text = f"{where.server} broke off after {characters} characters ({words}); ask again"
    return _blackened(ServerError(text, status=status_of(exc) if exc is not None else 0), where)


def _unreached(exc: APIError, where: Where, of: str, times: str) -> str:
    from openai import APITimeoutError

    if isinstance(exc, APITimeoutError):
        return f"{where.server} did not answer{of} within {where.timeout:g} s{times}; raise `timeout`, or lower `concurrency` or max_tokens"
    reason = exc.__cause__ or exc
    return f"{where.server} can't be reached{of}{times} ({type(reason).__name__}: {reason}); is it running, and is base_url right?"


def _known(where: Where, models: list[str]) -> str:
    if models and where.model not in models:
        return f"it has no model {where.model!r}, but has: {', '.join(models[:20])}"
    return f"is {where.model!r} the model's name there, and does base_url end as the server wants it, as in /v1?"


def _blackened(error: G, where: Where) -> G:
    error.args = tuple(where.blacken(a) if isinstance(a, str) else a for a in error.args)
    return error
