"""Events of a server's stream, as plain JSON and with errors in ragkit's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ragkit.errors import ReplyError
from ragkit.generation.server.calls import blacken_client
from ragkit.generation.server.errors import broken_off
from ragkit.generation.server.where import Where


def heard(events: Any, where: Where, written: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each event of a stream of the `openai` client.

    written  pieces of text so far, kept by the caller; an error says how many characters came
    raises   ServerError where the server breaks off, ReplyError where it sends something else
    """
    from openai import APIError

    if "html" in events.response.headers.get("content-type", ""):
        raise ReplyError(f"{where.server} replied with an HTML page, not a stream; does base_url lead to an API?")
    try:
        for event in events:
            if not hasattr(event, "to_dict"):
                raise ReplyError(f"{where.server} sent an event of another form: {where.blacken(repr(event))[:120]}")
            yield event.to_dict(warnings=False)
    except APIError as exc:
        blacken_client(exc, where)
        raise broken_off(exc, where, sum(map(len, written))) from exc
    except ReplyError:
        raise
    except ValueError as exc:
        raise ReplyError(f"{where.server} sent an event that is not JSON, after {sum(map(len, written))} characters") from exc
