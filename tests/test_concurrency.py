"""Readers beside a writer: processes, threads, a running event loop; and the benchmark's own oracle can say no."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import concurrency
from ragkit import BM25, Collection, Document, Hits


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    made.add([Document(f"pump number {n}", id=str(n)) for n in range(30)])
    return made


def test_no_read_is_torn(tmp_path: Path) -> None:
    record = concurrency.run(tmp_path, "small")
    assert record["quality"] == {"errors": 0, "torn_reads": 0, "check_ok_after": True}
    assert record["context"]["searches"] > 100
    assert record["context"]["versions_read"] > 2


def test_a_torn_read_would_be_noticed() -> None:
    version = concurrency.Version.of(3)
    words, vector = concurrency.query_of(5)
    for using, expected in (("bm25", concurrency.bm25(version, words)), ("dense", concurrency.dot(version, vector))):
        hits: list[Any] = [(id, score, version.texts[id]) for id, score in expected]
        right = {"query": 5, "using": using, "clock": 3, "documents": len(version.texts), "hits": hits}
        assert concurrency._right(right)
        other = next(id for id in version.texts if id not in dict(expected))
        for wrong in (
            {"hits": hits[1:]},
            {"hits": [(other, *hits[0][1:]), *hits[1:]]},
            {"hits": [(hits[0][0], hits[0][1] * 1.01, hits[0][2]), *hits[1:]]},
            {"hits": [(*hits[0][:2], "an older text"), *hits[1:]]},
            {"documents": len(version.texts) + 1},
            {"clock": 1},
        ):
            assert not concurrency._right({**right, **wrong})


def hits_of(collection: Collection, query: str) -> list[str]:
    return [h.id for h in collection.search(query, k=3)]


def test_a_spawned_process_opens_it_for_itself(made: Collection) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(hits_of, made, "pump 7").result() == hits_of(made, "pump 7")


def test_a_running_event_loop(made: Collection) -> None:
    async def main() -> tuple[Hits, Hits]:
        inside = made.search("pump 3")
        made.add([Document("from inside a loop", id="loop")])
        return inside, await asyncio.to_thread(made.search, "loop")

    inside, beside = asyncio.run(main())
    assert inside[0].id == "3"
    assert [h.id for h in beside] == ["loop"]


def test_threads_share_a_collection_while_it_is_merged_and_compacted(made: Collection) -> None:
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                pinned = made.version
                rows = [len(made.search("pump", k=500)), len(made.search(["pump"], k=500).rows)]
                if any(not 30 <= r <= 200 for r in rows) or pinned.n_documents < 30:
                    wrong.append(repr(rows))
            except Exception as exc:
                wrong.append(repr(exc))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for n in range(40):
        made.add([Document(f"pump more {n}", id=f"m{n}")])
        if n % 10 == 9:
            made.compact()
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(made.search("pump", k=500)) == 70
    np.testing.assert_equal(len(made), 70)
