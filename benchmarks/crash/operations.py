"""What the writers of the crash benchmark do: operations that follow from a seed, a number and the state before them, and nothing else.

A state is {id: number of the operation that wrote the document}. Text, metadata and vector of a document follow from its id and
that number, so that a state tells the whole content of a collection, and a writer that takes over from a killed one needs the
collection alone to go on.
"""

from __future__ import annotations

import os
import string
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from random import Random

import numpy as np

import ragkit.collection.memory as memory
from ragkit import BM25, Collection, Dense, Document, F

State = Mapping[str, int]

SPEC = BM25(language="none")
DIM = 8
GROUPS = 9
LARGEST = 900
"""Documents from which on more is deleted than added."""

_SHORT = 3000
_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
_WORDS = [a + b for a in _SYLLABLES[::3] for b in _SYLLABLES[::7]]


class Broken(Exception):
    """Raised in the middle of a commit, on purpose."""


@dataclass(frozen=True)
class Written:
    """One document as an operation wrote it."""

    id: str
    text: str
    group: int
    vector: tuple[float, ...]

    @property
    def document(self) -> Document:
        return Document(self.text, id=self.id, meta={"group": self.group})


@lru_cache(maxsize=20_000)
def written(id: str, number: int) -> Written:
    """A document: some words that many have, one of its id, one of this writing of it."""
    rng = Random(f"{id} {number}")
    words = rng.choices(_WORDS, k=rng.randint(5, 14))
    words.insert(rng.randrange(len(words)), f"id{letters(id)}")
    words.append(f"by{letters(str(number))}")
    numbers = np.frombuffer(blake2b(f"{id} {number}".encode(), digest_size=4 * DIM).digest(), "<i4") / 2**31
    return Written(id, " ".join(words), rng.randrange(GROUPS), tuple(numbers.tolist()))


def letters(text: str) -> str:
    """A word that no analyzer takes apart, for a short text of letters and digits."""
    return "".join(chr(ord("k") + int(c)) if c.isdigit() else c for c in text if c in string.ascii_lowercase + string.digits)


@dataclass(frozen=True)
class Operation:
    """One call that changes a collection, or tries to.

    kind    "add", "upsert", "delete", "delete where", "compact", "purge", "broken add" (raises half way),
            "nothing" (deletes what is not there)
    ids     documents that are written or deleted
    groups  of "delete where": documents of these groups go
    aged    before it, all versions are made to look an hour old, so that this commit drops old ones
    cut     segments end after few documents, so that a large add makes several, which a rerun takes over
    """

    number: int
    kind: str
    ids: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    aged: bool = False
    cut: bool = False

    def after(self, state: State) -> dict[str, int]:
        """The state that this makes of one."""
        if self.kind in ("add", "upsert"):
            return {**state, **dict.fromkeys(self.ids, self.number)}
        if self.kind == "delete":
            return {i: n for i, n in state.items() if i not in set(self.ids)}
        if self.kind == "delete where":
            return {i: n for i, n in state.items() if written(i, n).group not in self.groups}
        return dict(state)

    def commits(self, state: State) -> bool:
        """Whether it publishes a version."""
        return self.kind in ("compact", "purge") or self.after(state) != state

    def apply(self, collection: Collection) -> None:
        """Do it."""
        if self.aged:
            age(collection.folder)
        with _segments_of(_SHORT if self.cut else memory.SEGMENT_TEXT):
            self._call(collection)

    def _call(self, collection: Collection) -> None:
        documents = [written(i, self.number) for i in self.ids]
        vectors = {"v": np.array([w.vector for w in documents], np.float32).reshape(-1, DIM)}
        if self.kind == "add":
            collection.add([w.document for w in documents], vectors=vectors)
        elif self.kind == "upsert":
            collection.upsert([w.document for w in documents], vectors=vectors)
        elif self.kind in ("delete", "nothing"):
            collection.delete(self.ids)
        elif self.kind == "delete where":
            collection.delete(where=F.group.in_(self.groups))
        elif self.kind in ("compact", "purge"):
            collection.compact(purge=self.kind == "purge")
        elif self.kind == "broken add":
            try:
                collection.add(_breaks([w.document for w in documents]), vectors=vectors)
            except Broken:
                return
            raise AssertionError("an add whose documents raise ended well")
        else:
            raise AssertionError(self.kind)


def _breaks(documents: list[Document]) -> Iterator[Document]:
    yield from documents[: len(documents) // 2 + 1]
    raise Broken


@contextmanager
def _segments_of(text: int) -> Iterator[None]:
    """Segments end after so many bytes of text."""
    usual = memory.SEGMENT_TEXT
    memory.SEGMENT_TEXT = text
    try:
        yield
    finally:
        memory.SEGMENT_TEXT = usual


def age(folder: Path) -> None:
    """Make all versions look an hour old."""
    then = time.time() - 3600
    for path in folder.glob("manifest-*.json"):
        os.utime(path, (then, then))


def create(folder: Path) -> Collection:
    """An empty collection with an index of each sort."""
    return Collection.create(folder, indexes=[SPEC, Dense(vectors="v", factory="Flat")], chunker=None, schema={"group": "int"})


def state_of(collection: Collection) -> dict[str, int]:
    """The state that a collection holds, by the words that name the operation; what does not fit any comes out as number -1."""
    state: dict[str, int] = {}
    for document in collection:
        word = document.text.rpartition(" by")[2]
        number = "".join(str(ord(c) - ord("k")) for c in word)
        state[document.id] = int(number) if number.isdigit() else -1
    return state


def operation(seed: int, number: int, state: State) -> Operation:
    """The operation of that number on a state."""
    rng = Random(f"{seed} {number}")
    stored = sorted(state)
    aged, cut = rng.random() < 0.1, rng.random() < 0.3
    new = [f"d{number}x{i}" for i in range(rng.randint(1, 40))]
    many = len(stored) > LARGEST
    kind = rng.choices(
        ["add", "large add", "upsert", "delete", "delete where", "compact", "purge", "broken add", "nothing"],
        [3 if many else 22, 0 if many else 2, 22, 16, 24 if many else 4, 5, 2, 3, 1],
    )[0]
    if kind == "large add":  # more than 256 passages: index parts are built
        return Operation(number, "add", tuple(f"d{number}x{i}" for i in range(rng.randint(260, 330))), aged=aged, cut=cut)
    if kind == "add":
        return Operation(number, "add", tuple(new), aged=aged, cut=cut)
    if kind == "upsert":
        known = rng.sample(stored, min(len(stored), rng.randint(0, 30)))
        return Operation(number, "upsert", (*known, *new[: rng.randint(0 if known else 1, 10)]), aged=aged, cut=cut)
    if kind == "delete":
        return Operation(number, "delete", tuple(rng.sample(stored, min(len(stored), rng.randint(1, 25)))) or ("none",), aged=aged, cut=cut)
    if kind == "delete where":
        return Operation(number, "delete where", groups=tuple(rng.sample(range(GROUPS), 3 if many else 1)), aged=aged, cut=cut)
    if kind in ("compact", "purge"):
        return Operation(number, kind, aged=aged, cut=cut)
    return Operation(number, kind, tuple(new) if kind == "broken add" else ("none",), aged=aged, cut=cut)
