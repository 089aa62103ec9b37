"""One writer that commits every second, four processes that search all the while: whether every result is that of one whole version.

What a version holds is a function of its number, so that any process can work out, with loops over plain Python objects and
without ragkit, what a search of it must give: BM25's formula over its texts, and the dot product of its vectors.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ragkit import BM25, Collection, Dense, Document, Query

SIZES = {"full": 60, "small": 6}
"""Seconds."""

READERS = 4
INTERVAL = 1.0
"""Seconds from one commit to the next."""

DOCUMENTS = 400
_CHANGED = 30
"""Documents that an even version deletes; an odd one writes twice as many."""

CLOCK = "clock"
"""A document that tells which version wrote last."""

_WORDS = [f"word{i}" for i in range(120)]
READY = "ready"
QUERIES = 200
_DIM = 16
_K = 10
K1, B = 0.9, 0.4


def run(data: Path, size: str = "full") -> dict[str, Any]:
    """Let them run, then compare every result with that of the version that it names."""
    del data
    seconds = SIZES[size]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "c.rag")
        made = Collection.create(
            folder, indexes=[BM25(language="none", identifiers=False), Dense(vectors="v", similarity="dot")], chunker=None
        )
        first = Version.of(0)
        _upsert(made, first, list(first.texts), 0)
        commands = [[sys.executable, "-m", "benchmarks.concurrency", "read", str(folder), str(seconds), str(n)] for n in range(READERS)]
        outputs = [Path(scratch, f"reader{n}") for n in range(READERS)]
        readers = [_started(c, out) for c, out in zip(commands, outputs, strict=True)]
        commits = _write(made, seconds)
        for reader in readers:
            reader.wait(timeout=120)
        errors = sum(r.returncode != 0 for r in readers)
        ok = Collection.open(folder).check().ok
        records = [json.loads(line) for out in outputs for line in out.read_text().splitlines() if line != READY]
    errors += sum("error" in r for r in records)
    found = [r for r in records if "hits" in r]
    torn = sum(not _right(r) for r in found)
    for told in sorted({r["error"] for r in records if "error" in r})[:10]:
        print(told, file=sys.stderr)
    return {
        "benchmark": "concurrency",
        "quality": {"errors": errors, "torn_reads": torn, "check_ok_after": ok},
        "context": {
            "seconds": seconds,
            "readers": READERS,
            "commits": commits,
            "searches": len(found),
            "versions_read": len({(r["clock"], r["documents"]) for r in found}),
        },
    }


# --- what a version holds -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """texts and vectors of the documents that are alive, in the order in which they were last written."""

    number: int
    texts: dict[str, str]
    vectors: dict[str, list[float]]

    @classmethod
    def of(cls, number: int) -> Version:
        """Version 0, with the changes of all versions up to this one."""
        made = cls(0, {}, {})
        for id in (CLOCK, *(f"d{n}" for n in range(DOCUMENTS))):
            made._put(id, 0)
        for v in range(1, number + 1):
            made.step(v)
        return cls(number, made.texts, made.vectors)

    def _put(self, id: str, version: int) -> None:
        random = Random(f"{id} {version}")
        self.texts.pop(id, None)
        self.texts[id] = " ".join(random.choices(_WORDS, k=random.randint(3, 30)))
        self.vectors[id] = [float(random.randint(-9, 9)) for _ in range(_DIM)]

    def step(self, version: int) -> list[str]:
        """Make the changes of one version: an odd one writes documents, an even one deletes some; returns their ids."""
        random = Random(version)
        if version % 2 == 0:
            ids = random.sample([id for id in self.texts if id != CLOCK], _CHANGED)
            for id in ids:
                del self.texts[id], self.vectors[id]
            return ids
        ids = [CLOCK, *(f"d{n}" for n in random.sample(range(DOCUMENTS), 2 * _CHANGED))]
        for id in ids:
            self._put(id, version)
        return ids


def query_of(number: int) -> tuple[str, list[float]]:
    """The words and the vector of one of many queries."""
    random = Random(f"query {number}")
    return " ".join(random.sample(_WORDS, 3)), [float(random.randint(-9, 9)) for _ in range(_DIM)]


def bm25(version: Version, words: str) -> list[tuple[str, float]]:
    """(id, score) of the k best by the formula of Robertson et al., with Lucene's idf."""
    counts = {id: Counter(text.split()) for id, text in version.texts.items()}
    mean = sum(map(len, (t.split() for t in version.texts.values()))) / len(counts)
    scores: dict[str, float] = {}
    for word in words.split():
        df = sum(word in c for c in counts.values())
        for id, c in counts.items():
            if word in c:
                norm = 1 - B + B * c.total() / mean
                idf = math.log(1 + (len(counts) - df + 0.5) / (df + 0.5))
                scores[id] = scores.get(id, 0.0) + idf * c[word] / (c[word] + K1 * norm)
    return sorted(scores.items(), key=lambda at: -at[1])[:_K]


def dot(version: Version, vector: list[float]) -> list[tuple[str, float]]:
    """(id, score) of the k best by the dot product."""
    scores = {id: sum(a * b for a, b in zip(v, vector, strict=True)) for id, v in version.vectors.items()}
    return sorted(scores.items(), key=lambda at: -at[1])[:_K]


def _right(record: dict[str, Any]) -> bool:
    """Whether a search's hits are those of one version: the right scores, of documents that have the texts of that version."""
    clock = int(record["clock"])
    found = next((v for v in map(_version, (clock, clock + 1)) if len(v.texts) == record["documents"]), None)
    if found is None:
        return False
    expected = _expected(found.number, record["query"], record["using"])
    scores, hits = np.array([s for _, s in expected]), record["hits"]
    if len(hits) != len(scores) or not np.allclose([score for _, score, _ in hits], scores, rtol=1e-4):
        return False
    least = scores[-1] if len(scores) else 0.0
    sure = {id for id, s in expected if s > least + 1e-4 * abs(least)}  # of those that tie at the end any may come
    return sure <= {id for id, _, _ in hits} and all(found.texts.get(id) == text for id, _, text in hits)


@cache
def _expected(version: int, query: int, using: str) -> list[tuple[str, float]]:
    words, vector = query_of(query)
    return bm25(_version(version), words) if using == "bm25" else dot(_version(version), vector)


@cache
def _version(number: int) -> Version:
    return Version.of(number)


# --- the writer and the readers -------------------------------------------------------------------------------------


def _write(made: Collection, seconds: float) -> int:
    """Commit a version every second; returns how many."""
    version, start, commits = Version.of(0), time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        commits += 1
        ids = version.step(commits)
        if commits % 2:
            _upsert(made, version, ids, commits)
        else:
            made.delete(ids)
        if commits % 20 == 0:
            made.compact()
        time.sleep(max(0.0, now + INTERVAL - time.monotonic()))
    return commits


def _upsert(made: Collection, version: Version, ids: list[str], number: int) -> None:
    documents = [Document(version.texts[id], id=id, meta={"version": number}) for id in ids]
    made.upsert(documents, vectors={"v": np.array([version.vectors[id] for id in ids], np.float32)})


def _started(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """A reader that has opened the collection and compiled what a search needs."""
    with output.open("wb") as out:
        reader = subprocess.Popen(command, stdout=out)
    while not output.read_text().startswith(READY):
        if reader.poll() is not None:
            raise RuntimeError(f"a reader ended before it began, with exit code {reader.returncode}")
        time.sleep(0.05)
    return reader


def _read(folder: Path, seconds: float, reader: int) -> None:
    """Search until the time is over, each time in the live version; one line of JSON a search."""
    made = Collection.open(folder)
    for using in ("bm25", "dense"):
        made.search(Query("q", _WORDS[0], vectors={"v": np.ones(_DIM, np.float32)}), using=using)
    print(READY, flush=True)
    random, end = Random(reader), time.monotonic() + seconds
    while time.monotonic() < end:
        number, using = random.randrange(QUERIES), random.choice(("bm25", "dense"))
        words, vector = query_of(number)
        try:
            made.refresh()
            clock, documents = made.get(CLOCK).meta["version"], len(made)
            hits = made.search(Query("q", words, vectors={"v": np.array(vector, np.float32)}), k=_K, using=using)
            told: dict[str, Any] = {"hits": [(h.id, h.score, h.text) for h in hits], "clock": clock, "documents": documents}
        except Exception as exc:  # whatever it is, it is counted
            told = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps({"query": number, "using": using, **told}))


if __name__ == "__main__":
    _, _, _folder, _seconds, _reader = sys.argv
    _read(Path(_folder), float(_seconds), int(_reader))
