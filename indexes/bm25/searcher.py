"""Exact BM25 search over parts: term at a time into one total a row, then the k best.

A hit holds at least one term of the question. Statistics are those of the live rows of all parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.weights import DELTAS, KINDS, at_zero, idf
from ragkit.indexes.kernels.postings import count_live, score_lists
from ragkit.indexes.kernels.topk import top_k
from ragkit.protocols import Bitmap
from ragkit.text import content_terms
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.bm25.spec import BM25

_ALL: Bitmap = np.zeros(0, np.bool_)


class BM25Searcher:
    """An open BM25 index; safe to share between threads."""

    exact = True

    def __init__(self, spec: BM25, parts: Sequence[tuple[Postings, Bitmap | None]]) -> None:
        self.spec, self._parts = spec, list(parts)
        self.scale = "okapi" if spec.method == "okapi" else "bm25"
        self.analyzer = spec.analyzer
        self._delta = spec.delta if spec.delta is not None else DELTAS.get(spec.method, 0.0)
        self.n_rows = sum(len(p.lengths) if alive is None else int(alive.sum()) for p, alive in parts)
        tokens = sum(int(p.lengths.sum(dtype=np.int64) if alive is None else p.lengths[alive].sum(dtype=np.int64)) for p, alive in parts)
        self.avgdl = tokens / self.n_rows if tokens else 1.0
        self._norms = [(1 - spec.b + spec.b * p.lengths / self.avgdl).astype(np.float64, copy=False) for p, _ in parts]
        self._bases = np.concatenate(([0], np.cumsum([len(p.lengths) for p, _ in parts]))).astype(np.int64)

    def df(self, term: str) -> int:
        """Live rows that hold a term."""
        return sum(self._df(part, part[0].terms.find(term)) for part in self._parts)

    @staticmethod
    def _df(part: tuple[Postings, Bitmap | None], term: int) -> int:
        postings, alive = part
        if term < 0:
            return 0
        start, end = int(postings.indptr[term]), int(postings.indptr[term + 1])
        return end - start if alive is None else count_live(postings.rows, start, end, alive)

    @cached_property
    def _okapi_floor(self) -> float:
        """epsilon times the mean idf over the vocabulary, as rank_bm25 has it: the mean is taken before flooring."""
        df: Counter[str] = Counter()
        for part in self._parts:
            terms = part[0].terms.column.to_pylist()
            for number, term in enumerate(terms):
                df[term] += self._df(part, number)
        idfs = [idf("okapi", self.n_rows, n) for n in df.values() if n]
        return self.spec.epsilon * sum(idfs) / len(idfs) if idfs else 0.0

    def idf(self, term: str) -> float:
        """The variant's inverse document frequency of a term; 0 for one that no live row holds."""
        df = self.df(term)
        if df == 0:
            return 0.0
        value = idf(self.spec.method, self.n_rows, df)
        return self._okapi_floor if self.spec.method == "okapi" and value < 0 else value

    def terms_of(self, query: Query) -> Mapping[str, float]:
        """Weighted terms of a question: its own if a stage has set them, else its text's."""
        if query.terms:
            return query.terms
        if self.spec.ignore_function_words and (content := content_terms(query.text, self.analyzer)):
            return Counter(content)
        return Counter(self.analyzer.terms(query.text))

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. cost: O(sum of the terms' df + candidates log k) a query."""
        scratch = [_Scratch(len(p.lengths)) for p, _ in self._parts]
        found = [self._search_one(self.terms_of(q), k, allow, scratch) for q in queries]
        indptr = np.concatenate(([0], np.cumsum([len(rows) for rows, _ in found]))).astype(np.int64)
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in found)])
        return indptr, rows, np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in found)])

    def _search_one(
        self, terms: Mapping[str, float], k: int, allow: Sequence[Bitmap | None], scratch: Sequence[_Scratch]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        weighted = [(term, weight * self.idf(term)) for term, weight in terms.items()]
        constant = sum(w for _, w in weighted) * at_zero(self.spec.method, self.spec.k1, self._delta)
        best: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        for n, (postings, _) in enumerate(self._parts):
            lists = [(postings.terms.find(term), weight) for term, weight in weighted]
            held = [(int(postings.indptr[t]), int(postings.indptr[t + 1]), w) for t, w in lists if t >= 0]
            if held:
                rows, scores = self._score_part(n, held, constant, allow[n], scratch[n], k)
                best.append((rows + self._bases[n], scores))
        if not best:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows, scores = np.concatenate([r for r, _ in best]), np.concatenate([s for _, s in best])
        first = np.lexsort((rows, -scores))[:k]
        return rows[first], scores[first]

    def _score_part(
        self, part: int, held: Sequence[tuple[int, int, float]], constant: float, allow: Bitmap | None, scratch: _Scratch, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        postings = self._parts[part][0]
        n = score_lists(
            np.array([h[0] for h in held], np.int64),
            np.array([h[1] for h in held], np.int64),
            np.array([h[2] for h in held], np.float64),
            postings.rows,
            postings.tfs,
            self._norms[part],
            KINDS[self.spec.method],
            self.spec.k1,
            self._delta,
            _ALL if allow is None else allow,
            scratch.totals,
            scratch.seen,
            scratch.touched,
        )
        rows = scratch.touched[:n]
        scores = (scratch.totals[rows] + constant).astype(np.float32)
        scratch.totals[rows] = 0.0
        scratch.seen[rows] = False
        out_scores, out_rows = np.empty(min(k, n), np.float32), np.empty(min(k, n), np.int64)
        top_k(scores, rows, n, out_scores, out_rows)
        return out_rows, out_scores


class _Scratch:
    """Working arrays of one part for one call: zeros between queries."""

    def __init__(self, rows: int) -> None:
        self.totals = np.zeros(rows, np.float64)
        self.seen = np.zeros(rows, np.bool_)
        self.touched = np.empty(rows, np.int64)
