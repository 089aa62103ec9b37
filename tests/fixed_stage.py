"""A retriever for tests that returns what it was told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragkit.run import Run
from ragkit.stage import Stage


@dataclass(frozen=True)
class Fixed(Stage):
    """((row, score), …) for each query, in any order."""

    hits: tuple[tuple[tuple[int, float], ...], ...]
    scale: str = "bm25"
    leg: str = "fixed"

    def apply(self, run: Run, /) -> Run:
        ordered = [self.ranking(q) for q in range(len(self.hits))]
        indptr = np.concatenate(([0], np.cumsum([len(h) for h in ordered]))).astype(np.int64)
        rows = np.array([r for h in ordered for r, _ in h], np.int64)
        scores = np.array([s for h in ordered for _, s in h], np.float32)
        return run.fill(indptr, rows, scores, scale=self.scale, leg=self.leg)

    def ranking(self, q: int) -> list[tuple[int, float]]:
        """One query's (row, score), by the law of order."""
        return sorted(self.hits[q], key=lambda rs: (-rs[1], rs[0]))

    def rows(self, q: int) -> list[int]:
        """One query's rows, by the law of order."""
        return [row for row, _ in self.ranking(q)]
