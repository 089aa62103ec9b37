"""Search by the n-grams of a question: how rare each is, and what they are worth in each passage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.ngram.grams import Gram, GramPart, GramScorer, Scratch, best_hits
from ragkit.protocols import Bitmap
from ragkit.text import content_terms
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.ngram.word_spec import WordNGram


class WordNGramSearcher:
    """An open index of word n-grams; safe to share between threads."""

    scale = "ngram"
    exact = True

    def __init__(self, spec: WordNGram, parts: Sequence[tuple[GramPart, Bitmap | None]]) -> None:
        """parts: the n-grams, and which passages are alive."""
        self.spec, self._scorer = spec, GramScorer(parts)
        self._analyzer = spec.analyzer

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. cost: linear in the occurrences of the question's terms"""
        scratch, mapper, spec = self._scorer.scratch(), self._analyzer.open(), self.spec
        indptr, rows, scores = np.zeros(len(queries) + 1, np.int64), [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for q, query in enumerate(queries):
            weights = self._weights(content_terms(query.text, self._analyzer) or mapper.terms(query.text), scratch)
            asked = self._scorer.ask(list(weights))
            all_rows, all_scores = self._scorer.scores(asked, weights, scratch, allow, k1=spec.k1, b=spec.b, novelty=spec.novelty)
            best = best_hits(all_rows, all_scores, k)
            indptr[q + 1] = indptr[q] + len(best)
            rows.append(all_rows[best])
            scores.append(all_scores[best])
        return indptr, np.concatenate(rows), np.concatenate(scores)

    def _weights(self, terms: list[str], scratch: Sequence[Scratch]) -> dict[Gram, float]:
        """What each n-gram of a question that a live passage holds is worth."""
        grams = Counter(tuple(terms[i : i + n]) for n in range(1, self.spec.n + 1) for i in range(len(terms) - n + 1))
        asked = self._scorer.ask(list(grams))
        idf: dict[Gram, float] = {}
        for j, gram in enumerate(asked.grams):
            if df := self._scorer.df(asked, j, scratch):
                idf[gram] = math.log1p((self._scorer.n_rows - df + 0.5) / (df + 0.5))
        return {
            gram: grams[gram] * (sum(idf[(t,)] for t in gram) + (self.spec.rarity * own if len(gram) > 1 else 0.0))  # type: ignore[index]
            for gram, own in idf.items()
        }  # fmt: skip
