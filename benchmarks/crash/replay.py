"""Replay a recorded run up to each of its events, cut the power there, and look at what is left.

What is found must be a whole version, and not older than the last one acknowledged at that moment; from some of the states the
collection is also written on: what was interrupted is done again, or something else, and the collection is compacted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.crash.disk import Disk, Tree
from benchmarks.crash.operations import Operation, State, create, written
from benchmarks.crash.oracle import Finding, examine, orphans
from benchmarks.crash.recorder import Recording, Step
from ragkit import Collection
from ragkit.errors import NotACollectionError


@dataclass(frozen=True)
class Copy:
    """A backup of the collection, under a name beside it."""

    name: str


Act = Operation | Copy | Callable[[Path], None]
"""An operation, a backup, or something else that happens to a collection's folder and does not change its content."""

_MEMORY = "/dev/shm"
"""Where there is such a folder, the states are laid out in it: no device is needed to look at them."""

_CONTINUED = 4
"""Of so many states one is written on."""


@dataclass
class Losses:
    """What a replay came to; `problems` are findings in words."""

    events: int = 0
    states: int = 0
    dropped: int = 0
    reordered: int = 0
    continued: int = 0
    orphans: int = 0
    purged_text: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Losses) -> None:
        """Take in those of another replay."""
        for name in ("events", "states", "dropped", "reordered", "continued", "orphans", "purged_text"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings
        self.problems += other.problems


class Shelf:
    """A real folder that becomes one tree after the other; only what differs is written."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._made, self._tree = scratch, 0, dict[str, bytes | None]()

    @property
    def root(self) -> Path:
        return self._scratch / str(self._made)

    def become(self, tree: Tree, contents: Mapping[bytes, bytes]) -> None:
        """Hold this tree and nothing else."""
        self.root.mkdir(exist_ok=True)
        for path in sorted(self._tree, reverse=True):  # what is in a folder before it
            if path not in tree or self._tree[path] != tree[path]:
                (self.root / path).rmdir() if self._tree[path] is None else (self.root / path).unlink()
                del self._tree[path]
        for path in sorted(tree.keys() - self._tree.keys()):
            digest = self._tree[path] = tree[path]
            (self.root / path).mkdir() if digest is None else (self.root / path).write_bytes(contents[digest])

    def discard(self) -> None:
        """Begin anew: something else has written in it."""
        shutil.rmtree(self.root)
        self._made, self._tree = self._made + 1, {}


class Replay:
    """A run that is replayed: a collection at root/name is made (step 0), then each act is done."""

    def __init__(self, name: str, acts: Sequence[Act], seed: int) -> None:
        self._name, self._acts, self._rng = name, acts, Random(seed)
        self.losses = Losses()
        self._states: list[State] = [{}]
        for act in acts:
            self._states.append(act.after(self._states[-1]) if isinstance(act, Operation) else self._states[-1])
        self._begun = self._returned = -1
        self._seen: set[tuple[int, int, frozenset[tuple[str, bytes | None]]]] = set()

    def run(self, recording: Recording, *, draws: int = 3, enough: int = 50, tell: Callable[[str], None] = lambda line: None) -> Losses:
        """Cut the power after each event, in every way of `power_disk`; stops after `enough` losses."""
        disk, losses = Disk.of(recording), self.losses
        with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as scratch:
            shelf = Shelf(Path(scratch))
            for at, event in enumerate((None, *recording.events)):
                if isinstance(event, Step):
                    self._begun, self._returned = (self._begun, event.number) if event.returned else (event.number, self._returned)
                elif event is not None:
                    disk.take(event)
                losses.events = at
                for tree in (dropped := disk.dropped(), *disk.reordered(self._rng, draws)):
                    losses.dropped += tree is dropped
                    losses.reordered += tree is not dropped
                    self._cut(shelf, tree, disk.contents, f"event {at} {self._moment()}, {'dropped' if tree is dropped else 'reordered'}")
                losses.purged_text += self._purged_text(dropped, disk.contents) if isinstance(event, Step) else 0
                if at % 200 == 0:
                    tell(f"{at} of {len(recording.events)} events, {losses.states} states, {dict(losses.findings) or 'all well'}")
                if losses.findings.total() >= enough:
                    break
        return losses

    def _moment(self) -> str:
        step = max(self._begun, self._returned)
        act = self._acts[step - 1] if step > 0 else None
        what = act.kind if isinstance(act, Operation) else "copy" if isinstance(act, Copy) else "leave behind" if act else "create"
        return f"{'in' if self._begun > self._returned else 'after'} step {step} ({what})"

    def _cut(self, shelf: Shelf, tree: Tree, contents: Mapping[bytes, bytes], moment: str) -> None:
        """Look at one state, unless it was seen at this moment before."""
        key = (self._begun, self._returned, frozenset(tree.items()))
        if key in self._seen:
            return
        self._seen.add(key)
        self.losses.states += 1
        shelf.become(tree, contents)
        root, folder = shelf.root, shelf.root / self._name
        go_on = self.losses.states % _CONTINUED == 0 or _unpublished(folder)
        found = self._look(folder)
        if not found.problem:
            found = self._look_at_copy(root) or found
        if go_on and not found.problem:
            found = self._go_on(folder, found)
        if go_on or self._returned < 0:
            shelf.discard()
        if found.problem:
            self.losses.findings[found.problem] += 1
            self.losses.problems.append(f"{moment}: {found.problem}: {found.detail.replace(f'{root}/', '')}")

    @property
    def _allowed(self) -> list[State]:
        return self._states[max(self._returned, 0) : max(self._begun, 0) + 1]

    def _look(self, folder: Path) -> Finding:
        if self._returned < 0 and _is_absent(folder):
            try:
                create(folder)
            except Exception as error:
                return Finding(problem="not to be made again", detail=f"{type(error).__name__}: {error}")
        return examine(folder, self._allowed, self._rng, searches=1)

    def _look_at_copy(self, root: Path) -> Finding | None:
        """What is wrong with a backup that was just begun, or acknowledged a step ago."""
        for step in {max(self._begun - 1, 1), max(self._begun, 1)} if self._acts else ():
            act = self._acts[step - 1]
            if not isinstance(act, Copy) or (step > self._returned and _is_absent(root / act.name)):
                continue
            if step <= self._begun and (found := examine(root / act.name, [self._states[step]], self._rng, searches=1)).problem:
                return Finding(found.state, f"{found.problem} in a copy", found.detail)
        return None

    def _go_on(self, folder: Path, found: Finding) -> Finding:
        """Write on, the interrupted operation again or something else, compact, and look again."""
        self.losses.continued += 1
        state = self._allowed[found.state or 0]
        some = tuple(sorted(state)[:2])
        ways = [
            Operation(901, "add", ("new",)), Operation(902, "upsert", ("newer", *some)), Operation(903, "delete", some or ("none",)),
            Operation(904, "compact"), Operation(905, "purge"), Operation(906, "purge"),
        ]  # fmt: skip
        first = self._rng.choice(ways)
        interrupted = self._acts[self._begun - 1] if self._begun > max(self._returned, 0) and not found.state else None
        if isinstance(interrupted, Operation) and self._rng.random() < 0.5:
            first = interrupted
        elif _unpublished(folder):
            first = self._rng.choice(ways[3:])
        done = [first, self._rng.choice(ways[2:]), Operation(907, "add", ("last",)), self._rng.choice(ways[3:5])]
        try:
            collection = Collection.open(folder)
            for act in done:
                act.apply(collection)
                state = act.after(state)
        except Exception as error:
            return Finding(problem="not to be written", detail=f"{type(error).__name__}: {error} in {[d.kind for d in done]}")
        again = examine(folder, [state], self._rng, searches=1)
        if again.problem:
            return Finding(problem=f"{again.problem} after writing on", detail=f"{again.detail} after {[d.kind for d in done]}")
        left = orphans(folder)
        self.losses.orphans += len(left)
        return again

    def _purged_text(self, tree: Tree, contents: Mapping[bytes, bytes]) -> int:
        """How many files that last hold a text that was deleted before the purge that has just returned."""
        act = self._acts[self._returned - 1] if self._begun == self._returned > 0 else None
        if not isinstance(act, Operation) or act.kind != "purge":
            return 0
        ever = {(i, n) for state in self._states[: self._returned] for i, n in state.items()}
        gone = [written(i, n).text.encode() for i, n in sorted(ever - set(self._states[self._returned].items()))]
        files = {digest for path, digest in tree.items() if digest is not None and path.startswith(f"{self._name}/")}
        return sum(any(text in contents[digest] for text in gone) for digest in files)


def _unpublished(folder: Path) -> bool:
    """Whether there is a manifest that was written and never made the live one: a trap for a writer that goes on."""
    try:
        live = (folder / "CURRENT").read_text("ascii").split(" ")[0]
    except (OSError, ValueError):
        return False
    return any(path.name > live for path in folder.glob("manifest-*.json"))


def _is_absent(folder: Path) -> bool:
    try:
        Collection.open(folder)
    except NotACollectionError:
        return True
    except Exception:  # `examine` will tell
        return False
    return False
