"""Rankings of passages by the n-grams of questions: how rare each is, and what they are worth in each passage.

source: see `ragkit.indexes.ngram.word_spec.WordNGram`, whose settings these are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.ngram.grams import Gram, GramScorer, Scratch, best_hits
from ragkit.protocols import Bitmap


@dataclass(frozen=True)
class Ranking:
    """How n-grams count; see `WordNGram`."""

    n: int = 5
    rarity: float = 0.6
    novelty: float = 0.8
    k1: float = 1.6
    b: float = 0.75

    def search(
        self, scorer: GramScorer, questions: Iterable[Sequence[Hashable]], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`; questions are lists of terms. cost: linear in the occurrences of their terms"""
        scratch = scorer.scratch()
        indptr, rows, scores = [0], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for terms in questions:
            weights = self._weights(scorer, terms, scratch)
            asked = scorer.ask(list(weights))
            all_rows, all_scores = scorer.scores(asked, weights, scratch, allow, k1=self.k1, b=self.b, novelty=self.novelty)
            best = best_hits(all_rows, all_scores, k)
            indptr.append(indptr[-1] + len(best))
            rows.append(all_rows[best])
            scores.append(all_scores[best])
        return np.array(indptr, np.int64), np.concatenate(rows), np.concatenate(scores)

    def _weights(self, scorer: GramScorer, terms: Sequence[Hashable], scratch: Sequence[Scratch]) -> dict[Gram, float]:
        """What each n-gram of a question that a live passage holds is worth."""
        grams = Counter(tuple(terms[i : i + n]) for n in range(1, self.n + 1) for i in range(len(terms) - n + 1))
        asked = scorer.ask(list(grams))
        df = {gram: scorer.df(asked, j, scratch) for j, gram in enumerate(asked.grams)}
        idf = {gram: math.log1p((scorer.n_rows - n + 0.5) / (n + 0.5)) for gram, n in df.items()}  # a word may stand between passages alone
        return {g: grams[g] * (sum(idf[(t,)] for t in g) + (self.rarity * idf[g] if len(g) > 1 else 0.0)) for g, n in df.items() if n}
