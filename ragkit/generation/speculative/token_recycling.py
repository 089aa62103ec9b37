"""Drafts from what the model itself last thought would follow each token.

source: Luo et al., Turning Trash into Treasure: Accelerating Inference of Large Language Models with Token Recycling, ACL 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified
from ragkit.kernels.draft_trees import recycle

WIDTH = 8
"""Successors that are kept of each token."""
_CHILDREN: dict[tuple[int, ...], int] = {
    (): 8,
    **{(i,): n for i, n in enumerate((8, 4, 3, 2, 1, 1, 1, 1))},
    **{(0, i): n for i, n in enumerate((8, 3, 2, 1, 1, 1, 1, 1))}, (1, 0): 2, (1, 1): 1, (2, 0): 1, (3, 0): 1, (4, 0): 1, (5, 0): 1,
    **{(0, 0, i): n for i, n in enumerate((5, 2, 1, 1, 1))}, (0, 1, 0): 1, (0, 2, 0): 1, (1, 0, 0): 1, (2, 0, 0): 1, (3, 0, 0): 1,
    (0, 0, 0, 0): 3, (0, 0, 0, 1): 1, (0, 0, 0, 2): 1, (0, 0, 1, 0): 1, (0, 1, 0, 0): 1, (1, 0, 0, 0): 1,
    (0, 0, 0, 0, 0): 2, (0, 0, 0, 1, 0): 1,
}  # fmt: skip
"""Children of a node by its path of ranks: the static tree of the paper, 80 nodes in 6 levels."""


@lru_cache
def static_tree() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(parents, ranks) of the static tree, int32 (80,) each, by levels.

    >>> parents, ranks = static_tree()
    >>> len(parents)
    80
    """
    parents: list[int] = []
    ranks: list[int] = []
    level: list[tuple[tuple[int, ...], int]] = [((), -1)]
    while level:
        below: list[tuple[tuple[int, ...], int]] = []
        for path, node in level:
            for rank in range(_CHILDREN.get(path, 0)):
                below.append(((*path, rank), len(parents)))
                parents.append(node)
                ranks.append(rank)
        level = below
    return np.array(parents, np.int32), np.array(ranks, np.int32)


@dataclass(frozen=True)
class TokenRecycling:
    """Keeps for each token the eight that the model last held most probable behind it, from one text to the next.

    The table is made at the first text and holds 32 bytes for each entry of the vocabulary.
    """

    name: ClassVar[str] = "recycled"
    lossless: ClassVar[bool] = True
    _tables: dict[int, NDArray[np.int32]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def begin(self, request: Request) -> _Recycling:
        """See `ragkit.protocols.Drafter`."""
        return _Recycling(self._tables.setdefault(request.width, np.full((request.width, WIDTH), -1, np.int32)), request)


class _Recycling:
    def __init__(self, table: NDArray[np.int32], request: Request) -> None:
        self._table, self._last = table, int(request.prompt[-1])

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        parents, ranks = static_tree()
        size = min(budget.nodes, len(parents))
        tokens, above, grades = (np.empty(size, np.int32) for _ in range(3))
        n = recycle(self._table, self._last, parents, ranks, tokens, above, grades)
        return Draft(tokens[:n], above[:n], grades[:n], np.full(n, -1, np.int64))

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._last = int(verified.written[-1])
        if verified.logits is not None and len(verified.tokens):
            logits = verified.logits[: len(verified.tokens)]
            top = logits.topk(min(WIDTH, logits.shape[1]), -1).indices.cpu().numpy()
            self._table[verified.tokens[::-1], : top.shape[1]] = top[
                ::-1
            ]  # of equal tokens the one nearest to the root, and so always the same

    def passage_of(self, place: int) -> None:
        """See `ragkit.protocols.Drafting`."""
