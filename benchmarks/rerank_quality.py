"""Quality and cost of every reranker on the same candidates, beside the order that was not reranked and an oracle's.

Candidates are the hybrid's first 20 (noveleval: the 20 that it gives for each query). The language model is a small one that was
trained on documentation and follows no instruction: its figures show what each method costs and that none loses a hit, and
what a method makes of a model that knows little. Cross-encoders are those of `python -m benchmarks cross_encoder`, trained first
where this machine does not have them; "fused" is half their z-scores and half those of the order that they were given (of
noveleval, which gives no scores, reciprocal ranks). On sets that they were not trained on they show transfer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ragkit
from benchmarks import cross_encoder
from ragkit import (
    BM25,
    Collection,
    Consistent,
    CrossEncoder,
    Dense,
    Full,
    Listwise,
    Pairwise,
    Pointwise,
    QueryLikelihood,
    Retrieve,
    Run,
    SetBased,
    Setwise,
    SingleToken,
    Stage,
    evaluate,
    hybrid,
    interpolate,
    rrf,
)
from ragkit.evaluation.dataset import Dataset, load_dataset
from ragkit.join import place_of, query_of
from ragkit.pipelines.reorder.keep import keep_hits

SETS = ("noveleval", "scifact", "cosqa", "cranfield", "cacm", "hotpotqa-train100", "musique-train100")
DEPTH = 20
QUERIES = 30
"""Of each set, drawn once with a fixed seed: one model call costs a tenth of a second and more."""

WORDS = 40
"""Shown of each passage: twenty of them are to fit the model's 2,048 tokens."""


def run(data: Path) -> dict[str, Any]:
    """Rerank the same candidates of each set with every reranker."""
    model = ragkit.llm(str(Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m"))
    rerankers = {**llm_rerankers(model), **cross_encoders(data)}
    quality: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="ragkit-rerank-") as folder:
        for name in SETS:
            ndcg, spent = _one_set(load_dataset(data / name), Path(folder), rerankers)
            quality.update({f"{name} nDCG@10 {label}": value for label, value in ndcg.items()})
            costs.update({f"{name} {label}": value for label, value in spent.items()})
    context = {
        "candidates": f"first {DEPTH} of the hybrid, whole documents",
        "queries of each set": f"{QUERIES} drawn, or all there are",
        "model": "docs-7m: 6.9 million parameters, no instructions followed",
        "words of a passage": WORDS,
    }
    return {"benchmark": "rerank_quality", "quality": quality, "costs": costs, "context": context}


def _one_set(dataset: Dataset, scratch: Path, rerankers: Mapping[str, Stage]) -> tuple[dict[str, float], dict[str, Any]]:
    """nDCG@10 of every order of the same candidates, and what each reranker cost a query."""
    candidates = candidates_of(dataset, scratch)
    found = {"not reranked": candidates, "oracle": oracle(candidates, dataset.qrels)}
    costs: dict[str, Any] = {}
    for label, reranker in rerankers.items():
        found[label] = reranker(candidates)
        if sorted(found[label].rows.tolist()) != sorted(candidates.rows.tolist()):
            raise RuntimeError(f"{label} lost or invented a hit on {dataset.name}")
        report = found[label].report[-1]
        kept = {k: round(v, 4) for k, v in report.per_query().items() if k not in ("retries", "cost")}
        costs[label] = {**kept, "counts": dict(report.counts)}
        if label.startswith("cross-encoder"):
            pair = cross_encoder.Given(candidates), cross_encoder.Given(found[label])
            fuse = rrf(*pair) if candidates.scale == "rank" else interpolate(*pair, alpha=0.5, normalise="zscore")
            found[f"{label}, fused"] = fuse(candidates)
    qrels = {query.id: dataset.qrels[query.id] for query in candidates.queries}
    return {label: round(evaluate(qrels, run.to_dict(), "nDCG@10").mean["nDCG@10"], 4) for label, run in found.items()}, costs


def llm_rerankers(model: Any) -> dict[str, Stage]:
    """Every reranker that asks a language model, in its usual settings."""
    return {
        "pointwise yes/no": Pointwise(model, max_words=WORDS),
        "query likelihood": QueryLikelihood(model, max_words=WORDS),
        "pairwise heap": Pairwise(model, max_words=WORDS),
        "setwise heap": Setwise(model, max_words=WORDS),
        "listwise generated": Listwise(model, max_words=WORDS),
        "single token": SingleToken(model, max_words=WORDS),
        "single token, 3 shuffles": SingleToken(model, windows=Consistent(Full(), shuffles=3), max_words=WORDS),
        "set-based": SetBased(model, max_words=WORDS),
    }


def cross_encoders(data: Path) -> dict[str, Stage]:
    """Those that `python -m benchmarks cross_encoder` trains."""
    settings: dict[str, Any] = {"depth": DEPTH, "max_length": cross_encoder.MAX_LENGTH, "precision": "bfloat16"}
    return {f"cross-encoder of {name}": CrossEncoder(cross_encoder.trained(data, name), **settings) for name in cross_encoder.TRAIN}


def candidates_of(dataset: Dataset, scratch: Path) -> Run:
    """The hybrid's first hits of some judged queries; of noveleval the 20 candidates that belong to each query."""
    judged = dataset.judged()
    names = sorted(judged)
    if len(names) > QUERIES:
        names = sorted(np.random.default_rng(7).choice(names, QUERIES, replace=False).tolist())
    collection = Collection.create(Path(scratch, dataset.name.replace("/", "-")), indexes=[BM25(), Dense()], chunker=None)
    collection.add(dataset.documents())
    queries = [ragkit.Query(name, judged[name]) for name in names]
    if dataset.name != "noveleval":
        return collection.search(queries, k=DEPTH, using=hybrid())
    everything = collection.search(queries, k=len(collection), using=Retrieve("bm25") ^ Retrieve("dense"))
    ids, of = everything.ids(), query_of(everything)
    keep = np.array([ids[i] in dataset.qrels[everything.queries[q].id] for i, q in enumerate(of)])
    kept = keep_hits(everything, keep)
    return replace(kept, scores=(-place_of(kept)).astype(np.float32))


def oracle(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Run:
    """The best order of the same candidates."""
    ids = run.ids()
    hits = np.arange(len(run.rows))
    for q, query in enumerate(run.queries):
        at = run.hits_of(q)
        grades = [qrels[query.id].get(ids[i], 0) for i in range(at.start, at.stop)]
        hits[at] = at.start + np.argsort([-g for g in grades], kind="stable")
    best = run.take(run.indptr, hits)
    return replace(best, scores=(-place_of(run)).astype(np.float32), scale="rank", floor=None)
