"""The tree that one pass verifies for one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.speculative.draft import Shift


@dataclass(frozen=True)
class Plan:
    """Nodes chosen from the drafts, behind the last token written, which is node 0.

    tokens   int64 (T,)
    parents  int32 (T,)    -1 for node 0
    depths   int64 (T,)
    sees     bool (T, T)   whether a node follows another, or is it
    nodes    int32 (T - 1,)  of the drafts put together, by which the controller knows them
    laws     by node, the distribution that its children among the forced nodes were drawn from; see `Draft`
    forced   nodes that were drawn
    shift    see `Draft`
    """

    tokens: NDArray[np.int64]
    parents: NDArray[np.int32]
    depths: NDArray[np.int64]
    sees: NDArray[np.bool_]
    nodes: NDArray[np.int32]
    laws: Mapping[int, NDArray[np.float64]]
    forced: range = range(0)
    shift: Shift | None = None

    @classmethod
    def bare(cls, token: int, laws: Mapping[int, NDArray[np.float64]] | None = None, shift: Shift | None = None) -> Plan:
        """A step without drafted tokens."""
        zero = np.zeros(1, np.int64)
        return cls(np.array([token]), _ROOT, zero, np.ones((1, 1), bool), np.zeros(0, np.int32), laws or {}, shift=shift)

    def __len__(self) -> int:
        return len(self.tokens)

    def children(self) -> dict[tuple[int, int], int]:
        """Node by (parent, token)."""
        tokens = self.tokens.tolist()
        return {(p, tokens[i]): i for i, p in enumerate(self.parents.tolist()) if i}

    def drawn(self) -> dict[int, list[int]]:
        """Tokens of the children that were drawn, in their order, by parent."""
        out: dict[int, list[int]] = {}
        for i, (parent, token) in enumerate(zip(self.parents.tolist(), self.tokens.tolist(), strict=True)):
            if parent in self.laws and i in self.forced:
                out.setdefault(parent, []).append(token)
        return out


_ROOT = np.array([-1], np.int32)
