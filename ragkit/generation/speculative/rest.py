"""Drafts from a corpus: what stands behind the longest end of the text wherever that end occurs.

source: He et al., REST: Retrieval-Based Speculative Decoding, NAACL 2024. Occurrences are taken evenly from all there are, for the first
ones of a suffix array begin with the smallest tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Verified
from ragkit.kernels.draft_trees import grow
from ragkit.protocols import ContinuationIndex

_LENGTHS = (3, 5, 8)
"""Matches are graded apart below 3 tokens, below 5, below 8, and from there on."""
_SHARES = (0.2, 0.5, 0.9)
"""So are nodes by the share of occurrences that go on with them, where their parent is."""
_FEW = 4
"""And nodes of which fewer than so many occurrences tell."""


@dataclass(frozen=True)
class REST:
    """Drafts from an n-gram index of tokens, as `TokenNGram` opens it.

    index    cut by the tokenizer of the model; None: the one that comes with a prompt, if one does
    context  tokens at the end of the text that are looked for, at most
    most     occurrences that are looked at
    length   tokens that are read behind each
    """

    index: ContinuationIndex | None = None
    context: int = 16
    most: int = 64
    length: int = 10
    name: ClassVar[str] = "corpus"
    lossless: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.context, self.most, self.length) < 1:
            raise InputError(f"context, most and length must be at least 1, got {self.context}, {self.most} and {self.length}")

    def begin(self, request: Request) -> _Looking:
        """See `ragkit.protocols.Drafter`."""
        return _Looking(self, request)


class _Looking:
    def __init__(self, spec: REST, request: Request) -> None:
        self._spec, self._index = spec, spec.index or request.corpus
        self._tail = [int(t) for t in request.prompt[-spec.context :]]

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        spec = self._spec
        if self._index is None:
            return EMPTY
        found = self._index.continuations(self._tail, most=spec.most, length=spec.length)
        rows = len(found.tokens)
        if not rows:
            return EMPTY
        size = found.tokens.size
        tokens, parents, counts, firsts = (np.empty(size, np.int32) for _ in range(4))
        n = grow(found.tokens, tokens, parents, counts, firsts)
        tokens, parents, counts, firsts = tokens[:n], parents[:n], counts[:n], firsts[:n]
        if n > budget.nodes:
            kept = np.sort(np.argsort(-counts, kind="stable")[: budget.nodes])  # a parent counts as much as its child and comes first
            at = np.full(n + 1, -1, np.int32)
            at[kept] = np.arange(len(kept))
            tokens, parents, counts, firsts = tokens[kept], at[parents[kept]], counts[kept], firsts[kept]
        before = np.where(parents < 0, rows, counts[parents])
        depths = _depths(parents)
        grades = (
            8 * np.searchsorted(_LENGTHS, found.matched + depths, side="right")
            + 2 * np.searchsorted(_SHARES, counts / before, side="right")
            + (before >= _FEW)
        ).astype(np.int32)
        return Draft(tokens, parents, grades, found.places[firsts] + depths)

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._tail = [*self._tail, *verified.written][-self._spec.context :]

    def passage_of(self, place: int) -> tuple[None, int] | None:
        """See `ragkit.protocols.Drafting`; places in an index of its own are nobody else's."""
        return (None, place) if self._spec.index is None and place >= 0 else None


def _depths(parents: np.ndarray) -> np.ndarray:
    """Of each node below the first ones, which have depth 0."""
    depths = np.zeros(len(parents), np.int64)
    for i, parent in enumerate(parents.tolist()):
        if parent >= 0:
            depths[i] = depths[parent] + 1
    return depths
