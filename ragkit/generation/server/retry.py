"""When a refused or failed request is sent again: exponential back-off with full jitter, and the server's own Retry-After.

Full jitter (a wait drawn evenly between 0 and the bound) spreads callers that failed together: Brooker, Exponential Backoff
And Jitter, AWS Architecture Blog 2015.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

AGAIN = frozenset({408, 409, 429})
"""HTTP statuses below 500 after which the same request may succeed later."""

LONGEST = 30.0
"""Seconds that the bound of the back-off grows to."""

PATIENCE = 300.0
"""Seconds; a server that asks for a longer pause is given up at once."""


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later, after a reply of this HTTP status."""
    return status in AGAIN or status >= 500


def pause(failures: int, backoff: float, asked: float | None = None) -> float:
    """Seconds to wait after the given number of failures (1 after the first).

    asked  what the server asked for: kept to, plus up to `backoff`, so that callers told the same don't come back as one
    """
    if asked is not None:
        return asked + random.uniform(0, backoff)
    return random.uniform(0, min(LONGEST, backoff * 2 ** (failures - 1)))


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks the caller to wait: Retry-After as seconds or as a date (RFC 9110, 10.2.3), or retry-after-ms.

    >>> asked_pause({"retry-after": "7"}), asked_pause({"retry-after-ms": "250"}), asked_pause({}), asked_pause({"retry-after": "soon"})
    (7.0, 0.25, None, None)
    """
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, unit in ((milliseconds, 1e-3), (seconds, 1.0)):
        if text is not None:
            try:
                return max(0.0, float(text) * unit)
            except ValueError:
                continue
    if seconds is not None:
        try:
            return max(0.0, parsedate_to_datetime(seconds).timestamp() - time.time())
        except ValueError:
            return None
    return None
