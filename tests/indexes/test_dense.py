"""Dense search equals a float64 scan, for every factory with every filter; and refuses what it can't search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ragkit.collection.builder as builder
from ragkit import BM25, MMR, Collection, Dense, Document, Query, Retrieve
from ragkit.errors import CorruptCollectionError, InputError, ShapeError
from ragkit.indexes.dense.presets import PRESETS, factory_string, n_cells
from ragkit.indexes.dense.scan import scan
from ragkit.indexes.dense.searcher import DenseSearcher

N, DIM = 12_000, 32
FLOORS = {"exact": 1.0, "graph": 0.97, "balanced": 0.95, "fast": 0.95, "compact": 0.84, "bit": 0.90}
"""recall@10 on the seeded clusters below that a preset must reach."""


STRINGS = {"IVF64,PQ8x4fs": 0.25, "OPQ8,IVF32,PQ8": 0.35, "PQ8x4fs": 1.0, "SQ8": 0.95}
"""The same of factory strings of the caller's."""


def clustered(n: int, dim: int = DIM, seed: int = 7) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(100, dim))
    return np.asarray(centres[generator.integers(100, size=n)] + 0.5 * generator.normal(size=(n, dim)), np.float32)


VECTORS = clustered(N)
QUESTIONS = VECTORS[::400] + 0.1 * np.random.default_rng(8).normal(size=(30, DIM)).astype(np.float32)


def cosines(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (queries, vectors))
    return np.asarray(a @ b.T)


def filled(folder: Path, factory: str, vectors: NDArray[np.float32] = VECTORS, **settings: object) -> Collection:
    made = Collection.create(folder, indexes=[Dense(vectors="v", factory=factory, **settings)], chunker=None)  # type: ignore[arg-type]
    made.add([Document(f"text {i}", id=str(i)) for i in range(len(vectors))], vectors={"v": vectors})
    return made


def asked(vectors: NDArray[np.float32]) -> list[Query]:
    return [Query(str(i), "x", vectors={"v": v}) for i, v in enumerate(vectors)]


@pytest.fixture(scope="module", params=[*PRESETS, "IVF64,PQ8x4fs", "OPQ8,IVF32,PQ8", "PQ8x4fs", "SQ8"])
def collection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return filled(tmp_path_factory.mktemp("dense") / "c", request.param)


def test_recall_order_and_scores(collection: Collection) -> None:
    spec = collection.version.searcher("dense").spec  # type: ignore[attr-defined]
    run = collection.search(asked(QUESTIONS), k=10)
    truth = cosines(QUESTIONS, VECTORS)
    best = np.argsort(-truth, axis=1, kind="stable")[:, :10]
    found = run.rows.reshape(len(QUESTIONS), 10)
    recall = np.mean([len(set(f) & set(b)) / 10 for f, b in zip(found.tolist(), best.tolist(), strict=True)])
    assert recall >= FLOORS.get(spec.factory, 0.2)
    for q in range(len(QUESTIONS)):
        scores = run.scores[run.hits_of(q)]
        assert list(scores) == sorted(scores, reverse=True)
    if spec.factory in ("exact", "graph", "fast", "compact"):  # these score with the vectors themselves
        np.testing.assert_allclose(run.scores, np.take_along_axis(truth, found, axis=1).reshape(-1), rtol=1e-5)


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("k", [1, 10, 150])
def test_a_filter_leaves_min_k_allowed_hits(collection: Collection, share: float, k: int) -> None:
    allow = np.random.default_rng(int(share * 1e4)).random(N) < share
    searcher = collection.version.searcher("dense")
    indptr, rows, scores = searcher.search(asked(QUESTIONS[:5]), k=k, allow=[allow])
    assert np.diff(indptr).tolist() == [min(k, allow.sum())] * 5
    assert allow[rows].all()
    if searcher.exact or share <= 0.01:
        truth = np.where(allow, cosines(QUESTIONS[:5], VECTORS), -np.inf)
        best = np.argsort(-truth, axis=1, kind="stable")[:, : min(k, allow.sum())]
        np.testing.assert_array_equal(rows, best.reshape(-1))
        np.testing.assert_allclose(scores, np.take_along_axis(truth, best, axis=1).reshape(-1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 1.0])
def test_a_filter_keeps_the_recall(collection: Collection, share: float) -> None:
    """Whatever share of the passages passes, a preset finds as many of the best of them as it does without a filter."""
    searcher = collection.version.searcher("dense")
    floor = {**FLOORS, **STRINGS}[searcher.spec.factory]  # type: ignore[attr-defined]
    allow = np.random.default_rng(int(share * 1e4)).random(N) < share
    _, rows, _ = searcher.search(asked(QUESTIONS), k=10, allow=[allow])
    k = min(10, int(allow.sum()))
    best = np.argsort(-np.where(allow, cosines(QUESTIONS, VECTORS), -np.inf), axis=1, kind="stable")[:, :k]
    found = rows.reshape(len(QUESTIONS), k)
    recall = np.mean([len(set(f) & set(b)) / max(k, 1) for f, b in zip(found.tolist(), best.tolist(), strict=True)]) if k else 1.0
    assert recall >= (1.0 if share <= 0.01 else floor)


def test_a_compacted_collection_keeps_the_recall(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "balanced")
    made.delete([str(i) for i in range(0, N, 3)])
    made.compact()
    assert made.version.views[0].columns.n_passages == N - len(range(0, N, 3))
    kept = np.arange(N) % 3 != 0
    best = np.argsort(-np.where(kept, cosines(QUESTIONS, VECTORS), -np.inf), axis=1)[:, :10]
    run = made.search(asked(QUESTIONS), k=10)
    found = np.array(run.ids()).astype(int).reshape(len(QUESTIONS), 10)
    assert np.mean([len(set(f) & set(b)) / 10 for f, b in zip(found.tolist(), best.tolist(), strict=True)]) >= FLOORS["balanced"]


def test_more_than_there_is_and_deep_searches(collection: Collection) -> None:
    run = collection.search(asked(QUESTIONS[:2]), k=N + 5)
    assert np.diff(run.indptr).tolist() == [N, N]
    assert len(set(run.rows[: run.indptr[1]].tolist())) == N


def test_deleted_passages_never_come_back(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "balanced")
    before = made.search(asked(QUESTIONS[:5]), k=3)
    gone = before.ids()
    made.delete(gone)
    after = made.search(asked(QUESTIONS[:5]), k=10)
    assert not set(gone) & set(after.ids())
    assert np.diff(after.indptr).tolist() == [10] * 5


def test_segments_share_what_was_trained(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "compact")
    more = clustered(11_000, seed=9)
    made.add([Document("more", id=f"m{i}") for i in range(len(more))], vectors={"v": more})
    made.add([Document("few", id=f"f{i}") for i in range(300)], vectors={"v": more[:300]})
    entries = made.version.manifest.segments
    assert [p.index is None for p in made.version.searcher("dense")._parts] == [False, False, True]  # type: ignore[attr-defined]
    assert [e.models for e in entries] == [made.version.manifest.models] * 3
    assert len(list((tmp_path / "c" / "models" / "dense").iterdir())) == 1
    everything = np.concatenate([VECTORS, more, more[:300]])
    run = Collection.open(tmp_path / "c").search(asked(more[:20]), k=10)
    best = np.argsort(-cosines(more[:20], everything), axis=1)[:, :10]
    found = run.rows.reshape(20, 10)
    assert np.mean([len(set(f) & set(b)) / 10 for f, b in zip(found.tolist(), best.tolist(), strict=True)]) >= FLOORS["compact"]


def test_any_steps_give_the_same_exact_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 64)
    vectors = clustered(500)
    vectors[100:140] = vectors[3]  # many ties
    once = filled(tmp_path / "once", "exact", vectors)
    grown = Collection.create(tmp_path / "grown", indexes=[Dense(vectors="v")], chunker=None)
    for part in np.array_split(np.arange(500), [7, 100, 101, 330]):
        grown.add([Document(f"text {i}", id=str(i)) for i in part], vectors={"v": vectors[part]})
    questions = asked(np.concatenate([vectors[:30], vectors[3:4]]))
    for k in (1, 10, 45, 500):
        a, b = once.search(questions, k=k), grown.search(questions, k=k)
        assert a.ids() == b.ids()
        np.testing.assert_array_equal(a.scores, b.scores)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 30), st.booleans())
def test_a_scan_is_exact_to_the_last_tie(seed: int, n: int, k: int, filtered: bool) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.integers(-1, 2, size=(n, 3)).astype(np.float32)  # few values: many ties, zero rows
    queries = generator.integers(-1, 2, size=(25, 3)).astype(np.float32)
    allow = generator.random(n) < 0.5 if filtered else np.ones(n, np.bool_)
    k = min(k, int(allow.sum()))
    if k == 0:
        return
    scores, rows = scan(queries, vectors, k, allow if filtered else None)
    exact = np.where(allow, queries.astype(np.float64) @ vectors.T.astype(np.float64), -np.inf)
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(exact, expected, axis=1))
    alone, _ = scan(queries[:1], vectors, k, allow if filtered else None)
    np.testing.assert_array_equal(alone[0], scores[0])


def test_dot_product_keeps_lengths(tmp_path: Path) -> None:
    vectors = clustered(300) * np.linspace(0.1, 3, 300, dtype=np.float32)[:, None]
    run = filled(tmp_path / "c", "exact", vectors, similarity="dot").search(asked(vectors[:5]), k=4)
    best = np.argsort(-(vectors[:5].astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :4]
    assert run.scale == "dot"
    np.testing.assert_array_equal(run.rows.reshape(5, 4), best)


def test_more_effort_finds_no_less(tmp_path: Path) -> None:
    truth = np.argsort(-cosines(QUESTIONS, VECTORS), axis=1)[:, :10]
    recalls = []
    for nprobe in (1, 4, 16, 256):
        run = filled(tmp_path / str(nprobe), "IVF64,Flat", nprobe=nprobe).search(asked(QUESTIONS), k=10)
        recalls.append(np.mean([len(set(f) & set(b)) / 10 for f, b in zip(run.rows.reshape(-1, 10).tolist(), truth.tolist(), strict=True)]))
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1.0  # all cells: exact


def test_zero_vectors_have_no_direction(tmp_path: Path) -> None:
    vectors = clustered(20)
    vectors[4] = 0
    made = filled(tmp_path / "c", "exact", vectors)
    run = made.search([*asked(vectors[:4]), Query("zero", "x", vectors={"v": np.zeros(DIM)})], k=20)
    assert np.diff(run.indptr).tolist() == [20, 20, 20, 20, 0]  # a zero question has no hits
    assert {float(s) for s, r in zip(run.scores, run.rows, strict=True) if r == 4} == {0.0}  # a zero passage has cosine 0


def test_what_is_refused(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "exact", clustered(5))
    before = [d.id for d in made]
    new = [Document("n", id="n")]
    bad = np.full((1, DIM), np.nan)
    for vectors, error, message in (
        ({"v": bad}, InputError, "the vector 'v' of document 'n' has NaN or infinity"),
        ({}, InputError, r"came with vectors \[\] where this collection's indexes expect \['v'\]"),
        ({"w": np.ones((1, DIM))}, InputError, r"came with vectors \['w'\]"),
        ({"v": np.ones((2, DIM))}, ShapeError, "2 vectors 'v' were given for 1 documents"),
        ({"v": np.ones((0, DIM))}, ShapeError, "vectors were given for 0 documents, and there are more"),
        ({"v": np.ones((1, DIM, 2))}, InputError, "has the shape"),
    ):
        with pytest.raises(error, match=message):
            made.add(new, vectors=vectors)
    assert [d.id for d in made] == before
    with pytest.raises(ShapeError, match=r"have the shape \(3,\) where the index holds 32 dimensions"):
        made.search([Query("q", "x", vectors={"v": np.ones(3)})])
    with pytest.raises(InputError, match="holds NaN or infinity"):
        made.search([Query("q", "x", vectors={"v": bad[0]})])
    with pytest.raises(InputError, match="the query 'no vector' has no vector 'v'"):
        made.search("no vector")
    for factory, reason in (("HNSWx", "could not parse"), ("IDMap,Flat", "renumbers vectors"), ("PQ7x4", "refuses")):
        with pytest.raises(InputError, match=reason):
            Dense(factory=factory, dim=32)
    with pytest.raises(InputError, match="letters, digits, dots"):
        Dense(vectors="../x")
    whole = Collection.create(tmp_path / "d", indexes=[Dense(vectors="v")])
    with pytest.raises(InputError, match="chunker=None"):
        whole.add([Document("word " * 2000, id="long")], vectors={"v": np.ones((1, DIM))})


def test_another_dimension_than_stored_is_refused(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "exact", clustered(5))
    with pytest.raises(ShapeError, match="8 dimensions where 32 are stored"):
        made.add([Document("n", id="n")], vectors={"v": np.ones((1, 8))})
    assert len(made.search(asked(QUESTIONS[:1])).rows) == 5


def test_a_damaged_faiss_file_is_refused_before_faiss_reads_it(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "balanced")
    file = next((tmp_path / "c").glob("segments/*/dense/index.faiss"))
    content = bytearray(file.read_bytes())
    content[200] ^= 255
    file.write_bytes(content)
    with pytest.raises(CorruptCollectionError, match="is not what was written"):
        Collection.open(made.folder).search(asked(QUESTIONS[:1]))


def test_an_index_that_can_not_be_trained_yet_is_scanned(tmp_path: Path) -> None:
    made = filled(tmp_path / "c", "IVF64,Flat", clustered(300))  # trained: 300 points are enough for faiss, with a warning
    assert isinstance(made.version.searcher("dense"), DenseSearcher)
    few = filled(tmp_path / "few", "IVF512,Flat", clustered(300))
    assert few.version.searcher("dense").exact
    assert few.search(asked(QUESTIONS[:1]), k=3).rows.shape == (3,)
    few.add([Document("x", id=f"x{i}") for i in range(N)], vectors={"v": VECTORS})
    assert not few.version.searcher("dense").exact  # the second segment had enough


def test_sizes_of_presets() -> None:
    for n in (10_000, 50_000, 1_000_000):
        assert n / n_cells(n) >= 39
        assert n_cells(n) & (n_cells(n) - 1) == 0
    assert factory_string("fast", 20_000, 100) == "IVF512,PQ50x4fs,RFlat"
    assert factory_string("exact", 10**9, 8) is None
    assert all(factory_string(p, 9_999, 384) is None for p in PRESETS)


def test_diverse_hits_by_vectors(tmp_path: Path) -> None:
    vectors = np.array([[1, 0, 0], [0.99, 0.01, 0], [0.7, 0.7, 0], [0, 0, 1]], np.float32)
    made = filled(tmp_path / "c", "exact", vectors)
    question = asked(np.array([[1, 0.3, 0]], np.float32))
    assert (Retrieve("dense") % 4).on(made)(question).rows.tolist()[:2] == [1, 0]
    spread = (Retrieve("dense") >> MMR(diversity=0.7)).on(made)(question).rows.tolist()
    assert spread[:2] != [1, 0]
    lexical = Collection.create(tmp_path / "b", indexes=[BM25()])
    with pytest.raises(InputError, match="the index 'bm25' holds no vectors"):
        lexical.version.vectors("bm25", np.zeros(1, np.int64))


@given(
    n=st.integers(1, 26), rows=st.integers(1, 300), k=st.integers(1, 40), dim=st.sampled_from([3, 16, 33]), seed=st.integers(0, 99),
    share=st.sampled_from([None, 0.03, 0.5]),
)  # fmt: skip
def test_several_queries_find_what_each_finds_alone(n: int, rows: int, k: int, dim: int, seed: int, share: float | None) -> None:
    """Also ties: vectors of small whole numbers, many of which are equal."""
    generator = np.random.default_rng(seed)
    vectors = generator.integers(-2, 3, size=(rows, dim)).astype(np.float32)
    queries = generator.integers(-2, 3, size=(n, dim)).astype(np.float32) + np.float32(0.1)
    allow = None if share is None else generator.random(rows) < share
    k = min(k, rows if allow is None else int(allow.sum()))
    if k:
        scores, found = scan(queries, vectors, k, allow)
        for q in range(n):
            alone = scan(queries[q : q + 1], vectors, k, allow)
            np.testing.assert_array_equal(found[q], alone[1][0])
            np.testing.assert_array_equal(scores[q], alone[0][0])
