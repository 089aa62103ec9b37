"""Files that are derived from a model and kept under ``$RAGKIT_HOME/encoders``: written whole, and checked before they are read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragkit.digests import sha256_file

_FACTS = "facts.json"


def keep(folder: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    """Make a folder in one step, in place of a damaged one; write fills it and returns what is to be known of it."""
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    facts = write(temporary)
    facts["sha256"] = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
    (temporary / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    if kept(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    else:  # another process was first
        shutil.rmtree(temporary)


def kept(folder: Path) -> dict[str, Any] | None:
    """What is known of a kept folder; None where there is none, or its files are not what was written."""
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        whole = all(sha256_file(folder / Path(name).name) == digest for name, digest in facts["sha256"].items())
    except (OSError, ValueError, KeyError):
        return None
    return facts if whole else None
