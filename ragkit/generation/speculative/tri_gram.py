"""Drafts by counts of three tokens in a row, which go on being counted while the model writes.

source: Liu et al., ADED: Adaptive Draft-Verification for LLM Decoding, 2024. Its Monte Carlo tree search balances what is probable and
what was seldom tried; the most probable paths, which that search comes to without its bonus, are found here directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified
from ragkit.kernels.tri_grams import count, most_probable

_SUCCESSORS = 16
_TOP = 4
"""Most probable tokens behind a verified one that are counted, by their probability."""


@dataclass(frozen=True)
class TriGramDrafter:
    """Counts of the model's own texts, from one to the next, after those of a corpus.

    corpus  texts as tokens, to begin with
    slots   pairs that are counted at most, a power of two; 136 bytes each
    depth   tokens at most
    """

    corpus: Sequence[Sequence[int]] = field(default=(), repr=False)
    slots: int = 1 << 17
    depth: int = 6
    name: ClassVar[str] = "tri-grams"
    lossless: ClassVar[bool] = True
    keys: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    tokens: NDArray[np.int32] = field(init=False, repr=False, compare=False)
    counts: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.slots < 2 or self.slots & (self.slots - 1) or self.depth < 1:
            raise InputError(f"slots must be a power of two and depth at least 1, got {self.slots} and {self.depth}")
        object.__setattr__(self, "keys", np.full(self.slots, -1, np.int64))
        object.__setattr__(self, "tokens", np.zeros((self.slots, _SUCCESSORS), np.int32))
        object.__setattr__(self, "counts", np.zeros((self.slots, _SUCCESSORS), np.float32))
        for text in self.corpus:
            self.count(text)

    def count(self, text: Sequence[int]) -> None:
        """Count a text's tri-grams."""
        ids = np.asarray(text, np.int32)
        if len(ids) >= 3:
            grams = np.stack((ids[:-2], ids[1:-1], ids[2:]), axis=1).reshape(-1)
            count(grams, np.ones(len(ids) - 2, np.float32), self.keys, self.tokens, self.counts)

    def begin(self, request: Request) -> _Following:
        """See `ragkit.protocols.Drafter`."""
        return _Following(self, request)


class _Following:
    def __init__(self, spec: TriGramDrafter, request: Request) -> None:
        self._spec = spec
        self._last = [-1, *map(int, request.prompt[-2:])][-2:]
        spec.count(request.prompt)

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        spec = self._spec
        tokens, parents = np.empty(budget.nodes, np.int32), np.empty(budget.nodes, np.int32)
        shares = np.empty(budget.nodes)
        depth = min(spec.depth, budget.depth)
        first, second = self._last
        n = most_probable(first, second, spec.keys, spec.tokens, spec.counts, depth, tokens, parents, shares)
        grades = np.minimum(31, (32 * shares[:n]).astype(np.int32))
        return Draft(tokens[:n], parents[:n], grades, np.full(n, -1, np.int64))

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._spec.count([*self._last, *verified.written] if self._last[0] >= 0 else [*self._last[1:], *verified.written])
        if len(verified.tokens):
            self._held(verified)
        self._last = [*self._last, *map(int, verified.written)][-2:]

    def passage_of(self, place: int) -> None:
        """See `ragkit.protocols.Drafting`."""

    def _held(self, verified: Verified) -> None:
        """Count what the model held probable behind each token that it read, right or wrong."""
        spec, n = self._spec, len(verified.tokens)
        best = verified.logits[:n].softmax(-1).topk(min(_TOP, verified.logits.shape[1]), -1)
        tops, weights = best.indices.cpu().numpy().astype(np.int32), best.values.float().cpu().numpy()
        before = np.where(verified.parents < 0, self._last[0], verified.tokens[verified.parents])
        grams = np.stack(np.broadcast_arrays(before[:, None], verified.tokens[:, None], tops), axis=-1).astype(np.int32)
        known = before >= 0
        count(grams[known].reshape(-1), weights[known].reshape(-1), spec.keys, spec.tokens, spec.counts)
