"""Exact strings in the texts of a version's documents: which documents hold one, how often, and where.

An index of strings answers where the collection has one; else the texts are folded and read through, which gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ragkit.matches import Match, Matches
from ragkit.protocols import Bitmap, TextIndex, TextSearcher
from ragkit.registry import resolve
from ragkit.text.folding import Folding, occurrences
from ragkit.types import Passage

if TYPE_CHECKING:
    from ragkit.collection.segment import SegmentColumns
    from ragkit.collection.snapshot import Snapshot
    from ragkit.filters import Filter


def folding_of(snapshot: Snapshot) -> Folding:
    """What counts as the same text in a version: as its index of strings has it, else as an index would by default."""
    found = _text_index(snapshot)
    return Folding() if found is None else found[1].folding


def holders(snapshot: Snapshot, segment: int, text: str, *, again: bool = False) -> Bitmap:
    """Documents of a segment, dead or alive, that hold a text: bool (D,)."""
    held = np.zeros(snapshot.views[segment].columns.n_documents, np.bool_)
    held[find_in(snapshot, segment, text, again=again)[0]] = True
    return held


def find_in(snapshot: Snapshot, segment: int, text: str, *, again: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """See `TextSearcher.find_in`.

    again  more texts will be looked for: a collection without an index of strings gets one in memory; else all texts are folded and read
    """
    snapshot.refuse_purged()
    if again or _text_index(snapshot) is not None:
        return string_searcher(snapshot).find_in(segment, text)
    folding = Folding()
    pattern = folding.pattern(text)
    pairs = [
        (row, at) for row, held in enumerate(snapshot.views[segment].columns.texts()) for at in occurrences(folding.encode(held), pattern)
    ]
    places = np.array(pairs, np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def count(snapshot: Snapshot, text: str, where: Filter | None = None) -> int:
    """How often a text stands in the live documents, or in those for which a filter holds; occurrences that overlap all count.

    cost  that of the index's own counting for segments without deleted documents, where no filter is given; else of finding all
    """
    found = _text_index(snapshot)
    total = 0
    for n, mask in enumerate(masks(snapshot, where)):
        if mask is None and found is not None:
            total += int(_searcher(snapshot, found[0]).count_in(n, [text])[0])
        else:
            documents, _ = find_in(snapshot, n, text)
            total += len(documents) if mask is None else int(mask[documents].sum())
    return total


def held(snapshot: Snapshot, texts: Sequence[str]) -> Bitmap:
    """Which of some texts stand in a live document: bool (any,).

    cost  that of counting all, and in segments with deleted documents of finding those that stand there. Where the collection has
          no index of strings, one is made in memory, five bytes a byte of text, and kept with the version
    """
    searcher = string_searcher(snapshot)
    there = np.zeros(len(texts), np.bool_)
    for n, mask in enumerate(masks(snapshot, None)):
        left = np.flatnonzero(~there)
        found = left[searcher.count_in(n, [texts[i] for i in left.tolist()]) > 0]
        if mask is not None:
            found = found[[bool(mask[searcher.find_in(n, texts[i])[0]].any()) for i in found.tolist()]] if len(found) else found
        there[found] = True
    return there


def string_searcher(snapshot: Snapshot) -> TextSearcher:
    """The searcher of the version's index of strings, or of one made in memory."""
    if (found := _text_index(snapshot)) is not None:
        return _searcher(snapshot, found[0])
    spec: TextIndex = resolve("indexes", "ngram")()
    return cast(TextSearcher, spec.open([_InMemory(view.columns) for view in snapshot.views]))


@dataclass(frozen=True)
class _InMemory:
    """A part without files."""

    columns: SegmentColumns
    folder: None = None
    alive: None = None


def grep(
    snapshot: Snapshot, text: str, *, where: Filter | None = None, k: int | None = 20, context: int = 60, again: bool = False
) -> Matches:
    """The first k places at which a text stands, in stored order, with so many characters around each; see `Collection.grep`."""
    pattern = folding_of(snapshot).pattern(text)
    matches: list[Match] = []
    total = documents = 0
    for n, mask in enumerate(masks(snapshot, where)):
        rows, offsets = find_in(snapshot, n, text, again=again)
        if mask is not None:
            rows, offsets = rows[mask[rows]], offsets[mask[rows]]
        total += len(rows)
        documents += len(np.unique(rows))
        left = len(rows) if k is None else max(0, k - len(matches))
        matches += _matches(snapshot, n, rows[:left], offsets[:left], len(pattern), context)
    return Matches(text, matches, total, documents)


def highlights(snapshot: Snapshot, passages: Sequence[Passage], texts: Sequence[str]) -> list[tuple[tuple[int, int], ...]]:
    """Where any of some texts stand in each passage, in code points of its document, cut at the passage's borders; ascending, joined."""
    folding = folding_of(snapshot)
    patterns = [folding.pattern(t) for t in texts if t]
    wholes = {id: snapshot.get(id).text for id in dict.fromkeys(p.document for p in passages)}
    encoded = {id: folding.encode(whole) for id, whole in wholes.items()}
    offsets = {id: [np.fromiter(occurrences(data, p), np.int64) for p in patterns] for id, data in encoded.items()}
    spans = []
    for passage in passages:
        whole = wholes[passage.document]
        begin, end = folding.borders(whole, np.array([passage.start, passage.end])).tolist()
        found: list[tuple[int, int]] = []
        for pattern, at in zip(patterns, offsets[passage.document], strict=True):
            near = at[(at > begin - len(pattern)) & (at < end)]
            found += folding.places(whole, near.tolist(), len(pattern)) if len(near) else ()
        spans.append(_joined((max(a, passage.start), min(b, passage.end)) for a, b in found))
    return spans


def _text_index(snapshot: Snapshot) -> tuple[str, TextIndex] | None:
    """(name, spec) of the first index of strings."""
    specs = ((name, snapshot.spec(name)) for name in snapshot.manifest.indexes)
    return next(((name, spec) for name, spec in specs if isinstance(spec, TextIndex)), None)


def _searcher(snapshot: Snapshot, name: str) -> TextSearcher:
    return cast(TextSearcher, snapshot.searcher(name))


def masks(snapshot: Snapshot, where: Filter | None) -> Sequence[Bitmap | None]:
    """Documents that count, of each segment; None: all."""
    snapshot.refuse_purged()
    return [view.live for view in snapshot.views] if where is None else snapshot.matching(where)


def _matches(
    snapshot: Snapshot, segment: int, rows: NDArray[np.int64], offsets: NDArray[np.int64], length: int, context: int
) -> Iterator[Match]:
    """Places in a segment as they are shown; each document is folded once."""
    columns, folding = snapshot.views[segment].columns, folding_of(snapshot)
    firsts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for start, stop in pairwise([*firsts, len(rows)]):
        document = columns.document(int(rows[start]))
        for a, b in folding.places(document.text, offsets[start:stop].tolist(), length):
            yield Match.of(document, a, b, context)


def _joined(spans: Iterator[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Spans that are not empty, ascending, with those that touch as one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(s for s in spans if s[0] < s[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return tuple(out)
