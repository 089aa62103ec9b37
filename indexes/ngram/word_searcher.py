"""Search by the n-grams of a question's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.ngram.grams import GramPart, GramScorer
from ragkit.indexes.ngram.ranking import Ranking
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
        self._scorer, self._analyzer = GramScorer(parts), spec.analyzer
        self._ranking = Ranking(spec.n, spec.rarity, spec.novelty, spec.k1, spec.b)

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. cost: linear in the occurrences of the question's terms"""
        mapper = self._analyzer.open()
        questions = (content_terms(query.text, self._analyzer) or mapper.terms(query.text) for query in queries)
        return self._ranking.search(self._scorer, questions, k=k, allow=allow)
