"""Search by the n-grams of a question: how rare each is, then one kernel that adds up what they are worth in each passage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.coverage import cover, holding
from ragkit.indexes.ngram.word_part import WordPart
from ragkit.protocols import Bitmap
from ragkit.text import content_terms
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.ngram.word_spec import WordNGram

Gram = tuple[str, ...]
_ALL: Bitmap = np.zeros(0, np.bool_)


@dataclass
class _Scratch:
    """What the kernels work on, of one part; all zero between questions, but for `seen`, which holds marks up to the last one given."""

    mark: int
    seen: NDArray[np.int32]
    covered: NDArray[np.bool_]
    counts: NDArray[np.int32]
    scores: NDArray[np.float64]
    touched: NDArray[np.int32]
    local: NDArray[np.int32]

    @classmethod
    def of(cls, part: WordPart) -> _Scratch:
        n, tokens = len(part.sizes), len(part.index.tokens)
        counts, touched, local, seen = (np.zeros(n, np.int32) for _ in range(4))
        return cls(0, seen, np.zeros(tokens, np.bool_), counts, np.zeros(n, np.float64), touched, local)


class WordNGramSearcher:
    """An open index of word n-grams; safe to share between threads."""

    scale = "ngram"
    exact = True

    def __init__(self, spec: WordNGram, parts: Sequence[tuple[WordPart, Bitmap | None]]) -> None:
        """parts: the n-grams, and which passages are alive."""
        self.spec, self._parts = spec, list(parts)
        self._analyzer = spec.analyzer
        sizes = [p.sizes if alive is None else p.sizes[alive] for p, alive in parts]
        self.n_rows = sum(map(len, sizes))
        self._average = max(sum(int(s.sum(dtype=np.int64)) for s in sizes), 1) / max(self.n_rows, 1)
        self._bases = np.concatenate(([0], np.cumsum([len(p.sizes) for p, _ in parts]))).astype(np.int64)

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`. cost: linear in the occurrences of the question's terms"""
        scratch = [_Scratch.of(p) for p, _ in self._parts]
        mapper = self._analyzer.open()
        indptr, rows, scores = np.zeros(len(queries) + 1, np.int64), [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for q, query in enumerate(queries):
            terms = content_terms(query.text, self._analyzer) or mapper.terms(query.text)
            found = self._scores(terms, scratch, allow)
            all_rows = np.concatenate([np.zeros(0, np.int64), *(part_rows for part_rows, _ in found)])
            all_scores = np.concatenate([np.zeros(0), *(part_scores for _, part_scores in found)]).astype(np.float32)
            best = _best(all_rows, all_scores, k)
            indptr[q + 1] = indptr[q] + len(best)
            rows.append(all_rows[best])
            scores.append(all_scores[best])
        return indptr, np.concatenate(rows), np.concatenate(scores)

    def _scores(
        self, terms: list[str], scratch: Sequence[_Scratch], allow: Sequence[Bitmap | None]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """(rows, scores) of all passages that hold a term, of each part."""
        grams = Counter(tuple(terms[i : i + n]) for n in range(1, self.spec.n + 1) for i in range(len(terms) - n + 1))
        places = [self._places(part, list(grams)) for part, _ in self._parts]
        weights = self._weights(grams, places, scratch)
        order = sorted(weights, key=lambda gram: (-weights[gram], -len(gram), gram))
        number = {term: i for i, term in enumerate(dict.fromkeys(terms))}
        words = [sorted({number[t] for t in gram}) for gram in order]
        out = []
        for n, (part, _) in enumerate(self._parts):
            there = [i for i, gram in enumerate(order) if gram in places[n]]
            rows, scores = self._cover(
                part, scratch[n], [order[i] for i in there], [words[i] for i in there], weights, places[n], len(number)
            )
            if (mask := allow[n]) is not None:
                rows, scores = rows[mask[rows]], scores[mask[rows]]
            out.append((rows + self._bases[n], scores))
        return out

    @staticmethod
    def _places(part: WordPart, grams: Sequence[Gram]) -> dict[Gram, tuple[int, int]]:
        """The suffixes [low, high) of each n-gram that a part holds."""
        number = {term: part.terms.find(term) for gram in grams if len(gram) == 1 for term in gram}
        known = [gram for gram in grams if all(number[t] >= 0 for t in gram)]
        lows, highs = part.index.find([[number[t] for t in gram] for gram in known])
        return {gram: (low, high) for gram, low, high in zip(known, lows.tolist(), highs.tolist(), strict=True) if low < high}

    def _weights(
        self, grams: Counter[Gram], places: Sequence[dict[Gram, tuple[int, int]]], scratch: Sequence[_Scratch]
    ) -> dict[Gram, float]:
        """What each n-gram that a live passage holds is worth."""
        idf: dict[Gram, float] = {}
        for gram in grams:
            if df := self._df(gram, places, scratch):
                idf[gram] = math.log1p((self.n_rows - df + 0.5) / (df + 0.5))
        return {
            gram: grams[gram] * (sum(idf[(t,)] for t in gram) + (self.spec.rarity * own if len(gram) > 1 else 0.0))
            for gram, own in idf.items()
        }  # fmt: skip

    def _df(self, gram: Gram, places: Sequence[dict[Gram, tuple[int, int]]], scratch: Sequence[_Scratch]) -> int:
        """Live passages that hold an n-gram."""
        found = 0
        for (part, alive), there, work in zip(self._parts, places, scratch, strict=True):
            if gram in there:
                work.mark += 1
                mask = _ALL if alive is None else alive
                found += holding(part.index.suffixes, part.index.starts, part.firsts, *there[gram], mask, work.seen, work.mark)
        return found

    def _cover(
        self, part: WordPart, work: _Scratch, grams: list[Gram], words: list[list[int]], weights: dict[Gram, float],
        places: dict[Gram, tuple[int, int]], n_words: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
        spec = self.spec
        lows, highs = (np.array([places[gram][i] for gram in grams], np.int64) for i in (0, 1))
        starts = np.cumsum([0, *map(len, words)]).astype(np.int64)
        used = np.zeros((len(part.sizes), (n_words + 63) // 64), np.uint64)
        n = cover(
            part.index.suffixes, part.index.starts, part.firsts, part.sizes, lows, highs, np.array([len(g) for g in grams], np.int64),
            np.array([weights[g] for g in grams], np.float64), np.array([len(set(g)) < len(g) for g in grams], np.int64), starts,
            np.array([w for own in words for w in own], np.int32), spec.k1, spec.b, self._average, spec.novelty,
            work.covered, work.counts, used, work.scores, work.touched, work.local,
        )  # fmt: skip
        rows = work.touched[:n].astype(np.int64)
        scores = work.scores[rows]
        work.scores[rows] = 0
        return rows, scores


def _best(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the k best hits by the law of order."""
    kept = np.arange(len(scores))
    if len(scores) > 4 * k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    best: NDArray[np.int64] = kept[np.lexsort((rows[kept], -scores[kept]))[:k]]
    return best
