"""Kill a writer at random moments, and look each time at what it left.

The moments are drawn in three ways: at any time after the writer was let go (its opening of the collection included), at a part
of the time that an operation of its kind takes, and when a file of a commit is seen to appear. The parent keeps the state that
the acknowledged operations make; a killed writer's collection must hold that state, or the one that the operation in flight makes.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import IO, Self

from benchmarks.crash.operations import Operation, create, operation, state_of
from benchmarks.crash.oracle import examine, orphans
from ragkit import Collection

ROOT = Path(__file__).parent.parent.parent
WRITER = (sys.executable, "-m", "benchmarks.crash.writer")
_PATIENCE = 120.0
"""Seconds after which a writer that says nothing counts as failed."""


@dataclass
class Tally:
    """What the kills came to; `problems` are findings and failures in words."""

    kills: int = 0
    inside_commit: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    committed: int = 0
    not_committed: int = 0
    operations: int = 0
    orphans: int = 0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """How far it is."""
        return f"{self.kills} writers killed, {self.inside_commit} inside a commit, {dict(self.findings) or 'all well'}"


class WriterFailed(Exception):
    """A writer ended by itself, or stopped telling."""


class Writer:
    """A writer's process, and what it told."""

    def __init__(self, command: Sequence[str], folder: Path, seed: int) -> None:
        self.begun: tuple[int, str] | None = None
        self.done = 0
        self.told: list[tuple[float, str]] = []
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed on exit
        self._process = subprocess.Popen(
            [*command, str(folder), str(seed)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def in_flight(self) -> bool:
        """Whether an operation was begun and not acknowledged."""
        return self.begun is not None and self.begun[0] != self.done

    def start_at(self, number: int) -> None:
        """Let it go, once it is ready."""
        self.follow(lambda: any(line == "ready" for _, line in self.told))
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n".encode())
        self._process.stdin.flush()

    def follow(self, until: Callable[[], bool], pause: float | None = 0.05) -> None:
        """Take in what it tells until something holds; with no pause, ask again at once. Raises WriterFailed."""
        patient_until = time.monotonic() + _PATIENCE
        while not until():
            if time.monotonic() > patient_until:
                raise WriterFailed(f"it told nothing new for {_PATIENCE:g} s; last: {self.told[-1:]}")
            if self._selector.select(0 if pause is None else pause) and not self._read():
                self._process.wait()
                raise WriterFailed(f"it ended by itself with {self._process.returncode}: {self._said()}")

    def kill(self) -> None:
        """SIGKILL, then take in what it told before."""
        self._process.kill()
        self._process.wait()
        while self._read():
            pass

    def _read(self) -> bool:
        assert self._process.stdout is not None
        try:
            data = os.read(self._process.stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        now = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            verb, _, rest = line.decode().partition(" ")
            if verb == "begin":
                number, _, kind = rest.partition(" ")
                self.begun = int(number), kind
            elif verb == "done":
                self.done = int(rest)
            self.told.append((now, line.decode()))
        return bool(data)

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-1500:]


@dataclass
class Moments:
    """Draws when to kill; learns how long operations take."""

    rng: Random
    seconds: dict[str, float] = field(default_factory=dict)

    def wait(self, writer: Writer, folder: Path) -> None:
        """Follow a writer to its moment; raises WriterFailed."""
        way = self.rng.random()
        if way < 0.15:
            end = time.monotonic() + self.rng.uniform(0, 0.5)
            writer.follow(lambda: time.monotonic() >= end, 0.005)
            return
        nth = self.rng.randint(1, 12)
        writer.follow(lambda: sum(line.startswith("begin") for _, line in writer.told) >= nth)
        if way < 0.55:
            assert writer.begun is not None
            usual = self.seconds.get(writer.begun[1], 0.01)
            end = time.monotonic() + self.rng.uniform(0, 1.1) * usual
            writer.follow(lambda: time.monotonic() >= end, None)
            return
        appeared = self.rng.choice([_new_pointer, _swap, _swap, _new_manifest, _new_segment, _new_bitmap])(folder)
        end = time.monotonic() + 0.3  # it may be a file that the next operations do not write
        writer.follow(lambda: appeared() or time.monotonic() >= end, None)
        more = time.monotonic() + self.rng.choice([0, 0, self.rng.uniform(0, 0.002), self.rng.uniform(0, 0.02)])
        writer.follow(lambda: time.monotonic() >= more, None)

    def learn(self, writer: Writer) -> None:
        """Take in how long the writer's operations took."""
        for (begin, line), (end, acknowledged) in zip(writer.told, writer.told[1:], strict=False):
            if line.startswith("begin") and acknowledged.startswith("done"):
                kind = line.split(" ", 2)[2]
                self.seconds[kind] = 0.7 * self.seconds.get(kind, end - begin) + 0.3 * (end - begin)


def _new_pointer(folder: Path) -> Callable[[], bool]:
    return _new_file(folder / "CURRENT.new")


def _swap(folder: Path) -> Callable[[], bool]:
    return _new_file(folder / "CURRENT")


def _new_manifest(folder: Path) -> Callable[[], bool]:
    newest = max(p.name for p in folder.glob("manifest-*.json"))
    return _new_file(folder / f"manifest-{int(newest[9:-5]) + 1:08d}.json")


def _new_file(path: Path) -> Callable[[], bool]:
    """Tells whether another file than now has a name."""
    before = _inode(path)
    return lambda: _inode(path) not in (None, before)


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _new_segment(folder: Path) -> Callable[[], bool]:
    return _new_name(folder / "segments")


def _new_bitmap(folder: Path) -> Callable[[], bool]:
    return _new_name(folder / "deletes")


def _new_name(folder: Path) -> Callable[[], bool]:
    before = set(os.listdir(folder))
    return lambda: not before.issuperset(os.listdir(folder))


def kill_writers(
    folder: Path,
    kills: int,
    seed: int,
    tell: Callable[[str], None] = lambda line: None,
    *,
    command: Sequence[str] = WRITER,
    enough: int = 50,
) -> Tally:
    """Kill `kills` writers of one collection, one after another, and examine what each left.

    Stops early after `enough` losses, or where the collection can't be opened or written any more.
    """
    create(folder)
    run = _Run(folder, seed)
    following = Writer(command, folder, seed)  # the next starts while what this one left is examined
    try:
        while run.tally.kills < kills and run.tally.findings["lost"] < enough and not run.hopeless:
            writer, following = following, Writer(command, folder, seed)
            with writer:
                run.end(writer)
            run.look(writer)
            if run.tally.kills % 10 == 0:
                tell(run.tally.line())
    finally:
        following.__exit__(None, None, None)
    if not run.hopeless:
        run.finish()
    return run.tally


class _Run:
    """One collection whose writers are killed: the state that the acknowledged operations make, and the number of the next."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed, self._rng, self._moments = folder, seed, Random(seed), Moments(Random(seed + 1))
        self._state: dict[str, int] = {}
        self._number = 1
        self.tally = Tally()

    @property
    def hopeless(self) -> bool:
        """Whether it can't be gone on with."""
        return self.tally.findings["corrupt"] > 0 or self.tally.findings["failed writer"] > 5

    def end(self, writer: Writer) -> None:
        """Let a writer work until its moment, and kill it."""
        try:
            writer.start_at(self._number)
            self._moments.wait(writer, self._folder)
        except WriterFailed as failure:
            self._report("failed writer", str(failure))
        else:
            self.tally.kills += 1
        writer.kill()
        self._moments.learn(writer)

    def look(self, writer: Writer) -> None:
        """Compare what a writer left with what it acknowledged, and with what it was about to do."""
        tally = self.tally
        while self._number <= writer.done:
            self._state = operation(self._seed, self._number, self._state).after(self._state)
            self._number += 1
            tally.operations += 1
        allowed = [self._state]
        if writer.in_flight:
            last = operation(self._seed, self._number, self._state)
            allowed.append(last.after(self._state))
            tally.in_flight[last.kind] += 1
            tally.inside_commit += last.commits(self._state) and _held_the_lock(self._folder, writer.pid)
        found = examine(self._folder, allowed, self._rng)
        if found.problem:
            self._report(found.problem, f"after {[line for _, line in writer.told[-2:]]}: {found.detail}")
        if found.problem == "corrupt":
            return
        self._state = allowed[found.state] if found.state is not None else state_of(Collection.open(self._folder))
        if writer.in_flight:
            undone = found.state == 0 and allowed[0] != allowed[1]
            tally.committed += found.state == 1
            tally.not_committed += undone
            if not undone or self._rng.random() < 0.5:
                self._number += 1  # else the next writer does again what this one could not finish

    def finish(self) -> None:
        """Write once more and compact, and count what no version names."""
        try:
            collection = Collection.open(self._folder)
            Operation(0, "add", ("last",)).apply(collection)
            collection.compact()
            left = orphans(self._folder)
        except Exception as error:
            self._report("corrupt", f"at the end: {type(error).__name__}: {error}")
            return
        self.tally.orphans = len(left)
        if left:
            self.tally.problems.append(f"left behind: {', '.join(left[:5])}")

    def _report(self, problem: str, detail: str) -> None:
        self.tally.findings[problem] += 1
        self.tally.problems.append(f"writer {self.tally.kills}: {problem}: {detail}")


def _held_the_lock(folder: Path, pid: int) -> bool:
    """Whether a killed process left its name as the writer's, which it removes when a commit ends."""
    try:
        return bool(json.loads((folder / "writer.json").read_text())["pid"] == pid)
    except (OSError, ValueError, KeyError):
        return False
