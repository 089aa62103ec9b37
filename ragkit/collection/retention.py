"""Old versions: how long a superseded version stays readable.

The last two versions stay, and any that was replaced less than ten minutes ago, so that a reader which
had it open can finish; then the manifest goes, and every file that no remaining manifest names.
"""

from __future__ import annotations

import shutil
import time
from itertools import pairwise
from pathlib import Path

from ragkit.collection.manifest import Manifest, parse
from ragkit.errors import CollectionError

KEEP_VERSIONS = 2
KEEP_SECONDS = 600.0


def drop_old_versions(folder: Path, *, keep_seconds: float = KEEP_SECONDS) -> None:
    """Remove superseded versions; call it under the writer's lock, after a version was published."""
    paths = sorted(folder.glob("manifest-*.json"))
    now = time.time()
    replaced = {p: following.stat().st_mtime for p, following in pairwise(paths)}
    old = [p for p in paths[:-KEEP_VERSIONS] if now - replaced[p] >= keep_seconds]
    if not old:
        return
    try:
        kept = [parse(p, p.read_bytes()) for p in paths if p not in old]
    except CollectionError:
        return  # a damaged manifest names files that can't be known: nothing is removed until it is repaired
    for path in old:
        path.unlink()
    _drop_unnamed(folder, kept)


def _drop_unnamed(folder: Path, kept: list[Manifest]) -> None:
    segments = {s.id for m in kept for s in m.segments}
    for path in (folder / "segments").iterdir():
        if path.name not in segments:
            shutil.rmtree(path)
    deletes = {s.deletes for m in kept for s in m.segments}
    for path in (folder / "deletes").iterdir():
        if path.relative_to(folder).as_posix() not in deletes:
            path.unlink()
    models = {(n, v) for m in kept for of_one in (m.models, *(s.models for s in m.segments)) for n, v in of_one.items()}
    for path in (folder / "models").glob("*/*"):
        if (path.parent.name, path.name) not in models:
            shutil.rmtree(path)
