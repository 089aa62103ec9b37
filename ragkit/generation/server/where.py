"""Where a reply came from, for the sentences of errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """What an error's sentence needs: the server in words, the model, its time limit, and how to blacken the key."""

    server: str
    model: str
    timeout: float
    blacken: Callable[[str], str]
