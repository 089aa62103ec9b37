"""The folder of what ragkit keeps by itself: collections of opened folders, converted models."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``$RAGKIT_HOME``, else ``~/.ragkit``."""
    return Path(os.environ.get("RAGKIT_HOME") or Path.home() / ".ragkit")
