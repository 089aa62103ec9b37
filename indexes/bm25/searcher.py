"""Exact BM25 search over parts: what the terms of questions are to each part, then one kernel for a whole batch.

A hit holds at least one term of the question. Statistics are those of the live rows of all parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.bm25.impacts import Impacts
from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.weights import DELTAS, KINDS, at_zero, idf
from ragkit.indexes.kernels.postings import count_live
from ragkit.indexes.kernels.rows import score_rows
from ragkit.indexes.kernels.search import search_part
from ragkit.indexes.kernels.topk import sort_heaps
from ragkit.protocols import Bitmap
from ragkit.text import content_terms
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.bm25.spec import BM25

_ALL: Bitmap = np.zeros(0, np.bool_)
_HELD_HITS = 1 << 22  # of all the questions that are searched for at once


class _KnownTerms(dict[str, int]):
    """Term -> its place in the tables; -1 for one that was not met yet. Place 0 is that of all terms which no live row holds.

    tables  idfs float64 (n,); lists int64 (parts, n): the number of the term's list in each part, -1 where it has none
    """

    def __init__(self, n_parts: int) -> None:
        super().__init__()
        self._lock, self._n = Lock(), 1
        self.tables = (np.zeros(64, np.float64), np.full((n_parts, 64), -1, np.int64))

    def __missing__(self, term: str) -> int:
        return -1

    def learn(self, term: str, idf: float, lists: Sequence[int]) -> int:
        """Give a term a place; searches under way keep the tables that they have."""
        with self._lock:
            if term not in self:
                idfs, numbers = self.tables
                if self._n == len(idfs):
                    idfs = np.concatenate((idfs, np.zeros_like(idfs)))
                    numbers = np.concatenate((numbers, np.full_like(numbers, -1)), axis=1)
                idfs[self._n], numbers[:, self._n] = idf, lists
                self.tables = (idfs, numbers)
                self[term] = self._n
                self._n += 1
            return self[term]


class _Terms(NamedTuple):
    """The terms of Q questions, Z in all, as the kernels take them.

    starts     int64 (Q+1,)      question q owns starts[q]:starts[q+1] of what has Z entries
    weights    float64 (Z,)      idf times the weight in the question
    constants  float64 (Q,)      added to every score
    lists      int64 (parts, Z)  each term's list in each part, -1 where it has none
    """

    starts: NDArray[np.int64]
    weights: NDArray[np.float64]
    constants: NDArray[np.float64]
    lists: NDArray[np.int64]


class BM25Searcher:
    """An open BM25 index; safe to share between threads."""

    exact = True
    same_bits = False  # a search may add up a row's terms in another order

    def __init__(self, spec: BM25, parts: Sequence[tuple[Postings, Bitmap | None]], segments: Sequence[Sequence[int]] = ()) -> None:
        """parts: postings, and which of their rows are alive; segments: how many rows each segment of a part has, if any has several."""
        self.spec, self._parts, self._segments = spec, list(parts), segments
        self.scale = "okapi" if spec.method == "okapi" else "bm25"
        self.analyzer = spec.analyzer
        self._delta = spec.delta if spec.delta is not None else DELTAS.get(spec.method, 0.0)
        self.n_rows = sum(len(p.lengths) if alive is None else int(alive.sum()) for p, alive in parts)
        tokens = sum(int(p.lengths.sum(dtype=np.int64) if alive is None else p.lengths[alive].sum(dtype=np.int64)) for p, alive in parts)
        self.avgdl = tokens / self.n_rows if tokens else 1.0
        kind = KINDS[spec.method]
        self._impacts = [Impacts(p, self.avgdl, spec.k1, spec.b, kind, self._delta) for p, _ in parts]
        self._known = _KnownTerms(len(parts))
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
        return self._idf(df) if df else 0.0

    def _idf(self, df: int) -> float:
        value = idf(self.spec.method, self.n_rows, df)
        return self._okapi_floor if self.spec.method == "okapi" and value < 0 else value

    def prepare(self) -> None:
        """Derive now what searches would derive from the postings term by term, as they need it."""
        for impacts in self._impacts:
            impacts.prepare()

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
        """See `ragkit.protocols.Searcher`. cost: see `ragkit.indexes.kernels.search.search_part`, for each part."""
        k = min(k, int(self._bases[-1]))
        if len(allow) > len(self._parts):
            left = iter(allow)
            allow = [as_one(sizes, [next(left) for _ in sizes]) for sizes in self._segments]
        at_once = max(1, _HELD_HITS // max(k, 1))
        found = [self._search_some(queries[i : i + at_once], k, allow) for i in range(0, len(queries), at_once)]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *(f[0] for f in found)]))])
        rows = np.concatenate([np.zeros(0, np.int64), *(f[1] for f in found)])
        return indptr, rows, np.concatenate([np.zeros(0, np.float32), *(f[2] for f in found)])

    def resolve(self, query: Query) -> Query:
        """See `ragkit.protocols.RowScorer`: the query with its terms."""
        return replace(query, terms=self.terms_of(query))

    def score_rows(self, query: Query, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `ragkit.protocols.RowScorer`. cost: O(n log df) a term"""
        _, weights, constants, lists = self._terms([query])
        parts = np.searchsorted(self._bases, rows, side="right") - 1
        out = np.empty(len(rows), np.float32)
        for n in np.unique(parts).tolist():
            at, postings = np.flatnonzero(parts == n), self._parts[n][0]
            values = self._impacts[n].prepare(lists[n][lists[n] >= 0]).values
            scores = np.empty(len(at), np.float32)
            wanted = rows[at] - self._bases[n]
            score_rows(lists[n], weights, float(constants[0]), postings.indptr, postings.rows, values, wanted, scores)
            out[at] = scores
        return out

    def _place(self, term: str) -> int:
        """Place of a term in the tables, which it gets if a live row holds it."""
        if (df := self.df(term)) == 0:
            return 0
        return self._known.learn(term, self._idf(df), [postings.terms.find(term) for postings, _ in self._parts])

    def _terms(self, queries: Sequence[Query]) -> _Terms:
        terms = [self.terms_of(query) for query in queries]
        starts = np.zeros(len(queries) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, terms), np.int64, len(queries)), out=starts[1:])
        total = int(starts[-1])
        names = list(chain.from_iterable(terms))
        known = np.fromiter(map(self._known.__getitem__, names), np.int64, total)
        for at in np.flatnonzero(known < 0).tolist():
            known[at] = self._place(names[at])
        idfs, lists = self._known.tables
        weights = np.fromiter(chain.from_iterable(t.values() for t in terms), np.float64, total) * idfs[known]
        constants: NDArray[np.float64] = np.zeros(len(queries), np.float64)
        if at_zero_is := at_zero(self.spec.method, self.spec.k1, self._delta):
            owner = np.repeat(np.arange(len(queries)), np.diff(starts))
            constants = np.bincount(owner, weights=weights, minlength=len(queries)).astype(np.float64) * at_zero_is
        return _Terms(starts, weights, constants, lists.take(known, axis=1))

    def _search_some(
        self, queries: Sequence[Query], k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """(hits of each query, rows, scores)."""
        starts, weights, constants, lists = self._terms(queries)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        sizes = np.zeros(len(queries), np.int64)
        for n, (postings, _) in enumerate(self._parts):
            numbers = lists[n]
            impacts = self._impacts[n]
            derived, mask = impacts.prepare(numbers[numbers >= 0]), allow[n]
            search_part(
                starts, numbers, weights, constants, postings.indptr, postings.rows, derived.values, derived.ranked, derived.column_of,
                derived.tops, derived.columns, derived.block_tops, derived.held, len(postings.lengths), int(self._bases[n]),
                _ALL if mask is None else mask, impacts.bounded, scores, rows, sizes,
            )  # fmt: skip
        sort_heaps(scores, rows, sizes)
        filled = np.arange(k) < sizes[:, None]
        return sizes, rows[filled], scores[filled]


def as_one(sizes: Sequence[int], bitmaps: Sequence[Bitmap | None]) -> Bitmap | None:
    """One bitmap for those of segments of so many rows that follow one another."""
    if all(b is None for b in bitmaps):
        return None
    return np.concatenate([np.ones(n, np.bool_) if b is None else b for n, b in zip(sizes, bitmaps, strict=True)])
