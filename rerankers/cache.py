"""ResultCache: results of reranking on disk, so that the same question over the same passages is paid for once.

An entry is keyed by what decides the result: the reranker with its prompt and settings, the model's fingerprint, the
query with its instruction, and each passage's id and text in their order. Entries are JSON in a SQLite file: nothing
in it is ever executed, a killed process loses no earlier entry, and several processes can share it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

from ragkit.errors import InputError
from ragkit.rerankers.reorder import Ranking

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, result TEXT NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON results (used);
"""


def result_key(reranker: Any, fingerprint: str, query: str, instruction: str, keys: Sequence[str], texts: Sequence[str]) -> str:
    """sha256 over all that decides a result; `reranker` is a dataclass whose fields other than model, cache and on_error count.

    A prompt counts by its text: the one that a name stands for may change from version to version.
    """
    settings = {f.name: repr(getattr(reranker, f.name)) for f in fields(reranker) if f.name not in ("model", "cache", "on_error")}
    settings["template"] = repr(getattr(reranker, "template", None))
    decisive = [_FORMAT, type(reranker).__name__, settings, fingerprint, query, instruction, list(keys), list(texts)]
    return sha256(json.dumps(decisive, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


class ResultCache:
    """Results of rerankers, in one file.

    path        the file; made where it is missing, with the folders above it
    max_bytes   of all entries; the least recently used ones go first
    raises      InputError where the file is no cache of ours
    """

    def __init__(self, path: str | PathLike[str], *, max_bytes: int = 100_000_000) -> None:
        if max_bytes < 1:
            raise InputError(f"max_bytes must be at least 1, got {max_bytes}")
        self.path, self.max_bytes = Path(path), max_bytes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open():
            pass

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection and transaction of this call's own: threads and processes share the file and nothing else."""
        try:
            with closing(sqlite3.connect(self.path, timeout=30.0)) as db, db:
                db.executescript(_SCHEMA)
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _FORMAT):
                    raise InputError(f"{self.path} is a cache of format {version}, and this is format {_FORMAT}; give another file")
                if version == 0:
                    db.execute(f"PRAGMA user_version = {_FORMAT}")
                yield db
        except sqlite3.Error as exc:
            raise InputError(f"{self.path} can't be used as a cache of results ({exc}); give another file, or remove it") from exc

    def get(self, keys: Sequence[str]) -> dict[str, Ranking]:
        """The results known under these keys; they count as used now."""
        found: dict[str, Ranking] = {}
        with self._open() as db:
            for key in keys:
                row = db.execute("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
                ranking = None if row is None else _read(row[0])
                if ranking is not None:
                    found[key] = ranking
                    db.execute("UPDATE results SET used = (SELECT coalesce(max(used), 0) + 1 FROM results) WHERE key = ?", (key,))
        return found

    def put(self, results: Mapping[str, Ranking]) -> None:
        """Remember results, and let go of the least recently used ones beyond `max_bytes`."""
        with self._open() as db:
            for key, ranking in results.items():
                text = json.dumps({"order": ranking.order, "scores": ranking.scores})
                db.execute(
                    "INSERT OR REPLACE INTO results VALUES (?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM results))",
                    (key, text, len(key) + len(text)),
                )
            over = (db.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()[0]) - self.max_bytes
            for key, size in db.execute("SELECT key, bytes FROM results ORDER BY used").fetchall() if over > 0 else []:
                if over <= 0:
                    break
                db.execute("DELETE FROM results WHERE key = ?", (key,))
                over -= size

    def __len__(self) -> int:
        """Results that are remembered."""
        with self._open() as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])

    def clear(self) -> None:
        """Forget all."""
        with self._open() as db:
            db.execute("DELETE FROM results")

    def __repr__(self) -> str:
        return f"ResultCache({str(self.path)!r}, max_bytes={self.max_bytes})"


def _read(text: str) -> Ranking | None:
    """The ranking that an entry holds; None for one that holds none, which is then asked for again."""
    try:
        stored = json.loads(text)
        scores = stored["scores"]
        return Ranking(tuple(int(i) for i in stored["order"]), None if scores is None else tuple(float(s) for s in scores))
    except (ValueError, TypeError, KeyError):
        return None
