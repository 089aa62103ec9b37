"""Runs inputs in a worker process and makes a result of everything that can happen to it, its death included."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.loaders.attacks_text import SIZE

LIMITS = {"memory": 1 << 30, "cpu": 10.0, "wall": 120.0, "size": SIZE}
"""What one input may take: bytes of address space beyond those held, seconds of computing, and of any kind; and how large attacks are."""

_ROOT = Path(__file__).parents[2]
_START = 120.0  # seconds for a worker to be ready


class Result(NamedTuple):
    """How an input ended: outcome is "text", "reported" or "wrong"."""

    loader: str
    key: int | str
    how: str
    outcome: str
    detail: str
    seconds: float

    def __str__(self) -> str:
        again = f" (python -m tests.loaders.fuzz_worker --write {self.loader} {self.key} .)" if isinstance(self.key, int) else ""
        return f"{self.loader} {self.key!r}, {self.how}{again}: {self.outcome} after {self.seconds:.2f} s: {self.detail}"


class Worker:
    """One process, spawned when it is needed and again after it died."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self._folder, self._limits = folder, {**LIMITS, **limits}
        self._process: subprocess.Popen[str] | None = None

    def run(self, loader: str, keys: Sequence[int | str], stand_in: str = "") -> list[Result]:
        """The results of mutations (numbers) or attacks (names); `stand_in` is loaded in place of the loader."""
        results: list[Result] = []
        while len(results) < len(keys):
            todo = keys[len(results) :]
            process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"loader": loader, "cases": list(todo), "stand_in": stand_in}) + "\n")
            process.stdin.flush()
            for key in todo:
                stuck = threading.Timer(2 * self._limits["wall"] + 60, process.kill)  # should its own clock fail
                stuck.start()
                line = process.stdout.readline()
                stuck.cancel()
                if not line:
                    results.append(Result(loader, key, "", "wrong", f"the process died: {self._last_words()}", self._limits["cpu"]))
                    self._process = None
                    break
                answer = json.loads(line)
                results.append(Result(loader, key, answer["how"], answer["outcome"], answer["detail"], answer["seconds"]))
        return results

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        root = Path(tempfile.mkdtemp(dir=self._folder))
        self._log = root.with_suffix(".log")
        command = [sys.executable, "-B", "-m", "tests.loaders.fuzz_worker", str(root), json.dumps(self._limits)]
        pipe = subprocess.PIPE
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, cwd=_ROOT)
        assert self._process.stdout is not None
        stuck = threading.Timer(_START, self._process.kill)
        stuck.start()
        ready = self._process.stdout.readline()
        stuck.cancel()
        if ready != "ready\n":
            raise RuntimeError(f"the worker did not start: {self._last_words()}")
        return self._process

    def _last_words(self) -> str:
        assert self._process is not None
        self._close()
        return f"exit status {self._process.returncode}; {self._log.read_text(errors='replace')[-3000:]}"

    def _close(self) -> None:
        process = self._process
        assert process is not None
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._close()
            self._process = None
