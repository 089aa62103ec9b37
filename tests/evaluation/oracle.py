"""The measures once more, written with loops from their textbook definitions: slow, and independent of ragkit.

`docs` is the ranking, best first; `grades` the judgements of the query.
"""

from __future__ import annotations

import math


def gain(grades: dict[str, int], doc: str) -> int:
    return max(grades.get(doc, 0), 0)


def dcg(gains: list[int]) -> float:
    total = 0.0
    for i, g in enumerate(gains):
        total += g / math.log2(i + 2)
    return total


def ndcg(docs: list[str], grades: dict[str, int], k: int | None = None) -> float:
    ideal = dcg(sorted((gain(grades, d) for d in grades), reverse=True)[:k])
    return dcg([gain(grades, d) for d in docs[:k]]) / ideal if ideal else 0.0


def relevant(grades: dict[str, int], rel: int) -> set[str]:
    return {d for d, g in grades.items() if g >= rel}


def precision(docs: list[str], grades: dict[str, int], k: int, rel: int = 1) -> float:
    good = relevant(grades, rel)
    return sum(1 for d in docs[:k] if d in good) / k


def recall(docs: list[str], grades: dict[str, int], k: int, rel: int = 1) -> float:
    good = relevant(grades, rel)
    return len(good & set(docs[:k])) / len(good) if good else 0.0


def reciprocal_rank(docs: list[str], grades: dict[str, int], k: int | None = None, rel: int = 1) -> float:
    good = relevant(grades, rel)
    for i, d in enumerate(docs[:k]):
        if d in good:
            return 1 / (i + 1)
    return 0.0


def average_precision(docs: list[str], grades: dict[str, int], k: int | None = None, rel: int = 1) -> float:
    good = relevant(grades, rel)
    total, found = 0.0, 0
    for i, d in enumerate(docs[:k]):
        if d in good:
            found += 1
            total += found / (i + 1)
    return total / len(good) if good else 0.0


def success(docs: list[str], grades: dict[str, int], k: int, rel: int = 1) -> float:
    return 1.0 if reciprocal_rank(docs, grades, k, rel) > 0 else 0.0


def r_precision(docs: list[str], grades: dict[str, int], rel: int = 1) -> float:
    n = len(relevant(grades, rel))
    return precision(docs, grades, n, rel) if n else 0.0


def bpref(docs: list[str], grades: dict[str, int], rel: int = 1) -> float:
    good = relevant(grades, rel)
    bad = {d for d, g in grades.items() if 0 <= g < rel}
    if not good:
        return 0.0
    total = 0.0
    for i, d in enumerate(docs):
        if d in good:
            above = sum(1 for other in docs[:i] if other in bad)
            total += 1 - min(above, len(good)) / min(len(good), len(bad)) if above else 1
    return total / len(good)


def judged(docs: list[str], grades: dict[str, int], k: int | None = None) -> float:
    shown = docs[:k]
    return sum(1 for d in shown if d in grades) / len(shown) if shown else 0.0


def order(hits: dict[str, float]) -> list[str]:
    """trec_eval's order by selection: no sort, no float32 (for scores that 32 bits hold exactly)."""
    left, docs = dict(hits), []
    while left:
        best = None
        for d in left:
            if best is None or left[d] > left[best] or (left[d] == left[best] and d > best):
                best = d
        assert best is not None
        docs.append(best)
        del left[best]
    return docs


def auroc(scores: list[float], labels: list[int]) -> float:
    wins, pairs = 0.0, 0
    for s, a in zip(scores, labels, strict=True):
        for t, b in zip(scores, labels, strict=True):
            if a == 1 and b == 0:
                pairs += 1
                wins += 1.0 if s > t else 0.5 if s == t else 0.0
    return wins / pairs
