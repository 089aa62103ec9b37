"""Scores retrieved passages against the reference spans of a question: how much was found, and how little else came with it.

Passages and references are sets of positions of one or more documents, counted once however often they occur. Positions are
whatever unit the ranges are given in: characters, or word tokens by `TokenOffsets`. Recall, precision and intersection
over union are those of Smith & Troynikov, Evaluating Chunking Strategies for Retrieval, Chroma technical report, 2024.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from ragkit.chunking.size import token_pattern
from ragkit.errors import InputError

Range = tuple[str, int, int]
"""Document, start and end: the half-open range [start, end) of its positions."""


@dataclass(frozen=True, slots=True)
class SpanScores:
    """How a question's retrieved ranges overlap its reference ranges, each in [0, 1].

    recall     share of the reference positions that were retrieved
    precision  share of the retrieved positions that are reference; 0 where nothing was retrieved
    iou        |retrieved ∩ reference| / |retrieved ∪ reference|
    """

    recall: float
    precision: float
    iou: float


def span_scores(retrieved: Iterable[Range], references: Iterable[Range]) -> SpanScores:
    """Recall, precision and IoU of retrieved ranges; positions that several ranges share count once.

    retrieved   (document, start, end) each, in any order
    references  the same; at least one position in all
    raises      InputError for a range that ends before it starts, or references without any position
    cost        O(N log N) for N ranges

    >>> span_scores([("a.md", 0, 6), ("a.md", 4, 10)], [("a.md", 8, 12), ("b.md", 0, 1)])  # 2 of 5; of 10; of 13
    SpanScores(recall=0.4, precision=0.2, iou=0.15384615384615385)
    """
    found, wanted = _union(retrieved), _union(references)
    n_found, n_wanted, n_both = (_size(ranges) for ranges in (found, wanted, _both(found, wanted)))
    if not n_wanted:
        raise InputError("the reference ranges of a question must hold at least one position, got none")
    return SpanScores(n_both / n_wanted, n_both / n_found if n_found else 0.0, n_both / (n_found + n_wanted - n_both))


def within_budget(ranges: Iterable[Range], budget: int) -> list[Range]:
    """The first ranges, best first, up to `budget` positions in all; the last one is cut at its end.

    Positions count as often as they occur, for a language model would read them as often.

    >>> within_budget([("a.md", 0, 6), ("a.md", 4, 10), ("b.md", 0, 9)], 10)
    [('a.md', 0, 6), ('a.md', 4, 8)]
    """
    if budget < 0:
        raise InputError(f"budget must be at least 0, got {budget}")
    taken: list[Range] = []
    for document, start, end in ranges:
        if budget <= 0:
            break
        end = min(end, start + budget)
        taken.append((document, start, end))
        budget -= end - start
    return taken


class TokenOffsets:
    """Turns ranges of a text's characters into ranges of its word tokens, as `count_tokens` counts them.

    >>> TokenOffsets("One isn't enough.").range(4, 8)  # the tokens are: One isn ' t enough .
    (1, 3)
    """

    def __init__(self, text: str) -> None:
        spans = [match.span() for match in token_pattern(text.isascii()).finditer(text)]
        self._starts, self._ends = np.array(spans, np.int64).reshape(-1, 2).T

    def range(self, start: int, end: int) -> tuple[int, int]:
        """Numbers [first, last) of the tokens of which text[start:end] holds a part; empty where it holds none."""
        if start >= end:
            return 0, 0
        first = int(np.searchsorted(self._ends, start, side="right"))
        return first, max(first, int(np.searchsorted(self._starts, end, side="left")))


def _union(ranges: Iterable[Range]) -> list[Range]:
    """The same positions in ranges that are sorted and do not touch."""
    joined: list[Range] = []
    for document, group in groupby(sorted(ranges), key=itemgetter(0)):
        low = high = -1
        for _, start, end in group:
            if start < 0 or end < start:
                raise InputError(f"a range must have 0 <= start <= end, got {start} to {end} of {document!r}")
            if start > high:
                if low < high:
                    joined.append((document, low, high))
                low, high = start, end
            else:
                high = max(high, end)
        if low < high:
            joined.append((document, low, high))
    return joined


def _both(left: list[Range], right: list[Range]) -> list[Range]:
    """The positions that are in both of two unions."""
    shared, i, j = list[Range](), 0, 0
    while i < len(left) and j < len(right):
        (a, a_start, a_end), (b, b_start, b_end) = left[i], right[j]
        if a == b and max(a_start, b_start) < min(a_end, b_end):
            shared.append((a, max(a_start, b_start), min(a_end, b_end)))
        if (a, a_end) <= (b, b_end):
            i += 1
        else:
            j += 1
    return shared


def _size(ranges: list[Range]) -> int:
    return sum(end - start for _, start, end in ranges)
