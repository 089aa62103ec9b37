"""Usage: what calls of a language model cost, as sums that add up from one call to a whole run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Costs of one call or of many; `a + b` sums all fields.

    calls              prompts that were put to a model
    passes             forward passes that it took, a batch counting once; 0 where a server does not tell
    prompt_tokens      tokens of all prompts
    cached_tokens      those of them that were not computed again, because a prompt before shared them
    generated_tokens   tokens written
    seconds            wall clock; calls that ran side by side are counted once
    retries            calls repeated because a server refused or failed
    cost               money, in the currency of the prices that the model was given; 0 without prices

    >>> Usage(calls=1, prompt_tokens=10) + Usage(calls=2, generated_tokens=5)
    Usage(calls=3, passes=0, prompt_tokens=10, cached_tokens=0, generated_tokens=5, seconds=0.0, retries=0, cost=0.0)
    """

    calls: int = 0
    passes: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    retries: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        mine, theirs = asdict(self), asdict(other)
        return Usage(**{name: mine[name] + theirs[name] for name in mine})

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


FREE = Usage()
"""Nothing was asked of a model."""
