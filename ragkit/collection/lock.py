"""The writer's lock: one writer a collection, and a message that says who it is.

The lock is the operating system's own (through filelock): it is freed when its owner dies, however it
dies, so a dead owner never blocks. ``writer.json`` beside it names the owner for the error message.
Readers take no lock.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ragkit.errors import LockedError


@contextmanager
def writer_lock(folder: Path, timeout: float) -> Iterator[bool]:
    """Hold the collection for writing; raises LockedError after `timeout` seconds. True if the last owner died holding it."""
    lock = FileLock(folder / "writer.lock")
    owner = folder / "writer.json"
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise LockedError(f"{folder} is being written by {_owner(owner)}; waited {timeout:g} s: try again when it is done") from None
    try:
        died = owner.exists()
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield died
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str:
    try:
        said = json.loads(path.read_text())
        return f"process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"  # it has the lock and has not written its name yet
