"""Scores of passages by n-grams, each of which counts only where no better one has; the n-grams are a question's, or a model wrote them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.coverage import BLOCK, cover, holding
from ragkit.protocols import Bitmap

Gram = tuple[Hashable, ...]
_FAR = 4096
"""Places before and behind a passage that may decide which n-grams count in it."""
_ALL: Bitmap = np.zeros(0, np.bool_)


class Places(NamedTuple):
    """Where some n-grams stand: the j-th at positions[lows[j]:highs[j]], lengths[j] places long; all arrays of the kernels' types."""

    positions: NDArray[np.int32]
    lows: NDArray[np.int64]
    highs: NDArray[np.int64]
    lengths: NDArray[np.int64]


@dataclass(frozen=True)
class Passages:
    """The passages of a segment among the places of its text.

    begins, ends  int64 (P,)   the places between which each lies, ascending
    sizes         int32 (P,)   its tokens
    firsts        int32 (any,) the first passage that ends behind every 64th place
    n             places in all
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int32]
    firsts: NDArray[np.int32]
    n: int

    @classmethod
    def of(cls, begins: NDArray[np.int64], ends: NDArray[np.int64], sizes: NDArray[np.int32], n: int) -> Passages:
        """Of passages whose ends ascend too, up to overlaps."""
        reach = np.maximum.accumulate(ends) if len(ends) else ends
        firsts = np.searchsorted(reach, np.arange(0, n + 1, 1 << BLOCK), side="right").astype(np.int32)
        return cls(begins, ends, sizes, firsts, n)


class GramPart(Protocol):
    """One segment of an index of n-grams."""

    @property
    def passages(self) -> Passages: ...
    def places(self, grams: Sequence[Gram]) -> Places:
        """Where n-grams stand, dead passages included."""
        ...


@dataclass
class Scratch:
    """What the kernels work on, of one part; all zero between questions, but for `seen`, which holds marks up to the last one given."""

    mark: int
    seen: NDArray[np.int32]
    covered: NDArray[np.bool_]
    counts: NDArray[np.int32]
    scores: NDArray[np.float64]
    touched: NDArray[np.int32]
    local: NDArray[np.int32]

    @classmethod
    def of(cls, passages: Passages) -> Scratch:
        """For one part."""
        n = len(passages.sizes)
        counts, touched, local, seen = (np.zeros(n, np.int32) for _ in range(4))
        return cls(0, seen, np.zeros(passages.n, np.bool_), counts, np.zeros(n, np.float64), touched, local)


@dataclass(frozen=True)
class Asked:
    """The n-grams of one question and where they stand in each part."""

    grams: Sequence[Gram]
    places: Sequence[Places]


class GramScorer:
    """Passages of all parts, and which of them are alive; safe to share between threads, given a `Scratch` each."""

    def __init__(self, parts: Sequence[tuple[GramPart, Bitmap | None]]) -> None:
        self.parts = list(parts)
        sizes = [p.passages.sizes if alive is None else p.passages.sizes[alive] for p, alive in parts]
        self.n_rows = sum(map(len, sizes))
        self.n_tokens = sum(int(s.sum(dtype=np.int64)) for s in sizes)
        self._average = max(self.n_tokens, 1) / max(self.n_rows, 1)
        self._bases = np.concatenate(([0], np.cumsum([len(p.passages.sizes) for p, _ in parts]))).astype(np.int64)
        self._live = [_borders(p.passages, alive) for p, alive in parts]

    def scratch(self) -> list[Scratch]:
        """Room for one thread's questions."""
        return [Scratch.of(p.passages) for p, _ in self.parts]

    def ask(self, grams: Sequence[Gram]) -> Asked:
        """Look up n-grams."""
        return Asked(grams, [part.places(grams) for part, _ in self.parts])

    def df(self, asked: Asked, j: int, scratch: Sequence[Scratch]) -> int:
        """Live passages in which the j-th n-gram begins."""
        found = 0
        for (part, alive), places, work in zip(self.parts, asked.places, scratch, strict=True):
            if places.lows[j] < places.highs[j]:
                work.mark += 1
                p, mask = part.passages, _ALL if alive is None else alive
                found += holding(places.positions, p.begins, p.ends, p.firsts, places.lows[j], places.highs[j], mask, work.seen, work.mark)
        return found

    def count(self, asked: Asked, j: int) -> int:
        """Occurrences of the j-th n-gram that begin in a live passage."""
        found = 0
        for (begins, reach), places in zip(self._live, asked.places, strict=True):
            mine = places.positions[places.lows[j] : places.highs[j]]
            at = np.searchsorted(reach, mine, side="right")
            inside = at < len(begins)
            found += int((begins[at[inside]] <= mine[inside]).sum())
        return found

    def contributions(
        self, asked: Asked, weights: Mapping[Gram, float], row: int, *, k1: float, b: float, novelty: float
    ) -> list[tuple[Gram, float]]:
        """What each n-gram adds to the score of one passage, in the order in which they count; their sum is what `scores` says."""
        n = int(np.searchsorted(self._bases, row, side="right")) - 1
        p, places = self.parts[n][0].passages, asked.places[n]
        mine = row - int(self._bases[n])
        begin, end, size = int(p.begins[mine]), int(p.ends[mine]), int(p.sizes[mine])
        number = {gram: j for j, gram in enumerate(asked.grams)}
        taken: set[int] = set()
        used: set[Hashable] = set()
        out = []
        for gram in best_first(weights):
            j = number[gram]
            length = int(places.lengths[j])
            there = np.sort(places.positions[places.lows[j] : places.highs[j]])
            tf = 0
            for place in there[(there > begin - _FAR) & (there < end + _FAR)].tolist():
                if taken.isdisjoint(range(place, place + length)):
                    taken.update(range(place, place + length))
                    tf += begin <= place < end  # one that begins elsewhere takes room from others and does not count
            if tf:
                new = len(set(gram) - used) / len(set(gram))
                used |= set(gram)
                saturated = tf * (k1 + 1) / (tf + k1 * (1 - b + b * size / self._average))
                out.append((gram, weights[gram] * saturated * (1 - novelty + novelty * new)))
        return out

    def scores(
        self, asked: Asked, weights: Mapping[Gram, float], scratch: Sequence[Scratch], allow: Sequence[Bitmap | None], *,
        k1: float, b: float, novelty: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:  # fmt: skip
        """(rows, scores) of all allowed passages in which an n-gram with a weight above 0 begins; see `cover` for what they add up to."""
        number = {gram: j for j, gram in enumerate(asked.grams)}
        order = best_first(weights)
        words = {word: i for i, word in enumerate(dict.fromkeys(word for gram in order for word in gram))}
        own = [sorted({words[word] for word in gram}) for gram in order]
        word_starts = np.cumsum([0, *map(len, own)]).astype(np.int64)
        which = np.array([number[gram] for gram in order], np.int64)
        worth = np.array([weights[gram] for gram in order], np.float64)
        periodic = np.array([len(mine) < len(gram) for mine, gram in zip(own, order, strict=True)], np.int64)
        flat = np.array([w for mine in own for w in mine], np.int32)
        rows, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for n, ((part, _), places, work, mask) in enumerate(zip(self.parts, asked.places, scratch, allow, strict=True)):
            p = part.passages
            used = np.zeros((len(p.sizes), (len(words) + 63) // 64), np.uint64)
            touched = cover(
                places.positions, p.begins, p.ends, p.firsts, p.sizes, places.lows[which], places.highs[which], places.lengths[which],
                worth, periodic, word_starts, flat, k1, b, self._average, novelty,
                work.covered, work.counts, used, work.scores, work.touched, work.local,
            )  # fmt: skip
            there = work.touched[:touched].astype(np.int64)
            values = work.scores[there].astype(np.float32)
            work.scores[there] = 0
            if mask is not None:
                there, values = there[mask[there]], values[mask[there]]
            rows.append(there + self._bases[n])
            scores.append(values)
        return np.concatenate(rows), np.concatenate(scores)


def _borders(passages: Passages, alive: Bitmap | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(where live passages begin, where they end at the latest up to each), ascending."""
    begins, ends = (passages.begins, passages.ends) if alive is None else (passages.begins[alive], passages.ends[alive])
    return begins, np.maximum.accumulate(ends) if len(ends) else ends


def best_first(weights: Mapping[Gram, float]) -> list[Gram]:
    """N-grams that weigh something in the order in which they count: the heaviest first, then the longest, then by their tokens."""
    return sorted((g for g, w in weights.items() if w > 0), key=lambda gram: (-weights[gram], -len(gram), gram))


def best_hits(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the k best hits by the law of order."""
    kept = np.arange(len(scores))
    if len(scores) > 4 * k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    best: NDArray[np.int64] = kept[np.lexsort((rows[kept], -scores[kept]))[:k]]
    return best
