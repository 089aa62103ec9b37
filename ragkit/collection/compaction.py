"""Compaction: a collection without the rows that were deleted, in as few segments as possible."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragkit.collection.manifest import Manifest
from ragkit.sizes import in_words


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did. Sizes are bytes of the live version; on_disk is all of the folder, older versions included."""

    segments_before: int
    segments_after: int
    documents_dropped: int
    bytes_before: int
    bytes_after: int
    bytes_on_disk: int

    @classmethod
    def of(cls, folder: Path, before: Manifest, after: Manifest) -> CompactReport:
        """From the versions before and after."""
        return cls(
            segments_before=len(before.segments),
            segments_after=len(after.segments),
            documents_dropped=sum(s.documents for s in before.segments) - sum(s.documents for s in after.segments),
            bytes_before=sum(f.size for f in before.files.values()),
            bytes_after=sum(f.size for f in after.files.values()),
            bytes_on_disk=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        older = self.bytes_on_disk - self.bytes_after
        kept = (
            f"; {in_words(older)} of older versions go in ten minutes, or with purge" if older > max(self.bytes_after // 100, 65536) else ""
        )
        return (
            f"{self.segments_before} segments are {self.segments_after}, {self.documents_dropped} deleted documents were dropped, "
            f"{in_words(self.bytes_before)} are {in_words(self.bytes_after)}{kept}"
        )
