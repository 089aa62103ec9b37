"""The mark of a purge: ``PURGED`` holds the generation below which versions were removed at once.

A reader that has one of those mapped could read on, and what was deleted for good would still be found: it is told to refresh.
"""

from __future__ import annotations

from pathlib import Path

from ragkit.collection.files import unsealed
from ragkit.errors import CorruptCollectionError

PURGED = "PURGED"


def purged_below(folder: Path) -> int:
    """The generation below which versions were purged; 0 where none was."""
    try:
        said = unsealed((folder / PURGED).read_bytes())
    except FileNotFoundError:
        return 0
    if said is None or not said.isdecimal():
        raise CorruptCollectionError(f"{folder / PURGED} was cut or altered; run `ragkit repair {folder}`")
    return int(said)
