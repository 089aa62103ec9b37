"""What this process holds, as Linux tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def memory(kind: Literal["VmHWM", "RssAnon"]) -> int:
    """Bytes: VmHWM is the most that was resident since the program began, RssAnon what is resident now and of no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{kind}:"))
