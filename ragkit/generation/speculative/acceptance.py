"""Tokens that were drawn from another distribution, taken or replaced so that what is written follows the model's own.

A token that is only guessed needs no rule: the model's own choice is drawn, and the guess was right or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.registry import need


def accept_drawn(p: NDArray[np.float64], q: NDArray[np.float64], drawn: Sequence[int], generator: Any) -> int:
    """A token distributed as p, one of those drawn from q where that can be.

    p, q   float64 (V,), each of sum 1
    drawn  from q, without replacement, in their order: q gave each of them, without those before it
    source: Leviathan et al., ICML 2023 (one token); Miao et al., SpecInfer, ASPLOS 2024, and Jeon et al., Recursive Speculative
    Decoding, 2024 (several, without replacement)
    """
    rest, law = p, q
    for token in drawn:
        if not law[token] > 0:
            raise ValueError(f"the token {token} can't have been drawn: it has no probability in the distribution given")
        if uniform(generator) * law[token] < rest[token]:
            return token
        left = np.maximum(rest - law, 0)
        if not left.sum() > 0:  # the two agree up to rounding
            break
        rest = left / left.sum()
        law = law.copy()
        law[token] = 0
        if not law.sum() > 0:
            break
        law /= law.sum()
    return draw(rest, generator)


def draw(p: NDArray[np.float64], generator: Any) -> int:
    """A token distributed as p."""
    cumulated = p.cumsum()
    return min(int(np.searchsorted(cumulated, uniform(generator) * cumulated[-1], side="right")), len(p) - 1)


def uniform(generator: Any) -> float:
    """A number in [0, 1) from a generator of torch."""
    torch = need("torch", extra="models", why="drawing tokens")
    return float(torch.rand(1, dtype=torch.float64, generator=generator))
