"""BM25 against its formulas, rank_bm25 and bm25s."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import bm25s
import numpy as np
import pytest
import rank_bm25
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit import BM25, Collection, Document, Query
from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation import load_dataset
from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.searcher import BM25Searcher
from ragkit.indexes.kernels.topk import top_k
from ragkit.text import Analyzer

METHODS = ("lucene", "robertson", "atire", "okapi", "l", "plus")
PLAIN = {"language": "none", "identifiers": False}
words = st.sampled_from(["a", "b", "c", "d", "e", "zz"])
texts = st.lists(words, max_size=12).map(" ".join)


def searcher(spec: BM25, *parts: list[str], alive: list[list[bool]] | None = None) -> BM25Searcher:
    masks = [None] * len(parts) if alive is None else [np.array(a, np.bool_) for a in alive]
    return BM25Searcher(spec, [(Postings.of(p, spec.analyzer), m) for p, m in zip(parts, masks, strict=True)])


def oracle(spec: BM25, corpus: list[list[str]], query: list[str]) -> dict[int, float]:
    """The formulas of the variants, written out as loops over rows and terms; rows that hold a query term."""
    n, avgdl = len(corpus), sum(map(len, corpus)) / len(corpus)
    df = {t: sum(t in d for d in corpus) for d in corpus for t in d}

    def raw_idf(t: str) -> float:
        f = df[t]
        return {
            "lucene": lambda: math.log(1 + (n - f + 0.5) / (f + 0.5)),
            "robertson": lambda: math.log(max(1, (n - f + 0.5) / (f + 0.5))),
            "atire": lambda: math.log(n / f),
            "okapi": lambda: math.log(n - f + 0.5) - math.log(f + 0.5),
            "l": lambda: math.log((n + 1) / (f + 0.5)),
            "plus": lambda: math.log((n + 1) / f),
        }[spec.method]()

    mean = sum(map(raw_idf, df)) / len(df) if df else 0.0
    delta = spec.delta if spec.delta is not None else {"l": 0.5, "plus": 1.0}.get(spec.method, 0.0)
    found = {}
    for row, doc in enumerate(corpus):
        if not set(doc) & set(query):
            continue
        score = 0.0
        for t in query:
            if t not in df:
                continue
            idf = raw_idf(t)
            if spec.method == "okapi" and idf < 0:
                idf = spec.epsilon * mean
            tf, norm = doc.count(t), 1 - spec.b + spec.b * len(doc) / avgdl
            if spec.method in ("lucene", "robertson"):
                weight = tf / (tf + spec.k1 * norm) if tf else 0.0
            elif spec.method == "l":
                ctd = tf / norm
                weight = (spec.k1 + 1) * (ctd + delta) / (spec.k1 + ctd + delta)
            else:
                weight = tf * (spec.k1 + 1) / (spec.k1 * norm + tf) if tf else 0.0
                weight += delta if spec.method == "plus" else 0.0
            score += idf * weight
        found[row] = score
    return found


@pytest.mark.parametrize("method", METHODS)
@given(
    st.lists(texts, min_size=1, max_size=9), texts, st.integers(1, 12), st.sampled_from([(0.9, 0.4), (1.5, 0.75), (1.2, 1.0), (2.0, 0.0)])
)
@settings(max_examples=60)
def test_scores_are_the_formula(method: str, corpus: list[str], query: str, k: int, kb: tuple[float, float]) -> None:
    spec = BM25(k1=kb[0], b=kb[1], method=method, **PLAIN)
    want = oracle(spec, [d.split() for d in corpus], query.split())
    _, rows, scores = searcher(spec, corpus).search([Query("q", query)], k=k, allow=[None])
    assert len(rows) == min(k, len(want))
    by_law = sorted(want, key=lambda r: (-np.float32(want[r]), r))
    np.testing.assert_allclose(scores, sorted(want.values(), reverse=True)[:k], rtol=1e-5, atol=1e-6)
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        assert want[row] == pytest.approx(score, rel=1e-5, abs=1e-6)
    if len({round(v, 4) for v in want.values()}) == len(want):  # no near ties: the order is forced
        assert rows.tolist() == by_law[:k]
    order = list(zip((-scores).tolist(), rows.tolist(), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize("method", METHODS)
@given(st.lists(texts, min_size=2, max_size=10), st.data())
@settings(max_examples=25)
def test_parts_and_deletions_do_not_show(method: str, corpus: list[str], data: st.DataObject) -> None:
    """Statistics are those of the live rows of all parts: a split, partly deleted corpus scores as its live rows alone."""
    cut = data.draw(st.integers(0, len(corpus)))
    live = data.draw(st.lists(st.booleans(), min_size=len(corpus), max_size=len(corpus)))
    spec = BM25(method=method, **PLAIN)
    split = searcher(spec, corpus[:cut], corpus[cut:], alive=[live[:cut], live[cut:]])
    kept = [row for row, alive in enumerate(live) if alive]
    once = searcher(spec, [corpus[row] for row in kept])
    allow = [np.array(live[:cut], np.bool_), np.array(live[cut:], np.bool_)]
    for query in ("a b", "zz", "c c d e"):
        _, rows, scores = split.search([Query("q", query)], k=20, allow=allow)
        _, want_rows, want_scores = once.search([Query("q", query)], k=20, allow=[None])
        assert rows.tolist() == [kept[r] for r in want_rows]
        np.testing.assert_allclose(scores, want_scores, rtol=1e-5)


def real_corpus(data: Path, n: int = 400) -> tuple[list[list[str]], list[list[str]]]:
    dataset = load_dataset(data / "cranfield")
    analyzer = Analyzer()
    docs = [analyzer.terms(f"{d.title} {d.text}") for d, _ in zip(dataset.documents(), range(n), strict=False)]
    return docs, [analyzer.terms(q) for q in list(dataset.judged().values())[:40]]


@pytest.mark.parametrize(("method", "theirs"), [("okapi", rank_bm25.BM25Okapi), ("plus", rank_bm25.BM25Plus)])
def test_parity_with_rank_bm25(data: Path, method: str, theirs: type) -> None:
    docs, queries = real_corpus(data)
    ours = searcher(BM25(k1=1.5, b=0.75, method=method, **PLAIN), [" ".join(d) for d in docs])
    peer = theirs(docs)
    for query in queries:
        scores = peer.get_scores(query)
        _, rows, found = ours.search([Query("q", " ".join(query))], k=len(docs), allow=[None])
        np.testing.assert_allclose(found, scores[rows], rtol=1e-5, atol=1e-6)
        held = {i for i, d in enumerate(docs) if set(d) & set(query)}
        assert set(rows.tolist()) == held


def test_parity_with_rank_bm25_of_bm25l(data: Path) -> None:
    """rank_bm25 0.2.2 multiplies each term of BM25L by tf once more than Lv & Zhai do; term by term, that is all that differs."""
    docs, queries = real_corpus(data)
    ours = searcher(BM25(k1=1.5, b=0.75, method="l", **PLAIN), [" ".join(d) for d in docs])
    peer = rank_bm25.BM25L(docs)
    for term in {t for query in queries for t in query}:
        _, rows, found = ours.search([Query("q", term)], k=len(docs), allow=[None])
        tfs = np.array([docs[row].count(term) for row in rows])
        np.testing.assert_allclose(found * tfs, peer.get_scores([term])[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "theirs"), [("lucene", "lucene"), ("robertson", "robertson"), ("atire", "atire"), ("l", "bm25l"), ("plus", "bm25+")]
)
def test_equality_with_bm25s(data: Path, method: str, theirs: str) -> None:
    """The same tokens give the same scores and, ties aside, the same top 10."""
    docs, queries = real_corpus(data)
    delta = {"l": 0.5, "plus": 1.0}.get(method)
    peer = bm25s.BM25(method=theirs, k1=0.9, b=0.4, delta=delta or 0.5)
    peer.index(docs, show_progress=False)
    ours = searcher(BM25(k1=0.9, b=0.4, method=method, **PLAIN), [" ".join(d) for d in docs])
    for query in queries:
        scores = peer.get_scores(query)
        _, rows, found = ours.search([Query("q", " ".join(query))], k=10, allow=[None])
        np.testing.assert_allclose(found, scores[rows], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found, np.sort(scores)[::-1][: len(found)], rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(-3, 3), max_size=40), st.integers(1, 45))
@settings(max_examples=200)
def test_top_k_is_a_sort(values: list[int], k: int) -> None:
    scores = np.array(values, np.float32)
    rows = np.random.default_rng(7).permutation(len(values)).astype(np.int64)
    out_scores, out_rows = np.empty(min(k, len(values)), np.float32), np.empty(min(k, len(values)), np.int64)
    n = top_k(scores, rows, len(values), out_scores, out_rows)
    want = sorted(zip((-scores).tolist(), rows.tolist(), strict=True))[:k]
    assert list(zip((-out_scores[:n]).tolist(), out_rows[:n].tolist(), strict=True)) == want


@given(st.lists(texts, max_size=8))
@settings(max_examples=40)
def test_stored_postings_are_those_in_memory(corpus: list[str]) -> None:
    made = Postings.of(corpus, Analyzer(language="none"))
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder))
        back = Postings.load(Path(folder), len(corpus))
        assert back.terms.column.to_pylist() == made.terms.column.to_pylist() == sorted(set(" ".join(corpus).split()))
        for name in ("indptr", "rows", "tfs", "lengths"):
            np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
        assert [back.terms.find(t) for t in back.terms.column.to_pylist()] == list(range(len(back.terms)))
        assert back.terms.find("nowhere") == -1


def test_questions_lose_their_function_words(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    made.add([Document("What do you do? What does he do?", id="chatter"), Document("The gasket seals the pump.", id="pump")])
    assert [h.id for h in made.search("What does the gasket do?")] == ["pump"]
    assert [h.id for h in made.search("what do you do")] == ["chatter"]  # nothing else is asked: they count
    keep = Collection.create(tmp_path / "d", indexes=[BM25(language="en", ignore_function_words=False)], chunker=None)
    keep.add(list(made))
    assert {h.id for h in keep.search("What does the gasket do?")} == {"chatter", "pump"}


def test_weighted_terms_of_a_rewriting_stage_are_used(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="none")], chunker=None)
    made.add([Document("alpha", id="a"), Document("beta", id="b")])
    run = made.search([Query("q", "ignored", terms={"alpha": 1.0, "beta": 2.0})])
    assert run.ids() == ["b", "a"]
    assert run.scores[0] == pytest.approx(2 * run.scores[1])


def test_language_is_decided_once_and_stored(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    made.add(["Der Hund läuft schnell durch die Stadt und bellt, weil er nicht nach Hause will."])
    assert made.info()["indexes"]["bm25"]["language"] == "de"
    made.add(["The dog runs through the town and barks because it does not want to go home."] * 1)
    assert Collection.open(made.folder).info()["indexes"]["bm25"]["language"] == "de"
    assert [h.rank for h in made.search("Hunde")] == [0]


def test_wrong_parameters_are_named() -> None:
    for wrong in ({"k1": -1}, {"b": 1.5}, {"method": "bm52"}, {"colour": 1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            BM25(**wrong)
    with pytest.raises(InputError, match="k1 or delta above 0"):
        BM25(method="l", k1=0, delta=0)
    with pytest.raises(UnknownNameError, match="'xx'"):
        BM25(language="xx")


def test_joined_postings_are_those_of_all_rows() -> None:
    analyzer = Analyzer(language="none")
    groups = [["b a b", ""], ["c"], [], ["a c é", "b"]]
    whole = Postings.of([text for group in groups for text in group], analyzer)
    joined = Postings.joined([Postings.of(group, analyzer) for group in groups])
    assert joined.terms.column.to_pylist() == whole.terms.column.to_pylist()
    for name in ("indptr", "rows", "tfs", "lengths"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        assert getattr(joined, name).dtype == getattr(whole, name).dtype
