"""Segments that an interrupted ingest had finished: a rerun takes them over in place of building them again.

A full segment is noted under a digest of all that it was made of: its documents, their order, and every setting that
was in force. A rerun that arrives at the same documents finds it; any other commit that succeeds removes it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ragkit.collection.files import check_size, inside, replace_file
from ragkit.collection.manifest import FileEntry, Manifest, SegmentEntry
from ragkit.collection.segment import SegmentBuffer
from ragkit.errors import CorruptCollectionError

_FOLDER = "staging/segments"


class StagedSegment(BaseModel):
    """A finished segment that no version names yet; after is the manifest's settings once it was made, without its segments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: SegmentEntry
    files: dict[str, FileEntry]
    after: Manifest


def key_of(buffer: SegmentBuffer, settings: Manifest) -> str:
    """Digest of documents and settings: equal ones give equal segments."""
    made = hashlib.sha256(settings.model_dump_json(exclude={"generation", "segments", "files", "problems", "roots"}).encode())
    for document, meta, stamp, given in zip(buffer.documents, buffer.meta, buffer.stamps, buffer.given, strict=True):
        told = (document.id, document.title, document.source, document.body_start, document.page_starts, document.headings)
        for part in (repr(told), document.text, repr(sorted(meta.items())), repr(stamp)):
            content = part.encode()
            made.update(f"{len(content)} ".encode() + content)
        for name, vector in sorted(given.items()):
            made.update(name.encode() + vector.tobytes())
    return made.hexdigest()


def note(folder: Path, key: str, staged: StagedSegment) -> None:
    """Keep a finished and flushed segment for a rerun."""
    path = folder / _FOLDER
    path.mkdir(parents=True, exist_ok=True)
    replace_file(path / f"{key}.json", staged.model_dump_json(by_alias=True).encode())


def find(folder: Path, key: str) -> StagedSegment | None:
    """The segment that was noted under a key, if its files are there."""
    try:
        staged = StagedSegment.model_validate(json.loads((folder / _FOLDER / f"{key}.json").read_bytes()))
        inside(folder, [*staged.files, staged.entry.id])
        for name, entry in staged.files.items():
            check_size(folder / name, entry.size)
    except (OSError, ValueError, ValidationError, CorruptCollectionError):
        return None  # it is only work saved: what can't be used is done again
    return staged


def names(folder: Path) -> Iterator[StagedSegment]:
    """All that is noted and readable."""
    for path in sorted((folder / _FOLDER).glob("*.json")):
        if (staged := find(folder, path.stem)) is not None:
            yield staged


def clear(folder: Path) -> bool:
    """Forget all that is noted, if anything is: the segments that no version names are orphans then."""
    there = (folder / _FOLDER).exists()
    if there:
        shutil.rmtree(folder / _FOLDER)
    return there
