"""Choosing the next token: the most probable one, or one drawn by temperature and top-p, for each row on its own.

A draw turns one uniform number of the row's own generator into a token through the cumulated probabilities, in the
order of the vocabulary; so a row's text depends on its seed and not on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import GenerationError
from ragkit.registry import need

_NUCLEUS = 256
"""Tokens that are looked at first for top_p: a model that has learnt something seldom needs more."""

Allowed = NDArray[np.int64]
"""Tokens that may come next, (n,)."""


class Sampling:
    """How tokens are chosen.

    temperature  0 for the most probable token
    top_p        draw from the fewest tokens that hold so much probability
    seed         of each row's generator; None for another text each time
    """

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature, self.top_p, self.seed = temperature, top_p, seed

    def generator(self) -> Any:
        """A row's own source of random numbers; None where nothing is drawn."""
        if self.temperature == 0:
            return None
        torch = need("torch", extra="models", why="drawing tokens")
        made = torch.Generator()
        if self.seed is None:
            made.seed()
        else:
            made.manual_seed(self.seed)
        return made

    def drawing(self) -> Sampling:
        """How tokens would be drawn: at temperature 0 as at temperature 1."""
        return self if self.temperature > 0 else Sampling(1.0, 1.0, self.seed)

    def choose(self, logits: Any, generators: Sequence[Any], allowed: Sequence[Allowed | None]) -> list[int]:
        """The next token of each row. logits (R, V) float32; allowed: None for the whole vocabulary"""
        if all(a is None for a in allowed):
            return self._choose(logits, generators)
        out: list[int] = []
        for r, tokens in enumerate(allowed):
            if tokens is None:
                out += self._choose(logits[r : r + 1], generators[r : r + 1])
            elif len(tokens) == 1:
                out.append(int(tokens[0]))
            else:
                among = logits[r].index_select(0, _tensor(tokens, logits.device))[None]
                out.append(int(tokens[self._choose(among, generators[r : r + 1])[0]]))
        return out

    def weights(self, logits: Any) -> Any:
        """What tokens are drawn by, float32 (R, V), in proportion to their probabilities; temperature above 0."""
        torch = need("torch", extra="models", why="drawing tokens")
        p = torch.softmax((logits - logits.max(-1, keepdim=True).values) / self.temperature, -1)
        return p.masked_fill(p < _least(p, self.top_p), 0.0) if self.top_p < 1 else p

    def probabilities(self, logits: Any) -> NDArray[np.float64]:
        """The same as probabilities, float64 (R, V)."""
        weights: NDArray[np.float64] = self.weights(logits).double().cpu().numpy()
        weights /= weights.sum(-1, keepdims=True)
        return weights

    def _choose(self, logits: Any, generators: Sequence[Any]) -> list[int]:
        tokens: list[int]
        if self.temperature == 0:
            tokens = logits.argmax(-1).tolist()
            return tokens
        torch = need("torch", extra="models", why="drawing tokens")
        p = self.weights(logits)
        cumulated = p.cumsum(-1, dtype=torch.float64)
        u = torch.cat([torch.rand(1, dtype=torch.float64, generator=g) for g in generators])[:, None].to(p.device)
        drawn = torch.searchsorted(cumulated, u * cumulated[:, -1:], right=True)
        tokens = drawn[:, 0].clamp(max=p.shape[-1] - 1).tolist()
        return tokens


def _least(p: Any, top_p: float) -> Any:
    """Each row's smallest probability among the fewest tokens that hold top_p together, (R, 1); sorts no more than it must."""
    torch = need("torch", extra="models", why="drawing tokens")
    ordered = p.topk(min(_NUCLEUS, p.shape[-1])).values
    if bool((ordered.double().sum(-1) < top_p).any()):
        # numpy sorts several times as fast as torch does on a CPU
        ordered = torch.from_numpy(np.sort(p.numpy())[:, ::-1].copy()) if p.device.type == "cpu" else p.sort(-1, descending=True).values
    short = (ordered.double().cumsum(-1) < top_p).sum(-1, keepdim=True)
    return ordered.gather(-1, short.clamp(max=ordered.shape[-1] - 1))


def check_numbers(logits: Any, numbers: Sequence[int], model: str) -> None:
    """Raise GenerationError, naming the model and the first such prompt, where a row of logits (R, …, V) holds NaN."""
    worst = logits.flatten(1).amax(-1)
    if (worst != worst).any():
        number = next(n for n, bad in zip(numbers, (worst != worst).tolist(), strict=True) if bad)
        raise GenerationError(
            f"the model {model!r} computed no numbers (NaN) for prompt {number}; its weights are broken or its precision is too low"
        )


def _tensor(tokens: Allowed, device: Any) -> Any:
    torch = need("torch", extra="models", why="choosing tokens")
    return torch.from_numpy(tokens).to(device)
