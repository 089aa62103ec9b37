"""A disk that forgets: what it may hold after the power went off, by the rules of POSIX and no kinder ones.

fsync of a file makes its content last, and not its name; fsync of a folder makes its names last, and not what they name; a rename
happens whole or not at all. Of everything else, any part may have reached the disk: of the names of each folder any changes, in
their order, and of a file's content nothing, all, a beginning, or other bytes of its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from benchmarks.crash.recorder import ROOT, Content, Event, Named, Recording, Synced, digest_of

Tree = Mapping[str, bytes | None]
"""{path: digest of a file's content, or None for a folder}."""

EMPTY = digest_of(b"")


@dataclass
class Disk:
    """Names and contents that last, and those that do not yet."""

    contents: dict[bytes, bytes]
    folders: frozenset[int]
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    lasting: dict[int, bytes] = field(default_factory=dict)
    written: dict[int, bytes] = field(default_factory=dict)
    pending: list[Named] = field(default_factory=list)

    @classmethod
    def of(cls, recording: Recording) -> Disk:
        """The empty disk on which a recording begins."""
        return cls({EMPTY: b"", **recording.contents}, recording.folders)

    def take(self, event: Event) -> None:
        """Let an event happen."""
        if isinstance(event, Named):
            self.pending.append(event)
        elif isinstance(event, Content):
            self.written[event.node] = event.digest
        elif isinstance(event, Synced) and event.node in self.written:
            self.lasting[event.node] = self.written[event.node]
        elif isinstance(event, Synced):
            rest = []
            for change in self.pending:
                if any(folder == event.node for folder, _, _ in change.edits):
                    _rename(self.names, change)
                else:
                    rest.append(change)
            self.pending = rest

    def dropped(self) -> Tree:
        """Everything that was not synced is gone; a file whose name alone lasts is empty."""
        return self._tree(self.names, self.lasting)

    def reordered(self, rng: Random, draws: int) -> Iterator[Tree]:
        """All names without their contents, all contents without their names, all of both, and some of each, drawn at random."""
        all_names = self._names(self.pending)
        yield self._tree(all_names, self.lasting)
        yield self._tree(self.names, self.written)
        yield self._tree(all_names, self.written)
        for _ in range(draws):
            names = self._names(_some(self.pending, rng))
            yield self._tree(names, {**self.lasting, **{n: self._part(n, rng) for n in self.written if self._unsynced(n)}})

    def _unsynced(self, node: int) -> bool:
        return self.lasting.get(node) != self.written[node]

    def _part(self, node: int, rng: Random) -> bytes:
        """What may have become of a content that was not synced."""
        content, before = self.contents[self.written[node]], self.contents[self.lasting.get(node, EMPTY)]
        made = rng.choice(
            (
                lambda: before,
                lambda: content,
                lambda: content[: rng.randrange(len(content) + 1)],
                lambda: bytes(len(content)),
                lambda: rng.randbytes(len(content)),
                lambda: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
            )
        )()
        digest = digest_of(made)
        self.contents.setdefault(digest, made)
        return digest

    def _names(self, changes: list[Named]) -> dict[int, dict[str, int]]:
        names = {folder: dict(of_one) for folder, of_one in self.names.items()}
        for change in changes:
            _rename(names, change)
        return names

    def _tree(self, names: Mapping[int, Mapping[str, int]], contents: Mapping[int, bytes]) -> Tree:
        tree: dict[str, bytes | None] = {}
        todo = [("", ROOT)]
        while todo:
            path, folder = todo.pop()
            for name, node in names.get(folder, {}).items():
                if node in self.folders:
                    tree[path + name] = None
                    todo.append((f"{path}{name}/", node))
                else:
                    tree[path + name] = contents.get(node, EMPTY)
        return tree


def _some(changes: list[Named], rng: Random) -> list[Named]:
    """Some changes in their order: one of them, all but one, or each with one chance."""
    one, share = rng.randrange(len(changes) + 1), rng.choice((None, None, 0.0, 0.2, 0.5, 0.8, 1.0))
    if share is None:
        return changes[:one] + changes[one + 1 :]
    return changes[one : one + 1] if not share else [change for change in changes if rng.random() < share]


def _rename(names: dict[int, dict[str, int]], change: Named) -> None:
    for folder, name, node in change.edits:
        if node is None:
            names.setdefault(folder, {}).pop(name, None)
    for folder, name, node in change.edits:
        if node is not None:
            names.setdefault(folder, {})[name] = node
