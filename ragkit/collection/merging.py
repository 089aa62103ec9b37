"""Merging: one new segment in place of several neighbours, without what was deleted, and when that is worth it.

Neighbours are merged, so that passages keep their order. Sizes grow by a factor from level to level, so that a
collection of N passages that is grown in small commits has O(log N) segments, and a passage is written O(log N) times
(the logarithmic method: Bentley & Saxe, Journal of Algorithms 1980; as log-structured merge trees and Lucene have it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ragkit.collection.files import save_batch, save_rows
from ragkit.collection.manifest import Manifest, SegmentEntry
from ragkit.collection.schema import arrow_type
from ragkit.collection.segment import DOCUMENTS, KEYS, META, PASSAGES
from ragkit.collection.snapshot import SegmentView

FACTOR = 8
"""Neighbours of one level that are merged; a level is as many times as large as the one below."""

_BLOCK = 8192
"""Rows of a vector column that are copied at once."""


def text_size(manifest: Manifest, entry: SegmentEntry) -> int:
    """About how many bytes the live documents of a segment take."""
    file = manifest.files.get(f"segments/{entry.id}/{DOCUMENTS}")
    return 0 if file is None else file.size * entry.live_documents // max(entry.documents, 1)


def worn(entry: SegmentEntry) -> bool:
    """Whether more than half of a segment's documents are deleted."""
    return 2 * entry.live_documents < entry.documents


def due(manifest: Manifest, limit: int) -> list[range]:
    """Neighbours that are worth merging now: many small ones of one level, and any that consist mostly of deleted documents.

    limit  bytes of text that a merged segment may have

    >>> few = [SegmentEntry(id=str(i), documents=n, passages=n, live_documents=n, live_passages=n) for i, n in enumerate([900] + [1] * 8)]
    >>> due(Manifest(uuid="", segments=tuple(few)), 1 << 20), due(Manifest(uuid="", segments=tuple(few[:-1])), 1 << 20)
    ([range(1, 9)], [])
    """
    entries = manifest.segments
    levels = [_level(e.live_passages) for e in entries]
    for level in sorted(set(levels), reverse=True):
        runs = [part for run in _runs([n <= level for n in levels]) for part in _within(run, manifest, limit)]
        found = [r for r in runs if levels[r.start : r.stop].count(level) >= FACTOR]
        if found:
            return found
    return [range(n, n + 1) for n, entry in enumerate(entries) if worn(entry)]


def all_of(manifest: Manifest, limit: int) -> list[range]:
    """Neighbours whose merging leaves as few segments as possible, and no deleted document."""
    parts = _within(range(len(manifest.segments)), manifest, limit)
    return [p for p in parts if len(p) > 1 or manifest.segments[p.start].deletes is not None]


def _level(passages: int) -> int:
    """0 for one passage, 1 up to FACTOR, 2 up to FACTOR², …"""
    level, size = 0, 1
    while passages > size:
        level, size = level + 1, size * FACTOR
    return level


def _runs(wanted: Sequence[bool]) -> Iterator[range]:
    """Stretches of True."""
    start = 0
    for n, w in enumerate([*wanted, False]):
        if not w:
            if n > start:
                yield range(start, n)
            start = n + 1


def _within(run: range, manifest: Manifest, limit: int) -> list[range]:
    """A run cut into stretches that stay within a number of bytes of text, a segment at least."""
    found: list[range] = []
    start, size = run.start, 0
    for n in run:
        of_one = text_size(manifest, manifest.segments[n])
        if n > start and size + of_one > limit:
            found.append(range(start, n))
            start, size = n, 0
        size += of_one
    return [*found, range(start, run.stop)] if run.stop > start else found


def write_merged(folder: Path, views: Sequence[SegmentView], kinds: dict[str, str]) -> None:
    """Write the live documents of segments, their passages and their vectors as the columns of a new one.

    folder  is made
    kinds   type of each metadata field as it is now
    """
    folder.mkdir(parents=True)
    save_batch(folder / DOCUMENTS, _documents(views, kinds))
    save_batch(folder / PASSAGES, _passages(views))
    columns = set.intersection(*(set(v.columns.vector_columns()) for v in views))
    if columns:
        (folder / "vectors").mkdir()
        if all(v.columns.has_text_keys() for v in views):
            _copy_rows(folder / "vectors" / KEYS, [(v.columns.text_keys(), v.alive) for v in views], np.uint64)
        for column in sorted(columns):
            _copy_rows(folder / "vectors" / f"{column}.npy", [(v.columns.vectors(column), v.alive) for v in views], np.float32)


def _documents(views: Sequence[SegmentView], kinds: dict[str, str]) -> pa.RecordBatch:
    tables = []
    for view in views:
        batch = view.columns.documents if view.live is None else view.columns.documents.filter(pa.array(view.live))
        names = batch.schema.names
        typed = [
            c.cast(arrow_type(kinds[n.removeprefix(META)]), safe=False) if n.startswith(META) else c
            for n, c in zip(names, batch.columns, strict=True)
        ]
        tables.append(pa.Table.from_arrays(typed, names))
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    order = [n for n in whole.schema.names if not n.startswith(META)]
    order += [META + n for n in kinds if META + n in whole.schema.names and whole.column(META + n).null_count < len(whole)]
    return whole.select(order).to_batches()[0]


def _passages(views: Sequence[SegmentView]) -> pa.RecordBatch:
    batches, base = [], 0
    for view in views:
        live = np.ones(view.columns.n_documents, np.bool_) if view.live is None else view.live
        renumbered = (np.cumsum(live, dtype=np.int64) - 1 + base).astype(np.int32)
        rows = view.columns.passages
        rows = rows.set_column(0, "document", pa.array(renumbered[view.columns.document_of]))
        batches.append(rows if view.alive is None else rows.filter(pa.array(view.alive)))
        base += int(live.sum())
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if len(table) else batches[0]


def _copy_rows(path: Path, sources: Sequence[tuple[NDArray[Any], NDArray[np.bool_] | None]], kind: type[np.generic]) -> None:
    rows = [np.arange(len(array)) if alive is None else np.flatnonzero(alive) for array, alive in sources]
    blocks = (array[r[i : i + _BLOCK]] for (array, _), r in zip(sources, rows, strict=True) for i in range(0, len(r), _BLOCK))
    save_rows(path, blocks, (sum(map(len, rows)), sources[0][0].shape[1]), kind)
