"""Documents that hold several phrases, near one another: an and of ors, and the smallest stretch of each document that has them.

source: after the document search of Liu et al., Infini-gram, COLM 2024 (conjunctive normal forms of n-grams within a window).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragkit.collection import strings
from ragkit.errors import InputError
from ragkit.matches import Match, Matches
from ragkit.text.folding import Folding

if TYPE_CHECKING:
    from ragkit.collection.snapshot import Snapshot
    from ragkit.filters import Filter

Clause = str | Sequence[str]


def together(
    snapshot: Snapshot, clauses: Sequence[Clause], *, within: int | None, where: Filter | None, k: int | None, context: int
) -> Matches:
    """See `Collection.together`."""
    if isinstance(clauses, str):
        raise InputError("give a list of phrases, of which a document must hold every one; for one phrase there is grep")
    if within is not None and (isinstance(within, bool) or not isinstance(within, int) or within < 1):
        raise InputError(f"within must be a number of characters of at least 1, got {within!r}")
    asked = [(c,) if isinstance(c, str) else tuple(c) for c in clauses]
    if not asked or not all(asked):
        raise InputError("give at least one phrase, and no empty list of them")
    folding = strings.folding_of(snapshot)
    sizes = {phrase: len(folding.pattern(phrase)) for clause in asked for phrase in clause}
    matches: list[Match] = []
    total = 0
    for n, mask in enumerate(strings.masks(snapshot, where)):
        columns = snapshot.views[n].columns
        found = {phrase: strings.find_in(snapshot, n, phrase) for phrase in sizes}
        rows = reduce(np.intersect1d, [np.unique(np.concatenate([found[phrase][0] for phrase in clause])) for clause in asked])
        for row in rows.tolist() if mask is None else rows[mask[rows]].tolist():
            text = columns.document_text(row)
            spans = [_spans([(found[p], sizes[p]) for p in clause], row, text, folding) for clause in asked]
            start, end = _smallest(spans)
            if within is None or end - start <= within:
                total += 1
                if k is None or len(matches) < k:
                    matches.append(Match.of(columns.document(row), start, end, context))
    name = " and ".join(c[0] if len(c) == 1 else f"({' or '.join(c)})" for c in asked)
    return Matches(name, matches, total, total)


def _spans(
    found: Sequence[tuple[tuple[NDArray[np.int64], NDArray[np.int64]], int]], row: int, text: str, folding: Folding
) -> NDArray[np.int64]:
    """(n, 2): where any of a clause's phrases stand in a document, by their beginnings."""
    spans: list[tuple[int, int]] = []
    for (rows, offsets), size in found:
        mine = offsets[np.searchsorted(rows, row) : np.searchsorted(rows, row, side="right")]
        spans += folding.places(text, mine.tolist(), size) if len(mine) else ()
    return np.array(sorted(spans), np.int64)


def _smallest(clauses: Sequence[NDArray[np.int64]]) -> tuple[int, int]:
    """The smallest stretch that holds a span of each clause, the first of equal ones.

    One of the spans begins it; of each other clause it then holds the one that ends first among those that begin there or later.
    """
    best = (0, 1 << 62)
    for own in clauses:
        ends = own[:, 1].copy()
        for other in clauses:
            soonest = np.append(np.minimum.accumulate(other[::-1, 1])[::-1], 1 << 61)
            ends = np.maximum(ends, soonest[np.searchsorted(other[:, 0], own[:, 0])])
        at = int(np.argmin(ends - own[:, 0]))
        stretch = (int(own[at, 0]), int(ends[at]))
        best = min(best, stretch, key=lambda s: (s[1] - s[0], s[0]))
    return best
