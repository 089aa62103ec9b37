"""Inverse document frequencies and term-weight kinds of the BM25 variants (ragkit's `BM25.method`)."""

from __future__ import annotations

from math import log

from ragkit.indexes.kernels.impacts import PLAIN, SCALED, SHIFTED_L, SHIFTED_PLUS

KINDS = {"lucene": PLAIN, "robertson": PLAIN, "atire": SCALED, "okapi": SCALED, "l": SHIFTED_L, "plus": SHIFTED_PLUS}
DELTAS = {"l": 0.5, "plus": 1.0}


def idf(method: str, n: int, df: int) -> float:
    """Inverse document frequency of a term in df of n rows; "okapi" before its floor.

    >>> round(idf("lucene", 10, 1), 4), round(idf("okapi", 10, 9), 4)
    (1.9924, -1.8458)
    """
    if method == "lucene":
        return log(1 + (n - df + 0.5) / (df + 0.5))
    if method == "robertson":
        return log(max(1.0, (n - df + 0.5) / (df + 0.5)))
    if method == "atire":
        return log(n / df)
    if method == "okapi":
        return log(n - df + 0.5) - log(df + 0.5)
    if method == "l":
        return log((n + 1) / (df + 0.5))
    return log((n + 1) / df)


def at_zero(method: str, k1: float, delta: float) -> float:
    """Term weight of a row that does not hold the term: what "l" and "plus" give to every row."""
    if method == "l":
        return (k1 + 1) * delta / (k1 + delta)
    return delta if method == "plus" else 0.0
