"""BM25 against bm25s (numba backend) and tantivy: speed of search and of indexing on the same terms, one thread, and exactness.

Two corpora: the passages of cpp-docs as ragkit cuts them, and a million passages made of the same documents' sentences. Every
engine gets terms, so no tokenizer is timed. Figures are ratios of medians of runs in which the engines take turns.
"""

from __future__ import annotations

import gc
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit import BM25, Collection, Query
from ragkit.indexes.bm25.postings import Postings
from ragkit.indexes.bm25.searcher import BM25Searcher
from ragkit.registry import need
from ragkit.text import Analyzer, count, sentence_spans

K1, B = 0.9, 0.4
THIRDS = ((334, 2, 3), (333, 4, 8), (333, 20, 40))
"""Questions, fewest terms, most terms."""
CUTS = (10, 100)
REPEATS = 5
PASSAGES = 1_000_000


@dataclass(frozen=True)
class Corpus:
    """Rows of terms: row n is ids[indptr[n]:indptr[n + 1]], and a term's name is its number."""

    name: str
    ids: NDArray[np.int32]
    indptr: NDArray[np.int64]

    @property
    def n_terms(self) -> int:
        return int(self.ids.max()) + 1


def run(data: Path) -> dict[str, Any]:
    """Index and search both corpora with each engine."""
    bm25s, tantivy = (need(name, extra="bench", why="the comparison of BM25") for name in ("bm25s", "tantivy"))
    searches: dict[str, dict[str, float]] = {}
    indexing: dict[str, dict[str, float]] = {}
    equal: list[float] = []
    for corpus in _corpora(data):
        ours, peer, indexing[corpus.name] = _index(corpus, bm25s)
        other = _Tantivy(corpus, tantivy)
        truth = _Truth(corpus)
        for count_, fewest, most in THIRDS:
            asked = _questions(corpus, count_, fewest, most)
            for k in CUTS:
                engines: dict[str, Callable[[], Any]] = {
                    "ragkit": _ragkit_call(ours, asked, k), "bm25s": _bm25s_call(peer, asked, k), "tantivy": other.call(asked, k),
                }  # fmt: skip
                searches[f"{corpus.name} {fewest}-{most} terms k={k}"] = _microseconds(engines, len(asked))
                equal.append(truth.share_equal(asked, k, *engines["ragkit"]()))
        if corpus.name == "cpp-docs":
            shuffled = _shuffled(corpus, bm25s)
        del ours, peer, other, truth
        gc.collect()
    faster = {peer: [cell[peer] / cell["ragkit"] for cell in searches.values()] for peer in ("bm25s", "tantivy")}
    return {
        "benchmark": "bm25",
        "ratios": {
            "search_vs_bm25s": round(_mean(faster["bm25s"]), 2),
            "search_vs_bm25s_worst": round(min(faster["bm25s"]), 2),
            "search_vs_tantivy": round(_mean(faster["tantivy"]), 2),
            "search_vs_tantivy_worst": round(min(faster["tantivy"]), 2),
            "index_vs_bm25s": round(min(seconds["bm25s"] / seconds["ragkit"] for seconds in indexing.values()), 2),
        },
        "quality": {"topk_equal": min(equal)},
        "context": {
            **{f"search {cell} (us a question)": times for cell, times in searches.items()},
            **{f"index {name} (s)": times for name, times in indexing.items()},
            **shuffled,
            "repeats": REPEATS,
        },
    }


def _mean(ratios: list[float]) -> float:
    return exp(sum(map(log, ratios)) / len(ratios))


# --- corpora and questions ------------------------------------------------------------------------------------------


def _corpora(data: Path) -> list[Corpus]:
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as archive:
            archive.extractall(scratch, filter="data")
        made = Collection.create(Path(scratch, "c.rag"), indexes=[BM25(language="en")])
        made.sync(Path(scratch, "docs"))
        analyzer = BM25(language="en").analyzer
        views = made.version.views
        passages = count((text for view in views for text in view.columns.index_texts()), analyzer)
        sentences, owners = [], []
        for number, document in enumerate(made):
            for start, end in sentence_spans(document.text):
                sentences.append(document.text[start:end])
                owners.append(number)
    real = Corpus("cpp-docs", passages.ids, passages.indptr)
    return [real, _resampled(sentences, np.array(owners), analyzer, float(np.diff(real.indptr).mean()))]


def _resampled(sentences: list[str], owners: NDArray[np.int64], analyzer: Analyzer, length: float) -> Corpus:
    """A million passages of about the real length, each of sentences drawn from one real document.

    The documents follow one another in several editions, each with about as many passages of a document as it has in
    reality, so that neighbours are related as in a real collection, and no document is larger than a real one.
    """
    rng = np.random.default_rng(7)
    counts = count(sentences, analyzer)
    sizes = counts.lengths
    usable = np.flatnonzero(sizes)
    n_documents = int(owners.max()) + 1
    first = np.searchsorted(owners[usable], np.arange(n_documents))
    available = np.bincount(owners[usable], minlength=n_documents)
    terms = np.bincount(owners[usable], weights=sizes[usable], minlength=n_documents)
    edition = np.repeat(np.arange(n_documents), np.maximum(1, np.round(terms / length)).astype(np.int64) * (available > 0))
    document = np.resize(edition, PASSAGES)
    wanted = rng.gamma(2.5, length / 2.5, PASSAGES)  # terms: as skewed as real passages are
    per_passage = np.maximum(1, np.round(wanted / (terms / np.maximum(available, 1))[document])).astype(np.int64)
    of_sentence = np.repeat(document, per_passage)
    drawn = usable[first[of_sentence] + (rng.random(len(of_sentence)) * available[of_sentence]).astype(np.int64)]
    lengths = np.bincount(np.repeat(np.arange(PASSAGES), per_passage), weights=sizes[drawn], minlength=PASSAGES).astype(np.int64)
    indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    ends = np.cumsum(sizes[drawn])
    ids = counts.ids[np.repeat(counts.indptr[drawn] - (ends - sizes[drawn]), sizes[drawn]) + np.arange(ends[-1])]
    return Corpus("a million passages", ids, indptr)


def _questions(corpus: Corpus, n: int, fewest: int, most: int) -> list[list[int]]:
    """Different terms of a random passage that has enough of them: rare and frequent ones together, as in real questions."""
    rng = np.random.default_rng(11 + most)
    made: list[list[int]] = []
    while len(made) < n:
        row, size = int(rng.integers(len(corpus.indptr) - 1)), int(rng.integers(fewest, most + 1))
        terms = np.unique(corpus.ids[corpus.indptr[row] : corpus.indptr[row + 1]])
        if len(terms) >= size:
            made.append(rng.choice(terms, size, replace=False).tolist())
    return made


# --- engines --------------------------------------------------------------------------------------------------------


def _index(corpus: Corpus, bm25s: Any) -> tuple[BM25Searcher, Any, dict[str, float]]:
    """Both engines' indexes, and the seconds from terms to an index that derives nothing more when it is asked.

    ragkit gets flat arrays; bm25s gets lists of numbers with a vocabulary, which is faster for it than lists of strings.
    """
    gc.disable()  # millions of small lists: collecting them would be counted against whoever runs
    rows = [of_row.tolist() for of_row in np.split(corpus.ids, corpus.indptr[1:-1])]
    names = list(map(str, range(corpus.n_terms)))
    vocabulary = {name: number for number, name in enumerate(names)}
    warm = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numba")
    warm.compile()
    warm.index((rows[:100], vocabulary), show_progress=False)
    times: dict[str, list[float]] = {"ragkit": [], "bm25s": []}
    for _ in range(3 if len(rows) < PASSAGES else 1):
        start = time.perf_counter()
        ours = BM25Searcher(BM25(k1=K1, b=B, language="none"), [(Postings.of_ids(names, corpus.ids, corpus.indptr), None)])
        ours.prepare()
        middle = time.perf_counter()
        peer = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numba")
        peer._np_csc = warm._np_csc  # what compile() made, so that no compiler is timed
        peer.index((rows, vocabulary), show_progress=False)
        times["bm25s"].append(time.perf_counter() - middle)
        times["ragkit"].append(middle - start)
    gc.enable()
    return ours, peer, {name: round(median(seconds), 3) for name, seconds in times.items()}


def _ragkit_call(searcher: BM25Searcher, asked: list[list[int]], k: int) -> Callable[[], Any]:
    queries = [Query(str(n), "", terms={str(term): 1.0 for term in terms}) for n, terms in enumerate(asked)]
    return lambda: searcher.search(queries, k=k, allow=[None])


def _bm25s_call(retriever: Any, asked: list[list[int]], k: int) -> Callable[[], Any]:
    return lambda: retriever.retrieve(asked, k=k, sorted=True, n_threads=1, show_progress=False)


class _Tantivy:
    """One segment, whitespace between the terms, frequencies without positions; its k1 and b (1.2, 0.75) are fixed."""

    def __init__(self, corpus: Corpus, tantivy: Any) -> None:
        self._tantivy = tantivy
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("terms", stored=False, tokenizer_name="terms", index_option="freq")
        self._schema = builder.build()
        index = tantivy.Index(self._schema)
        index.register_tokenizer("terms", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
        writer = index.writer(heap_size=3_000_000_000, num_threads=1)
        for ids in np.split(corpus.ids, corpus.indptr[1:-1]):
            document = tantivy.Document()
            document.add_text("terms", " ".join(map(str, ids.tolist())))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._searcher = index.searcher()
        if self._searcher.num_segments != 1:
            raise RuntimeError(f"tantivy made {self._searcher.num_segments} segments, and the comparison is with one")

    def call(self, asked: list[list[int]], k: int) -> Callable[[], Any]:
        make, should = self._tantivy.Query, self._tantivy.Occur.Should
        queries = [make.boolean_query([(should, make.term_query(self._schema, "terms", str(t), "freq")) for t in terms]) for terms in asked]
        search = self._searcher.search
        return lambda: [search(query, k, count=False).hits for query in queries]


def _microseconds(engines: dict[str, Callable[[], Any]], n: int) -> dict[str, float]:
    """Median time a question of each engine; they take turns, after one call each that is not counted (compilers, caches)."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(REPEATS + 1):
        for name, call in engines.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: round(median(seconds) / n * 1e6, 1) for name, seconds in times.items()}


def _shuffled(corpus: Corpus, bm25s: Any) -> dict[str, float]:
    """The ratio to bm25s on the same passages in random order: how much of it is owed to neighbours that share words."""
    order = np.random.default_rng(3).permutation(len(corpus.indptr) - 1)
    lengths = np.diff(corpus.indptr)[order]
    indptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    ids = corpus.ids[np.repeat(corpus.indptr[order] - indptr[:-1], lengths) + np.arange(indptr[-1])]
    mixed = Corpus("shuffled", ids, indptr)
    ours, peer, _ = _index(mixed, bm25s)
    ratios = []
    for n, fewest, most in THIRDS:
        asked = _questions(mixed, n, fewest, most)
        for k in CUTS:
            times = _microseconds({"ragkit": _ragkit_call(ours, asked, k), "bm25s": _bm25s_call(peer, asked, k)}, n)
            ratios.append(times["bm25s"] / times["ragkit"])
    return {"cpp-docs in random order: search_vs_bm25s": round(_mean(ratios), 2), "the same, worst cell": round(min(ratios), 2)}


class _Truth:
    """Scores by the formula in float64, from the terms alone."""

    def __init__(self, corpus: Corpus) -> None:
        lengths = np.diff(corpus.indptr)
        n = len(lengths)
        keys = corpus.ids.astype(np.int64) * n + np.repeat(np.arange(n), lengths)
        keys.sort()
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        tfs = np.diff(np.concatenate((starts, [len(keys)]))).astype(np.float64)
        self._rows = keys[starts] % n
        self._indptr = np.searchsorted(keys[starts] // n, np.arange(corpus.n_terms + 1))
        self._weights = tfs / (tfs + K1 * (1 - B + B * lengths[self._rows] / lengths.mean()))
        self._n = n

    def scores(self, terms: list[int]) -> NDArray[np.float64]:
        """float64 (N,)"""
        total = np.zeros(self._n, np.float64)
        for term in terms:
            of_term = slice(self._indptr[term], self._indptr[term + 1])
            df = of_term.stop - of_term.start
            total[self._rows[of_term]] += log(1 + (self._n - df + 0.5) / (df + 0.5)) * self._weights[of_term]
        return total

    def share_equal(self, asked: list[list[int]], k: int, indptr: NDArray[np.int64], rows: NDArray[np.int64], got: Any) -> float:
        """Share of the questions whose k best have the true scores, and rows that have these scores (1e-5 relative)."""
        right = 0
        for n, terms in enumerate(asked):
            scores, mine, values = self.scores(terms), rows[indptr[n] : indptr[n + 1]], got[indptr[n] : indptr[n + 1]]
            found = scores[scores > 0]
            best = np.sort(np.partition(found, max(0, len(found) - k))[-k:])[::-1]
            right += bool(
                len(mine) == len(set(mine.tolist())) == len(best)
                and np.allclose(values, best, rtol=1e-5, atol=0)
                and np.allclose(values, scores[mine], rtol=1e-5, atol=0)
            )
        return right / len(asked)
