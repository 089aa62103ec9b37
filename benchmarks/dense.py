"""Dense retrieval: what ragkit costs on top of faiss, how fast texts are encoded and at what loss, and filters of any width.

Encoding is compared with sentence-transformers' plain ``SentenceTransformer(model).encode(texts)`` on the documents of
scifact; its vectors and ours are then searched exactly, and the loss is the difference of nDCG@10 on the test queries.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from ragkit import Collection, Dense, Document, Query, encoder, evaluate
from ragkit.encoders.encoder import unit
from ragkit.encoders.folder import model_folder
from ragkit.evaluation.dataset import Dataset, load_dataset

PRESETS = ("exact", "graph", "balanced", "fast", "compact", "bit")
N, DIM, K = 100_000, 384, 10
SELECTIVITIES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5)
SAMPLE, ROUNDS = 512, 3


def run(data: Path) -> dict[str, Any]:
    """Both parts; one thread for faiss, all cores for encoding on both sides."""
    searching, encoding = _search(), _encode(load_dataset(data / "scifact"))
    return {"benchmark": "dense", **{part: {**searching[part], **encoding[part]} for part in ("ratios", "quality", "context")}}


def _clustered() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """100,000 vectors around 1,000 centres, and 256 queries near some of them; unit rows."""
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(1000, DIM)).astype(np.float32)
    vectors = centres[generator.integers(1000, size=N)] + 0.7 * generator.normal(size=(N, DIM)).astype(np.float32)
    queries = vectors[generator.integers(N, size=256)] + 0.3 * generator.normal(size=(256, DIM)).astype(np.float32)
    return unit(vectors), _aligned(unit(queries))


def _aligned(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same at a multiple of 64 bytes, where faiss reads them fastest; numpy's own place is now this, now that."""
    room = np.empty(rows.size + 16, np.float32)
    first = -(room.ctypes.data // 4) % 16
    made = room[first : first + rows.size].reshape(rows.shape)
    made[:] = rows
    return made


def _search() -> dict[str, dict[str, Any]]:
    vectors, queries = _clustered()
    asked = [Query(str(i), "", vectors={"v": q}) for i, q in enumerate(queries)]
    truth = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :K]
    threads = faiss.omp_get_max_threads()
    ratios: dict[str, float] = {}
    quality: dict[str, Any] = {}
    context: dict[str, Any] = {"vectors": N, "dimensions": DIM, "k": K, "faiss_threads": 1}
    short = 0
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for preset in PRESETS:
                collection = Collection.create(Path(scratch, preset), indexes=[Dense(vectors="v", factory=preset)], chunker=None)
                start = time.perf_counter()
                faiss.omp_set_num_threads(threads)  # one for searching alone
                collection.add([Document("", id=str(i), title=str(i)) for i in range(N)], vectors={"v": vectors})
                faiss.omp_set_num_threads(1)
                context[f"add_seconds_{preset}"] = round(time.perf_counter() - start, 1)
                searcher: Any = collection.version.searcher("dense")
                found = searcher.search(asked, k=K, allow=[None])[1].reshape(-1, K)
                recall = np.mean([len(set(f) & set(t)) / K for f, t in zip(found.tolist(), truth.tolist(), strict=True)])
                quality[f"recall_at_10_{preset}"] = round(float(recall), 4)
                file = next(collection.folder.glob("segments/*/dense/index.faiss"), None)
                context[f"index_bytes_a_vector_{preset}"] = round(file.stat().st_size / N) if file else 0
                if preset != "compact":  # which scores its candidates anew, so that it does more than faiss
                    ratios.update(_overhead(preset, searcher, queries, asked, context))
                for share in SELECTIVITIES:
                    allow = np.random.default_rng(7).random(N) < share
                    for k in (10, 100):
                        indptr, rows, _ = searcher.search(asked[:20], k=k, allow=[allow])
                        short += int((np.diff(indptr) != min(k, allow.sum())).sum() + (~allow[rows]).sum())
    finally:
        faiss.omp_set_num_threads(threads)
    quality["filtered_searches_with_fewer_than_min_k_allowed"] = short
    return {"ratios": {"overhead_vs_faiss": max(ratios.values()), **ratios}, "quality": quality, "context": context}


def _overhead(preset: str, searcher: Any, queries: NDArray[np.float32], asked: list[Query], context: dict[str, Any]) -> dict[str, float]:
    """Time of the searcher over that of faiss alone, on the same index, for batches of 1 and 64."""
    (part,) = searcher._parts
    index, parameters = part.index, searcher._plain[0]

    def alone(q: NDArray[np.float32]) -> None:
        if index is None:  # on the same array: the memory of an IndexFlat lies less well (no huge pages), and is slower by half
            faiss.knn(q, part.vectors, K, metric=faiss.METRIC_INNER_PRODUCT)
        else:
            index.search(q, K, params=parameters)

    ratios = {}
    for batch, rounds in ((1, 100 if preset == "exact" else 1500), (64, 9 if preset == "exact" else 60)):
        starts = [(i * batch) % (len(queries) - batch + 1) for i in range(rounds)]

        def by_faiss(i: int, batch: int = batch, starts: list[int] = starts) -> None:
            alone(queries[starts[i] : starts[i] + batch])

        def by_ragkit(i: int, batch: int = batch, starts: list[int] = starts) -> None:
            searcher.search(asked[starts[i] : starts[i] + batch], k=K, allow=[None])

        theirs, ours = _first_and_second(by_faiss, by_ragkit, rounds)
        ratios[f"overhead_{preset}_{batch}"] = round(ours / theirs, 3)
        context[f"faiss_milliseconds_{preset}_{batch}"] = round(1e3 * theirs, 4)
    return ratios


def _first_and_second(a: Callable[[int], Any], b: Callable[[int], Any], rounds: int) -> tuple[float, float]:
    """Seconds of two calls, each the mean of two medians: over the rounds in which it comes first, and over the others.

    The first to touch a query finds what it needs cold, so that times have two peaks, and one median would lie in either.
    """
    seconds: dict[Callable[[int], Any], tuple[list[float], list[float]]] = {a: ([], []), b: ([], [])}
    for i in range(2 * rounds):
        for place, call in enumerate((a, b) if (i + i // rounds) % 2 else (b, a)):
            start = time.perf_counter()
            call(i % rounds)
            seconds[call][place].append(time.perf_counter() - start)
    theirs, ours = (statistics.fmean(map(statistics.median, seconds[call])) for call in (a, b))
    return theirs, ours


def _interleaved(calls: Sequence[Callable[[int], Any]], rounds: int) -> list[float]:
    """Median seconds of each call; the order within a round changes."""
    seconds: list[list[float]] = [[] for _ in calls]
    order = np.random.default_rng(7)
    for i in range(rounds):
        for c in order.permutation(len(calls)):
            start = time.perf_counter()
            calls[c](i)
            seconds[c].append(time.perf_counter() - start)
    return [statistics.median(s) for s in seconds]


def _encode(dataset: Dataset) -> dict[str, dict[str, Any]]:
    from sentence_transformers import SentenceTransformer

    ids = [d.id for d in dataset.documents()]
    texts = [f"{d.title}\n\n{d.text}" for d in dataset.documents()]
    questions = dataset.judged()
    plain = SentenceTransformer(str(model_folder("all-MiniLM-L6-v2")), device="cpu", local_files_only=True)
    fast, static = encoder(), encoder("static")
    sample = [texts[i] for i in np.random.default_rng(7).choice(len(texts), SAMPLE, replace=False)]
    calls: list[Callable[[int], Any]] = [
        lambda i: plain.encode(sample, show_progress_bar=False),
        lambda i: fast.encode_document(sample),
        lambda i: static.encode_document(sample),
    ]
    for call in calls:
        call(0)  # warm
    theirs, ours, quick = _interleaved(calls, ROUNDS)

    def ndcg(documents: NDArray[np.float32], asked: NDArray[np.float32]) -> float:
        scores = asked @ documents.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :100]
        ranked = {q: {ids[r]: float(scores[n, r]) for r in best[n]} for n, q in enumerate(questions)}
        return evaluate(dataset.qrels, ranked, ["nDCG@10"]).mean["nDCG@10"]

    wanted = list(questions.values())
    figures = {
        "sentence_transformers": ndcg(*(plain.encode(t, show_progress_bar=False, normalize_embeddings=True) for t in (texts, wanted))),
        "ragkit": ndcg(fast.encode_document(texts), fast.encode_query(wanted)),
        "static": ndcg(static.encode_document(texts), static.encode_query(wanted)),
    }
    return {
        "ratios": {
            "encode_vs_sentence_transformers": round(theirs / ours, 2),
            "static_encode_vs_sentence_transformers": round(theirs / quick, 1),
        },
        "quality": {
            **{f"ndcg_scifact_{name}": round(value, 4) for name, value in figures.items()},
            "ndcg_loss_scifact": round(figures["sentence_transformers"] - figures["ragkit"], 4),
            "static_ndcg_loss_scifact": round(figures["sentence_transformers"] - figures["static"], 4),
        },
        "context": {
            "encoder": repr(fast),
            "texts_timed": SAMPLE,
            "sentence_transformers_texts_a_second": round(SAMPLE / theirs, 1),
            "ragkit_texts_a_second": round(SAMPLE / ours, 1),
            "static_texts_a_second": round(SAMPLE / quick, 1),
        },
    }
