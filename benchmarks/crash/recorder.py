"""Record what a run does to a folder: names, contents and syncs, in order.

Only the calls that give order on a disk are intercepted (fsync, rename, unlink, mkdir, rmdir …). Libraries write through C++ and
through mapped memory, so writes are not intercepted: before and after each such call the whole folder is read and compared by inode
with what it was, and everything that changed in between is known as a change that nothing has synced yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from types import MappingProxyType, TracebackType
from typing import Any, Self

ROOT = 0
"""The node of the recorded folder itself."""

_SYNCS = ("fsync", "fdatasync")
_NAMES = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "link", "symlink", "truncate")


@dataclass(frozen=True)
class Named:
    """A change of names that happens whole or not at all: for each (folder, name) the node that it names now, or None."""

    edits: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Content:
    """A file has another content."""

    node: int
    digest: bytes


@dataclass(frozen=True)
class Synced:
    """A file's content, or a folder's names, were flushed to the disk."""

    node: int


@dataclass(frozen=True)
class Step:
    """A step of the run was begun, or has returned."""

    number: int
    returned: bool


Event = Named | Content | Synced | Step


@dataclass(frozen=True)
class Recording:
    """The events of a run; folders are the nodes that are folders, contents holds the bytes of each digest."""

    events: tuple[Event, ...]
    folders: frozenset[int]
    contents: Mapping[bytes, bytes] = field(repr=False)

    def without(self, left_out: Callable[[Synced], bool]) -> Recording:
        """The same run with some of its syncs not done."""
        return Recording(tuple(e for e in self.events if not (isinstance(e, Synced) and left_out(e))), self.folders, self.contents)


def digest_of(content: bytes) -> bytes:
    """Name of a content."""
    return blake2b(content, digest_size=16).digest()


class Recorder:
    """Records while it is entered; one at a time in a process. What is in the folder at the start counts as synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        self._real: dict[str, Callable[..., Any]] = {}
        self._lock = RLock()
        self._nodes: dict[int, int] = {}  # of each inode that is there
        self._made = ROOT
        self._folders = {ROOT}
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._seen: dict[int, bytes] = {}
        self._contents: dict[bytes, bytes] = {}
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        self._nodes = {os.stat(self._folder).st_ino: ROOT}
        self._look()
        self._events += [Synced(n) for n in (*self._names, *self._seen)]
        for name in (*_SYNCS, *_NAMES):
            real = getattr(os, name)
            self._real[name] = real
            setattr(os, name, (self._syncing if name in _SYNCS else self._naming)(real))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        self._look()

    def step(self, number: int, *, returned: bool) -> None:
        """Note that a step begins or has returned."""
        with self._lock:
            self._look()
            self._events.append(Step(number, returned))

    def recording(self) -> Recording:
        """What was recorded so far."""
        return Recording(tuple(self._events), frozenset(self._folders), MappingProxyType(self._contents))

    def _syncing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def sync(fd: Any) -> None:
            number = fd if isinstance(fd, int) else fd.fileno()
            with self._lock:
                inode = os.fstat(number).st_ino
                self._look()
                real(number)
                if inode in self._nodes:
                    self._events.append(Synced(self._nodes[inode]))

        return sync

    def _naming(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def name(*args: Any, **kwargs: Any) -> Any:
            paths = [os.fspath(a) for a in args if isinstance(a, str | os.PathLike)]
            if not kwargs.get("dir_fd") and not any(os.path.abspath(p).startswith(self._folder) for p in paths):
                return real(*args, **kwargs)
            with self._lock:
                self._look()
                try:
                    return real(*args, **kwargs)
                finally:
                    self._look(as_one=True)

        return name

    def _look(self, *, as_one: bool = False) -> None:
        """Note what changed since the last look; as_one: its names changed in one step."""
        nodes: dict[int, int] = {os.stat(self._folder).st_ino: ROOT}
        names: dict[int, dict[str, int]] = {}
        seen: dict[int, bytes] = {}
        self._walk(self._folder, ROOT, nodes, names, seen)
        edits: list[tuple[int, str, int | None]] = [
            (f, n, node) for f, of_one in names.items() for n, node in of_one.items() if self._names.get(f, {}).get(n) != node
        ]
        edits += [(f, n, None) for f, of_one in self._names.items() for n in of_one if f in names and n not in names[f]]
        if edits:
            self._events += [Named(tuple(edits))] if as_one else [Named((edit,)) for edit in edits]
        self._events += [Content(node, digest) for node, digest in seen.items() if self._seen.get(node) != digest]
        self._nodes, self._names, self._seen = nodes, names, seen

    def _walk(self, path: str, folder: int, nodes: dict[int, int], names: dict[int, dict[str, int]], seen: dict[int, bytes]) -> None:
        of_one = names.setdefault(folder, {})
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                inode = entry.inode()
                node = nodes.get(inode, self._nodes.get(inode))
                if node is None:
                    self._made += 1
                    node = self._made
                nodes[inode] = of_one[entry.name] = node
                if entry.is_dir(follow_symlinks=False):
                    self._folders.add(node)
                    self._walk(entry.path, node, nodes, names, seen)
                else:
                    seen[node] = self._read(entry.path)

    def _read(self, path: str) -> bytes:
        with open(path, "rb") as f:
            content = f.read()
        digest = digest_of(content)
        self._contents.setdefault(digest, content)
        return digest
