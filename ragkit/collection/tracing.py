"""Where a text comes from: its longest pieces that documents hold word for word.

source: after Liu et al., Infini-gram, COLM 2024, and OLMoTrace, ACL 2025 (longest verbatim spans of a model's output in its corpus).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragkit.collection import strings
from ragkit.errors import InputError
from ragkit.protocols import Bitmap
from ragkit.text.shared import apart, longest_pieces
from ragkit.traces import Shared, Trace

if TYPE_CHECKING:
    from ragkit.collection.snapshot import Snapshot


def trace(snapshot: Snapshot, text: str, *, least: int = 30, k: int = 3, context: int = 60) -> Trace:
    """See `Collection.trace`."""
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise InputError(f"least must be a number of characters of at least 1, got {least!r}")
    if not isinstance(text, str):
        raise InputError(f"what is traced must be a text, got {type(text).__name__}")
    folding = strings.folding_of(snapshot)
    folded = folding.fold(text)
    begins, ends = folding.spans(text)

    def held(pieces: Sequence[tuple[int, int]]) -> Bitmap:
        return strings.held(snapshot, [folded[a:b] for a, b in pieces])

    shared: list[Shared] = []
    sources: Counter[str] = Counter()
    for a, b in apart(longest_pieces(len(folded), least, held), least):
        a, b = a + (folded[a] == " "), b - (folded[b - 1] == " ")
        while a < b and a and begins[a] == begins[a - 1]:  # of a character that was folded to several only a part is there
            a += 1
        while a < b < len(folded) and begins[b] == begins[b - 1]:
            b -= 1
        if a >= b:
            continue
        start, end = int(begins[a]), int(ends[b - 1])
        found = strings.grep(snapshot, folded[a:b], k=k, context=context, again=True)
        shared.append(Shared(start, end, text[start:end], found.total, found.documents, tuple(found)))
        for n, view in enumerate(snapshot.views):
            rows = np.unique(strings.find_in(snapshot, n, folded[a:b], again=True)[0])
            for row in rows.tolist():
                if view.is_live(row):
                    sources[view.columns.document_id(row)] += end - start
    return Trace(text, shared, dict(sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))))
