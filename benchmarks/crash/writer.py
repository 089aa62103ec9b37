"""The writer that is killed: ``python -m benchmarks.crash.writer FOLDER SEED`` opens a collection and changes it until it dies.

It says "ready" when it has started, waits for the number of its first operation on standard input, and tells of each operation
"begin NUMBER KIND" before it and "done NUMBER" after it returned. Each line is one write, so a line is told whole or not at all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.crash.operations import operation, state_of
from ragkit import Collection


def main() -> None:
    """Write until killed."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    _tell("ready")
    line = sys.stdin.readline()
    if not line:  # never needed
        return
    number = int(line)
    collection = Collection.open(folder)
    state = state_of(collection)
    while True:
        planned = operation(seed, number, state)
        _tell(f"begin {number} {planned.kind}")
        planned.apply(collection)
        _tell(f"done {number}")
        state = planned.after(state)
        number += 1


def _tell(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    main()
