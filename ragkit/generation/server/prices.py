"""Prices of a model's server: what a call cost, from its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragkit.errors import InputError


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens: of prompts, written, and of prompts that the server still had (cached).

    >>> Prices.of((2.0, 8.0)).cost(prompt=1_000_000, cached=0, generated=500_000)
    6.0
    """

    prompt: float
    generated: float
    cached: float

    @classmethod
    def of(cls, prices: Sequence[float]) -> Prices:
        """(prompt, generated) or (prompt, generated, cached); without the third, cached tokens cost as others."""
        if len(prices) not in (2, 3) or not all(p >= 0 for p in prices):
            raise InputError(f"prices must be (prompt, generated) or (prompt, generated, cached), a million tokens each, got {prices!r}")
        return cls(prices[0], prices[1], prices[-1] if len(prices) == 3 else prices[0])

    def cost(self, *, prompt: int, cached: int, generated: int) -> float:
        """Of one call; the cached tokens are among the prompt's."""
        return ((prompt - cached) * self.prompt + cached * self.cached + generated * self.generated) / 1e6
