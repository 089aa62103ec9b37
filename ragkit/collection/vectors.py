"""Vector columns: one float32 row a passage, under the fingerprint of the encoder that made it.

A text is encoded once: what a live segment or an interrupted run holds of it already, by the hash of
the text, is copied. While a long column is encoded, finished work is kept in ``staging/``, so that a
run that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragkit.collection.files import save_array, save_rows, sync_file
from ragkit.collection.segment import KEYS, SegmentColumns
from ragkit.errors import InputError, ShapeError
from ragkit.progress import Progress, track
from ragkit.protocols import Encoder, VectorIndex

_log = logging.getLogger(__name__)

GIVEN = "given-"
"""How the names of columns begin whose vectors come from the caller."""

_BLOCK = 8192
"""Rows of a column that are put together in memory before they are written."""

_STAGED_FROM = 2048
"""Texts to encode from which on finished work is kept: less is sooner done again."""


def text_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """(n, 2) hashes of 128 bits: equal texts have equal keys, and different texts in practice different ones."""
    joined = b"".join(blake2b(t.encode(), digest_size=16).digest() for t in texts)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


class KnownVectors:
    """Vectors of texts that were encoded before, found by their keys."""

    def __init__(self, column: str, segments: Sequence[SegmentColumns], staging: Path) -> None:
        self._column = column
        self._sources: list[tuple[NDArray[np.uint64], NDArray[np.float32]]] = []
        for columns in segments:
            if columns.has_vectors(column) and columns.has_text_keys():
                self._sources.append((columns.memo("sorted text keys", lambda c=columns: _sorted(c.text_keys())), columns.vectors(column)))  # type: ignore[misc]
        for shard in sorted(staging.glob("*.npy")):
            held = _shard(shard)
            if held is not None:
                self._sources.append((_sorted(held["key"]), held["vector"]))

    def learn(self, columns: SegmentColumns) -> None:
        """Take in the column of a segment that was just made."""
        self._sources.append((_sorted(columns.text_keys()), columns.vectors(self._column)))

    def find(self, keys: NDArray[np.uint64], dim: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(source, row in it) of the vector of each key (n, 2); source -1 where it is not known."""
        source, row = np.full(len(keys), -1, np.int32), np.zeros(len(keys), np.int64)
        for n, (table, vectors) in enumerate(self._sources):
            if not len(table) or vectors.shape[1] != dim:
                continue
            at = np.minimum(np.searchsorted(table[:, 0], keys[:, 0]), len(table) - 1)
            found = (source < 0) & (table[at, 0] == keys[:, 0]) & (table[at, 1] == keys[:, 1])
            source[found], row[found] = n, table[at[found], 2]
        return source, row

    def copy(self, source: NDArray[np.int32], row: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the vectors that `find` found into out (n, dim)."""
        for n in np.unique(source[source >= 0]).tolist():
            out[source == n] = self._sources[n][1][row[source == n]]


def _sorted(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(n, 3) both halves of each key and its row, ordered by the first half."""
    order = np.argsort(keys[:, 0], kind="stable")
    return np.column_stack((keys[order], order.astype(np.uint64)))


def _shard(path: Path) -> NDArray[np.void] | None:
    """A file of finished work; None where it is not whole."""
    try:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return held if held.dtype.names == ("key", "vector") else None


def write_keys(folder: Path, texts: Sequence[str]) -> NDArray[np.uint64]:
    """Write the keys of a segment's texts beside its vectors; returns them."""
    keys = text_keys(texts)
    save_array(folder / KEYS, keys)
    return keys


def encode_column(
    path: Path, texts: Sequence[str], keys: NDArray[np.uint64], encoder: Encoder, known: KnownVectors, staging: Path, progress: Progress
) -> None:
    """Write the column of one encoder, encoding only what is not known, each text once.

    path     the new file, of float32 (len(texts), encoder.dim)
    staging  folder of finished work of this encoder
    """
    source, row = known.find(keys, encoder.dim)
    missing = np.flatnonzero(source < 0)
    _, first, same = np.unique(keys[missing], axis=0, return_index=True, return_inverse=True)
    turn = np.argsort(first)  # in the order of the texts, so that neighbours stay together
    todo = missing[first[turn]]
    made = np.empty((len(todo), encoder.dim), np.float32)
    keep = len(todo) >= _STAGED_FROM
    with track(f"encoding with {encoder.model}", len(todo), progress) as tracker:
        for start, vectors in encoder.chunks([texts[i] for i in todo]):
            made[start : start + len(vectors)] = vectors
            if keep:
                _keep(staging, keys[todo[start : start + len(vectors)]], vectors)
            tracker.advance(len(vectors))
    position = np.empty(len(todo), np.int64)
    position[turn] = np.arange(len(todo))
    row[missing] = position[same.reshape(-1)]

    def block(start: int) -> NDArray[np.float32]:
        some = slice(start, start + _BLOCK)
        out = np.empty((len(source[some]), encoder.dim), np.float32)
        known.copy(source[some], row[some], out)
        new = source[some] < 0
        out[new] = made[row[some][new]]
        return out

    save_rows(path, map(block, range(0, len(texts), _BLOCK)), (len(texts), encoder.dim), np.float32)
    _log.info("%s: %d texts encoded with %s, %d known", path, len(todo), encoder.model, len(texts) - len(missing))


def _keep(staging: Path, keys: NDArray[np.uint64], vectors: NDArray[np.float32]) -> None:
    staging.mkdir(parents=True, exist_ok=True)
    shard = np.empty(len(keys), [("key", np.uint64, 2), ("vector", np.float32, vectors.shape[1])])
    shard["key"], shard["vector"] = keys, vectors
    path = staging / f"{keys[0, 0]:016x}{keys[0, 1]:016x}.npy"
    temporary = path.with_suffix(".new")
    save_array(temporary, shard)
    sync_file(temporary)
    temporary.replace(path)


def given_names(indexes: Iterable[VectorIndex]) -> frozenset[str]:
    """Names of the vectors that these indexes expect from the caller."""
    return frozenset(spec.column.removeprefix(GIVEN) for spec in indexes if spec.column.startswith(GIVEN))


def check_given(id: str, passages: int, vectors: Mapping[str, NDArray[np.float32]], expected: frozenset[str]) -> None:
    """Raise InputError unless a document comes with just the vectors that are expected, and they are usable."""
    if vectors.keys() != expected:
        raise InputError(
            f"document {id!r} came with vectors {sorted(vectors)} where this collection's indexes expect {sorted(expected)}; "
            "give them as add(documents, vectors={name: array})"
        )
    for name, vector in vectors.items():
        if passages != 1:
            raise InputError(
                f"document {id!r} was cut into {passages} passages and came with one vector {name!r}; "
                "make the collection with chunker=None and give documents of one passage each"
            )
        if vector.ndim != 1 or not np.isfinite(vector).all():
            what = "NaN or infinity" if vector.ndim == 1 else f"the shape {vector.shape}"
            raise InputError(f"the vector {name!r} of document {id!r} has {what}; give one row of finite numbers a document")


def write_given(path: Path, column: str, given: Sequence[Mapping[str, NDArray[np.float32]]], segments: Sequence[SegmentColumns]) -> None:
    """Write a column of vectors that the caller gave, one a passage; they must have the dimension of those in the segments."""
    name = column.removeprefix(GIVEN)
    rows = [v[name] for v in given if name in v]
    stored = {c.vectors(column).shape[1] for c in segments[:1]}
    wrong = {len(r) for r in rows} - (stored or {len(rows[0])} if rows else set())
    if wrong:
        raise ShapeError(
            f"vectors {name!r} with {wrong.pop()} dimensions where {(stored or {len(rows[0])}).pop()} are stored; give vectors of one model"
        )
    save_array(path, np.array(rows, np.float32))
