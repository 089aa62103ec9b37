"""Pooling: the legs' rankings interleaved without duplicates, as candidates for a reranker."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ragkit.join import Joined, place_of
from ragkit.pipelines.fusion.legs import Fusion
from ragkit.run import Run
from ragkit.stage import Stage, check_k


@dataclass(frozen=True, repr=False)
class Pool(Fusion):
    """The stage that `pool` returns."""

    depth: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.depth, "depth")

    def fuse(self, legs: Joined, before: Run) -> Run:
        never = np.iinfo(np.int64).max
        turns = []
        for n, leg in enumerate(legs.runs):
            place = place_of(leg)
            turns.append(legs.spread(n, np.where(place < self.depth, place * len(legs) + n, never), never))
        turn = np.min(turns, axis=0)
        by_turn = legs.run((-turn).astype(np.float32), scale="rank", floor=None, before=before, keep=turn < never)
        return replace(by_turn, scores=(-place_of(by_turn)).astype(np.float32))

    def __repr__(self) -> str:
        return self._named(f"depth={self.depth}")


def pool(*stages: Stage, depth: int = 100) -> Pool:
    """The first `depth` hits of each stage, interleaved: the first of each stage, then the second of each, and so on.

    depth    how deep each stage's ranking is read; a ``% k`` behind the pool bounds what a reranker gets in all
    returns  a stage on the scale "rank"; a row stands where it comes first and not again
    raises   InputError for fewer than two stages or a depth below 1

    >>> from ragkit import Retrieve
    >>> pool(Retrieve("bm25"), Retrieve("dense"), depth=50) % 80
    pool(Retrieve('bm25', k=1000), Retrieve('dense', k=1000), depth=50) % 80
    """
    return Pool(stages, depth)
