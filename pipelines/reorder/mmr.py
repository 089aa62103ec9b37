"""Maximal marginal relevance: relevant hits that do not repeat those before them (Carbonell & Goldstein, SIGIR 1998)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ShapeError
from ragkit.join import place_of
from ragkit.pipelines.fusion.normalise import minmax
from ragkit.pipelines.reorder.keep import check_number, source_of
from ragkit.run import Run
from ragkit.stage import Stage, check_k


@dataclass(frozen=True)
class MMR(Stage):
    """Reorders the first `depth` hits greedily: next comes the one with the highest
    (1 - diversity) * relevance - diversity * (highest cosine with a hit before it, at least 0).

    diversity  from 0 (the order stays) to 1; the paper's lambda is 1 - diversity
    depth      hits of each query that are reordered; those behind them follow as they were
    index      the index whose vectors tell how alike two passages are
    returns    scale "rank"; ties go to the hit that was better placed
    raises     InputError for a number out of range or a source without vectors, ScaleError for positions
    cost       O(depth² · dimension) multiply-adds a query

    Relevance is the score min-maxed over the first `depth` hits, so that diversity means the same on every scale; the paper
    takes it for a cosine.

    >>> from ragkit import Retrieve
    >>> (Retrieve("dense", 100) >> MMR(diversity=0.5)) % 10
    (Retrieve('dense', k=100) >> MMR(diversity=0.5, depth=100, index='dense')) % 10
    """

    diversity: float = 0.3
    depth: int = 100
    index: str = "dense"
    tunable: ClassVar[tuple[str, ...]] = ("diversity",)

    def __post_init__(self) -> None:
        check_number("MMR", "diversity", self.diversity, 0.0, 1.0)
        check_k(self.depth, "depth")

    def apply(self, run: Run, /) -> Run:
        first = run.cut(self.depth)
        relevance = minmax(first)
        vectors = self._vectors(first)
        hits = np.arange(len(run.rows))
        for q in range(len(run)):
            at = first.hits_of(q)
            chosen = greedy(relevance[at], vectors[at] @ vectors[at].T, self.diversity)
            start = int(run.indptr[q])
            hits[start : start + len(chosen)] = start + chosen
        reordered = run.take(run.indptr, hits)
        return replace(reordered, scores=(-place_of(run)).astype(np.float32), scale="rank", floor=None)

    def _vectors(self, run: Run) -> NDArray[np.float32]:
        """(H, dimension) unit vectors of the hits."""
        source = source_of(run, "MMR")
        of_rows = getattr(source, "vectors", None)
        if of_rows is None:
            raise InputError(
                f"MMR needs vectors and a {type(source).__name__} has none; search a collection that has the index {self.index!r}"
            )
        found: NDArray[np.float32] = of_rows(self.index, run.rows)
        if found.ndim != 2 or len(found) != len(run.rows):
            raise ShapeError(f"the vectors of {len(run.rows)} hits must be ({len(run.rows)}, dimension), got {found.shape}")
        return found


def greedy(relevance: NDArray[np.float64], alike: NDArray[np.float32], diversity: float) -> NDArray[np.int64]:
    """Places in the order chosen. relevance (H,), alike (H, H) cosines.

    >>> greedy(np.array([1.0, 0.9, 0.2]), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], "f4"), 0.5).tolist()
    [0, 2, 1]
    """
    n = len(relevance)
    out = np.empty(n, np.int64)
    left = np.ones(n, np.bool_)
    nearest = np.zeros(n, np.float64)
    for place in range(n):
        worth = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        out[place] = best = int(np.argmax(worth))
        left[best] = False
        nearest = np.maximum(nearest, alike[best])
    return out
