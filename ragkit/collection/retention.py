"""What a writer removes: superseded versions after their time, and what killed writers left behind.

The last two versions stay, and any that was replaced less than ten minutes ago, so that a reader which
had it open can finish; then the manifest goes, and every file that no remaining manifest names. Versions follow one
another, and a name is never used twice: what a version needs that its successor does not, nobody needs after it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from ragkit.collection import staging
from ragkit.collection.files import replace_file, sealed, sync_folder
from ragkit.collection.manifest import Manifest, live, manifests, parse, pointer
from ragkit.collection.purged import PURGED
from ragkit.errors import CollectionError

KEEP_VERSIONS = 2
KEEP_SECONDS = 600.0


def drop_old_versions(folder: Path, *, keep_seconds: float = KEEP_SECONDS, keep_versions: int = KEEP_VERSIONS) -> None:
    """Remove superseded versions; call it under the writer's lock, after a version was published."""
    current = pointer(folder).split()[0]  # a later one was written by a writer that died before it made it live
    paths = [p for p in manifests(folder) if p.name <= current]
    now = time.time()
    old: list[Path] = []
    for path, following in pairwise(paths[: len(paths) - keep_versions + 1]):
        if now - following.stat().st_mtime < keep_seconds:  # when it was replaced
            break
        old.append(path)
    if not old:
        return
    try:
        dropped = set().union(*(_places(parse(p, p.read_bytes())) for p in old))
        _remove(folder, dropped - _places(parse(paths[len(old)], paths[len(old)].read_bytes())) - _places(live(folder)))
    except CollectionError:  # a damaged one does not say what it needed: what none of the others names goes
        for path in old:
            path.unlink()
        drop_orphans(folder)
    for path in old:  # last: if a file could not be removed, the next commit tries again
        path.unlink(missing_ok=True)


def purge(folder: Path, generation: int) -> None:
    """Remove all versions before this one, the live one, and all unfinished work, at once; who reads them is told so."""
    replace_file(folder / PURGED, sealed(str(generation)))
    current = pointer(folder).split()[0]
    for path in manifests(folder):
        if path.name != current:
            path.unlink()
    if (folder / "staging").exists():
        shutil.rmtree(folder / "staging")
    drop_orphans(folder)
    for path in (folder, folder / "segments", folder / "deletes", folder / "models", *(folder / "models").glob("*")):
        if path.exists():
            sync_folder(path)  # what is gone stays gone, whatever happens to the machine


def drop_orphans(folder: Path) -> None:
    """Remove what no version names and no interrupted run has finished: the work of writers that died; call it under the lock."""
    generation = live(folder).generation
    kept = []
    for path in manifests(folder):
        try:
            manifest = parse(path, path.read_bytes())
        except CollectionError:
            if _generation(path) <= generation and time.time() - path.stat().st_mtime < KEEP_SECONDS:
                return  # damaged, and somebody may be reading what it names: later
            path.unlink()  # damaged long ago, or cut while it was written
            continue
        if manifest.generation > generation:
            path.unlink()  # written and never made the live one
        else:
            kept.append(manifest)
    named = set().union(*map(_places, kept))
    for staged in staging.names(folder):
        named |= {f"segments/{staged.entry.id}", *(f"models/{n}/{v}" for n, v in staged.after.models.items())}
    there = [*(folder / "segments").iterdir(), *(folder / "deletes").iterdir(), *(folder / "models").glob("*/*")]
    _remove(folder, {p.relative_to(folder).as_posix() for p in there} - named)
    for path in (*folder.glob("*.new"), *(folder / "staging").rglob("*.new")):
        path.unlink()


def _generation(path: Path) -> int:
    digits = path.stem.removeprefix("manifest-")
    return int(digits) if digits.isdigit() else 0


def _places(manifest: Manifest) -> set[str]:
    """Folders of segments and of what they share, and bitmaps, that a version needs; relative POSIX paths."""
    models = {(n, v) for of_one in (manifest.models, *(s.models for s in manifest.segments)) for n, v in of_one.items()}
    found = {f"segments/{s.id}" for s in manifest.segments} | {f"models/{n}/{v}" for n, v in models}
    return found | {s.deletes for s in manifest.segments if s.deletes}


def _remove(folder: Path, places: Iterable[str]) -> None:
    for place in sorted(places):
        path = folder / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
