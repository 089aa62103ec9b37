"""Every way of searching BM25's postings against an oracle of plain loops in float64."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit import BM25, Query
from ragkit.indexes.bm25 import impacts as impacts_module
from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.searcher import BM25Searcher
from ragkit.indexes.bm25.weights import DELTAS
from ragkit.indexes.kernels.impacts import BLOCK, STEPS, fill_column
from ragkit.indexes.kernels.topk import kth_largest
from ragkit.indexes.kernels.windows import WINDOW, seek
from ragkit.text import Analyzer

METHODS = ("lucene", "robertson", "atire", "okapi", "l", "plus")
Rows = list[list[str]]


def searcher(spec: BM25, *parts: Rows) -> BM25Searcher:
    return BM25Searcher(spec, [(Postings.of([" ".join(r) for r in part], Analyzer(language="none")), None) for part in parts])


def oracle(made: BM25Searcher, rows: Rows, terms: dict[str, float]) -> dict[int, float]:
    """Row -> score, for rows that hold a term; the idf is the searcher's own, which has tests of its own."""
    spec = made.spec
    delta = spec.delta if spec.delta is not None else DELTAS.get(spec.method, 0.0)
    absent = {"l": (spec.k1 + 1) * delta / (spec.k1 + delta) if spec.method == "l" else 0.0, "plus": delta}.get(spec.method, 0.0)
    idfs = {term: made.idf(term) for term in terms}  # 0 for a term that no row holds
    found = {}
    for number, row in enumerate(rows):
        tfs = {term: n for term, n in Counter(row).items() if term in terms}
        if not tfs:
            continue
        norm, score = 1 - spec.b + spec.b * len(row) / made.avgdl, 0.0
        for term, weight in terms.items():
            tf, value = tfs.get(term, 0), absent
            if tf and spec.method in ("lucene", "robertson"):
                value = tf / (tf + spec.k1 * norm)
            elif tf and spec.method == "l":
                value = (spec.k1 + 1) * (tf / norm + delta) / (spec.k1 + tf / norm + delta)
            elif tf:
                value = tf * (spec.k1 + 1) / (tf + spec.k1 * norm) + absent
            score += weight * idfs[term] * value
        found[number] = score
    return found


def check(
    made: BM25Searcher,
    rows: Rows,
    queries: list[dict[str, float]],
    k: int,
    allow: list[NDArray[np.bool_] | None],
    truth: list[dict[int, float]] | None = None,
) -> None:
    wanted = np.concatenate([np.ones(n, np.bool_) if a is None else a for a, n in zip(allow, np.diff(made._bases), strict=True)])
    indptr, found, scores = made.search([Query("q", "", terms=q) for q in queries], k=k, allow=allow)
    assert indptr.dtype == found.dtype == np.int64
    assert scores.dtype == np.float32
    truth = [oracle(made, rows, terms) for terms in queries] if truth is None else truth
    for q, terms in enumerate(queries):
        want = {r: s for r, s in truth[q].items() if wanted[r]} if terms else {}
        mine, values = found[indptr[q] : indptr[q + 1]].tolist(), scores[indptr[q] : indptr[q + 1]].tolist()
        best = sorted(want.values(), reverse=True)[:k]
        near = 1e-6 * max((abs(w) * made.idf(t) for t, w in terms.items()), default=0.0)  # what weights of both signs leave of large terms
        np.testing.assert_allclose(values, best, rtol=1e-5, atol=abs(near) + 1e-9)
        np.testing.assert_allclose(values, [want[row] for row in mine], rtol=1e-5, atol=abs(near) + 1e-9)
        taken = set(mine)
        assert len(taken) == len(mine)
        pairs = list(zip((-np.array(values)).tolist(), mine, strict=True))
        assert pairs == sorted(pairs)
        if mine:  # of equal rows the lower one comes first: none that is left out equals a higher one that is not
            last = {tuple(sorted(rows[r])): r for r in sorted(mine)}
            assert not [r for r in want if r not in taken and r < last.get(tuple(sorted(rows[r])), -1)]


@pytest.fixture
def columns_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frequent terms have columns in corpora of any size, so that small ones take the way of large ones."""
    monkeypatch.setattr(impacts_module, "_SMALLEST", 3)


word = st.sampled_from("abcdefgh")
weight = st.sampled_from([0.25, 1.0, 1.0, 2.0])
any_weight = st.sampled_from([-1.0, 0.0, 1e-9, 0.5, 1.0, 3.0])


@pytest.mark.usefixtures("columns_everywhere")
@pytest.mark.parametrize("method", METHODS)
@given(st.data())
@settings(max_examples=60)
def test_hits_are_those_of_the_oracle(method: str, data: st.DataObject) -> None:
    """Few words make many ties; empty rows, any k, weights of any sign, masks and parts."""
    rows = data.draw(st.lists(st.lists(word, max_size=6), min_size=1, max_size=60))
    cut = data.draw(st.integers(0, len(rows)))
    k1, b = data.draw(st.sampled_from([(0.9, 0.4), (1.2, 1.0), (0.0, 0.4), (2.0, 0.0)]))
    made = searcher(BM25(k1=k1, b=b, method=method, language="none"), rows[:cut], rows[cut:])
    weights = data.draw(st.sampled_from([weight, any_weight]))
    queries = data.draw(st.lists(st.dictionaries(st.one_of(word, st.just("nowhere")), weights, max_size=7), max_size=4))
    k = data.draw(st.sampled_from([1, 2, 3, 7, len(rows), 10 * len(rows)]))
    masks = [data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=n, max_size=n))) for n in (cut, len(rows) - cut)]
    check(made, rows, queries, k, [None if m is None else np.array(m, np.bool_) for m in masks])


def zipf(n: int, seed: int, vocabulary: int = 400, length: int = 9) -> Rows:
    """Rows of a language with few frequent and many rare words; neighbours share words, some rows are empty or equal."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, vocabulary + 1)
    rows: Rows = []
    while len(rows) < n:
        topic = [f"w{i}" for i in rng.choice(vocabulary, 4, p=share / share.sum())]
        for _ in range(int(rng.integers(1, 12))):
            own = [f"w{i}" for i in rng.choice(vocabulary, int(rng.integers(0, length)), p=share / share.sum())]
            rows.append([] if rng.random() < 0.05 else rows[-1] if rows and rng.random() < 0.1 else own + topic[: int(rng.integers(0, 4))])
    return rows[:n]


def asked(rows: Rows, seed: int, sizes: tuple[int, ...] = (1, 2, 3, 8, 30)) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    words = sorted({t for row in rows for t in row})
    made = [dict.fromkeys(rng.choice(words, size, replace=False).tolist(), 1.0) for size in sizes if size <= len(words)]
    made.append({t: float(w) for t, w in zip(rng.choice(words, 12, replace=False).tolist(), rng.random(12) + 0.1, strict=True)})
    return [*made, dict.fromkeys(words[:200], 1.0), {words[0]: 1.0, words[1]: -0.5}, {"w0": 1.0}, {"w0": 1.0, "w1": 1.0}]


@pytest.mark.parametrize("method", METHODS)
def test_several_windows_parts_and_columns(method: str) -> None:
    """More rows than a window in one part, few in another, frequent terms with columns."""
    rows = zipf(2 * WINDOW + 777, 1)
    made = searcher(BM25(method=method, language="none"), rows[:300], rows[300:])
    queries = asked(rows, 2)
    truth = [oracle(made, rows, terms) for terms in queries]
    for k in (1, 10, 100):
        check(made, rows, queries, k, [None, None], truth)
    assert made._impacts[1]._n_columns > 3
    rng = np.random.default_rng(3)
    for share in (0.9, 0.01):
        check(made, rows, queries, 10, [rng.random(300) < share, rng.random(len(rows) - 300) < share], truth)


def test_all_rows_equal() -> None:
    """Every row ties: the first k rows are the hits, whatever was kept aside in between."""
    rows = [["a", "b"]] * (WINDOW + 100)
    made = searcher(BM25(language="none"), rows)
    for terms in ({"a": 1.0}, {"a": 1.0, "b": 1.0}):
        for k in (1, 5, 100, 1000):
            _, found, _ = made.search([Query("q", "", terms=terms)], k=k, allow=[None])
            assert found.tolist() == list(range(k))


def test_equal_rows_in_different_parts_tie() -> None:
    """The parts differ in what is frequent and so in how they are searched, but not in the scores."""
    rows = zipf(6000, 5)
    made = searcher(BM25(language="none"), rows[:500], rows[500:])
    once = searcher(BM25(language="none"), rows)
    queries = [Query(str(i), "", terms=q) for i, q in enumerate(asked(rows, 6))]
    for k in (3, 50):
        (ptr, found, scores), (want_ptr, want, want_scores) = (s.search(queries, k=k, allow=[None] * len(s._parts)) for s in (made, once))
        np.testing.assert_array_equal(ptr, want_ptr)
        np.testing.assert_array_equal(found, want)
        np.testing.assert_allclose(scores, want_scores, rtol=1e-6)


def test_a_batch_is_its_queries_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, spec = zipf(3000, 7), BM25(method="plus", language="none")
    queries = [Query(str(i), "", terms=q) for i, q in enumerate([*asked(rows, 8), {"w3": 1e12}, {"w5": 1.0, "w9": 2.0}])]
    made = searcher(spec, rows)
    _, found, scores = made.search(queries, k=20, allow=[None])
    monkeypatch.setattr("ragkit.indexes.bm25.searcher._HELD_HITS", 45)  # two at once
    _, again, same = searcher(spec, rows).search(queries, k=20, allow=[None])
    one_by_one = [made.search([q], k=20, allow=[None]) for q in queries]
    for other in (again, np.concatenate([f[1] for f in one_by_one])):
        np.testing.assert_array_equal(found, other)
    for other in (same, np.concatenate([f[2] for f in one_by_one])):
        np.testing.assert_array_equal(scores, other)


def test_no_queries_and_no_rows() -> None:
    made = searcher(BM25(language="none"), [["a"]])
    for found in (made.search([], k=5, allow=[None]), made.search([Query("q", "", terms={"zz": 1.0})], k=5, allow=[None])):
        assert len(found[1]) == len(found[2]) == 0
    assert made.search([Query("q", "", terms={"a": 1.0})], k=0, allow=[None])[0].tolist() == [0, 0]
    nothing = searcher(BM25(language="none"), [])
    assert nothing.search([Query("q", "a"), Query("r", "b")], k=5, allow=[None])[0].tolist() == [0, 0, 0]


def test_threads_share_a_searcher() -> None:
    """Impacts and columns are derived while others search."""
    rows = zipf(5000, 9)
    queries = [Query(str(i), "", terms=q) for i, q in enumerate(asked(rows, 10))]
    want = searcher(BM25(language="none"), rows).search(queries, k=10, allow=[None])
    made, found = searcher(BM25(language="none"), rows), []

    def work(turn: int) -> None:
        mine = queries[turn:] + queries[:turn]
        _, got, _ = made.search(mine, k=10, allow=[None])
        found.append((turn, got))

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(len(queries))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(queries)
    for turn, got in found:
        parts = [want[1][want[0][q] : want[0][q + 1]] for q in (*range(turn, len(queries)), *range(turn))]
        np.testing.assert_array_equal(got, np.concatenate(parts))


def test_prepare_changes_no_result() -> None:
    rows = zipf(5000, 11)
    queries = [Query(str(i), "", terms=q) for i, q in enumerate(asked(rows, 12))]
    lazy, eager = searcher(BM25(language="none"), rows), searcher(BM25(language="none"), rows)
    eager.prepare()
    for a, b in zip(lazy.search(queries, k=10, allow=[None]), eager.search(queries, k=10, allow=[None]), strict=True):
        np.testing.assert_array_equal(a, b)


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([0.1, 0.5, 0.77, 1.0])), min_size=1, unique_by=lambda p: p[0]))
@settings(max_examples=80)
def test_a_column_bounds_its_list(pairs: list[tuple[int, float]]) -> None:
    pairs.sort()
    rows, values = np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.float32)
    blocks = 401 // BLOCK + 1
    column, tops, held = np.zeros(blocks * BLOCK, np.uint8), np.zeros(blocks, np.uint8), np.zeros((blocks, 2), np.uint64)
    top = fill_column(0, len(rows), rows, values, column, tops, held)
    assert top == values.max()
    assert np.flatnonzero(column).tolist() == rows.tolist()
    bounds = column[rows].astype(np.float64) * float(top) / STEPS
    assert (bounds >= values * (1 - 1e-7)).all()
    assert (bounds - float(top) / STEPS < values).all()
    assert tops.tolist() == column.reshape(blocks, BLOCK).max(axis=1).tolist()
    for n, (bits, first) in enumerate(held.tolist()):
        assert [n * BLOCK + i for i in range(BLOCK) if bits >> i & 1] == [r for r in rows.tolist() if r // BLOCK == n]
        assert not bits or first == int(np.searchsorted(rows, n * BLOCK))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=60), st.data())
@settings(max_examples=100)
def test_kth_largest_is_a_sort(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(np.array(values, np.float32), len(values), k) == sorted(values, reverse=True)[k - 1]


@given(st.lists(st.integers(0, 50), max_size=40, unique=True), st.integers(0, 60), st.data())
@settings(max_examples=100)
def test_seek_is_a_bisection(values: list[int], row: int, data: st.DataObject) -> None:
    rows = np.array(sorted(values), np.int32)
    start = data.draw(st.integers(0, len(rows)))
    assert seek(rows, start, len(rows), row) == max(start, int(np.searchsorted(rows, row)))


def test_terms_are_found_by_their_bytes() -> None:
    words = ["", "a", "aa", "ab", "b", "ba", "é", "東京", "\U0001f600", "\uffee"]
    terms = Postings.of_ids(words, np.arange(len(words), dtype=np.int32), np.array([0, len(words)])).terms
    assert terms.column.to_pylist() == sorted(words)
    assert [terms.find(w) for w in sorted(words)] == list(range(len(words)))
    assert [terms.find(w) for w in ("aaa", "A", "bb", "東", "\ud800", "\U0001f601")] == [-1] * 6
