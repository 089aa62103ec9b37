"""An index backed by the `rank_bm25` package: the smallest example of plugging in a third-party index.

It stores nothing and is rebuilt from the columns whenever a collection is opened, so it suits small
collections and comparisons; `BM25(method="okapi")` gives the same scores from stored postings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.progress import Progress
from ragkit.protocols import Bitmap, Part
from ragkit.spec import validated
from ragkit.text import Analyzer
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns


@validated
class RankBM25:
    """rank_bm25.BM25Okapi over the live passages, with ragkit's analyzer."""

    k1: float = 1.5
    b: float = 0.75
    epsilon: float = 0.25
    language: str = "en"
    name: ClassVar[str] = "rank_bm25"
    unit: ClassVar[str] = "passage"

    def fit(self, columns: SegmentColumns) -> RankBM25:
        return self

    def build(self, columns: SegmentColumns, folder: Path, *, progress: Progress = False) -> None:
        """Nothing is stored: the package keeps its index in memory."""

    def open(self, parts: Sequence[Part]) -> RankBM25Searcher:
        return RankBM25Searcher(self, parts)


class RankBM25Searcher:
    """Scores every live row for each question, as rank_bm25 does."""

    scale = "okapi"
    exact = True

    def __init__(self, spec: RankBM25, parts: Sequence[Part]) -> None:
        from rank_bm25 import BM25Okapi

        self._analyzer = Analyzer(language=spec.language)
        tokens = [[self._analyzer.terms(text) for text in p.columns.index_texts()] for p in parts]
        self._lengths = [len(t) for t in tokens]
        alive = [np.ones(len(t), np.bool_) if p.alive is None else p.alive for t, p in zip(tokens, parts, strict=True)]
        self._rows = np.flatnonzero(np.concatenate([np.zeros(0, np.bool_), *alive])).astype(np.int64)
        flat = [t for of_part in tokens for t in of_part]
        corpus = [flat[row] for row in self._rows]
        self._index = BM25Okapi(corpus, k1=spec.k1, b=spec.b, epsilon=spec.epsilon) if any(corpus) else None

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`."""
        found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        masks = [np.ones(n, np.bool_) if a is None else a for n, a in zip(self._lengths, allow, strict=True)]
        allowed = np.concatenate([np.zeros(0, np.bool_), *masks])[self._rows]
        for query in queries:
            terms = self._analyzer.terms(query.text)
            if self._index is None or not terms:
                found.append((np.zeros(0, np.int64), np.zeros(0, np.float32)))
                continue
            scores = self._index.get_scores(terms).astype(np.float32)
            held = allowed & np.array([any(t in freqs for t in terms) for freqs in self._index.doc_freqs], np.bool_)
            rows, scores = self._rows[held], scores[held]
            first = np.lexsort((rows, -scores))[:k]
            found.append((rows[first], scores[first]))
        indptr = np.concatenate(([0], np.cumsum([len(r) for r, _ in found]))).astype(np.int64)
        rows = np.concatenate([np.zeros(0, np.int64), *(r for r, _ in found)])
        return indptr, rows, np.concatenate([np.zeros(0, np.float32), *(s for _, s in found)])
