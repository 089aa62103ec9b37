"""Drafters for tests: trees drawn at random around a text that is known, and costs that verify everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ragkit.generation.speculative.costs import Costs
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified


class Free(Costs):
    """Every pass costs the same, so that all that is drafted is verified."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._table = np.full(most, 1e6)

    @property
    def plain(self) -> float:
        return 1e6

    @property
    def table(self) -> Any:
        return self._table

    def add(self, tokens: int, seconds: float) -> None:
        pass


class Scattered:
    """Random trees; a node is the right token of a known text with a probability, else any.

    right  the text by its prompt
    """

    name: ClassVar[str] = "scattered"
    lossless: ClassVar[bool] = True

    def __init__(self, right: dict[tuple[int, ...], Sequence[int]], share: float, *, width: int, chain: bool, seed: int = 0) -> None:
        self.right, self.share, self.width, self.chain = right, share, width, chain
        self.rng = np.random.default_rng(seed)

    def begin(self, request: Request) -> _Scattering:
        return _Scattering(self, self.right.get(tuple(request.prompt), ()))


class _Scattering:
    def __init__(self, spec: Scattered, right: Sequence[int]) -> None:
        self.spec, self.right, self.done = spec, right, 0

    def propose(self, budget: Budget) -> Draft:
        spec, rng = self.spec, self.spec.rng
        size = int(rng.integers(0, min(12, budget.nodes) + 1))
        tokens: list[int] = []
        parents: list[int] = []
        truth: list[int] = []  # depth of a node that is on the right path, else -1
        for _ in range(size):
            parent = len(tokens) - 1 if spec.chain else int(rng.integers(-1, len(tokens)))
            depth = 0 if parent < 0 else truth[parent]
            here = self.done + depth
            good = depth >= 0 and here < len(self.right) and rng.random() < spec.share
            token = int(self.right[here]) if good else int(rng.integers(spec.width))
            if (parent, token) in zip(parents, tokens, strict=True):
                continue
            good = depth >= 0 and here < len(self.right) and token == self.right[here]
            tokens.append(token)
            parents.append(parent)
            truth.append(depth + 1 if good else -1)
        return Draft.of(tokens, parents)

    def observe(self, verified: Verified) -> None:
        self.done += len(verified.written)

    def passage_of(self, place: int) -> None:
        return None
