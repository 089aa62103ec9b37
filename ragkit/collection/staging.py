"""Segments that an interrupted ingest had finished: a rerun takes them over in place of building them again.

A full segment is noted under a digest of all that it was made of: its documents, their order, and every setting that
was in force. A rerun that arrives at the same documents finds it; any other commit that succeeds removes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ragkit.collection.files import check_size, inside, replace_file, sha256_bytes
from ragkit.collection.manifest import FileEntry, Manifest, SegmentEntry
from ragkit.errors import CorruptCollectionError

_FOLDER = "staging/segments"


class StagedSegment(BaseModel):
    """A finished segment that no version names yet; after is the manifest's settings once it was made, without its segments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entry: SegmentEntry
    files: dict[str, FileEntry]
    after: Manifest


def key_of(documents: str, settings: Manifest) -> str:
    """Digest of documents, given by theirs, and settings: equal ones give equal segments."""
    told = settings.model_dump_json(exclude={"generation", "segments", "files", "problems", "roots"})
    return sha256_bytes(f"{documents} {told}".encode())


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
