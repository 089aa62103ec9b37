"""Rankings by a question's n-grams, alone and fused with BM25, against BM25: no language model, whole documents, with intervals.

The settings of `WordNGram` and the weight of one half were chosen on SciFact's training questions, MuSiQue, Cranfield, CoSQA's development
questions, CACM and Vaswani; none of the sets here was looked at. "words" is the same fusion with single words for n-grams: what is gained
beyond it is the n-grams' own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ragkit import BM25, Collection, Query, Retrieve, WordNGram, compare, interpolate
from ragkit.evaluation.dataset import Dataset, load_dataset

SETS = ("scifact", "hotpotqa-train100", "xquad/en", "xquad/es", "xquad/de", "xquad/ar", "xquad/hi", "xquad/zh")
ALPHA = 0.5
MEASURE = "nDCG@10"
WORSE = 0.005


def run(data: Path) -> dict[str, Any]:
    """Index each set and compare."""
    quality: dict[str, Any] = {}
    gains, losses = [], []
    for name in SETS:
        found = _one_set(load_dataset(data / name))
        quality.update({f"{name} {system}": figures for system, figures in found.items()})
        gain = found["fused"]["mean"] - found["bm25"]["mean"]
        if gain > 0 and found["fused"]["p against bm25"] < 0.05:
            gains.append(name)
        if gain < -WORSE:
            losses.append(name)
    quality["fused gains with p < 0.05 on"] = gains
    quality[f"fused loses more than {WORSE} on"] = losses
    context = {"unit": "document", "chunker": None, "weight of the n-grams": 1 - ALPHA, "intervals": "95 % bootstrap over questions"}
    return {"benchmark": "ngram_retrieval", "quality": quality, "context": context}


def _one_set(dataset: Dataset) -> dict[str, Any]:
    bm25, ngram = Retrieve("bm25"), Retrieve("word_ngram")
    fused = interpolate(bm25, ngram, alpha=ALPHA)
    questions = dataset.judged()
    with tempfile.TemporaryDirectory() as scratch:
        made = {}
        for n in (WordNGram().n, 1):
            made[n] = Collection.create(Path(scratch, str(n)), indexes=[BM25(), WordNGram(n=n)], chunker=None)
            made[n].add(dataset.documents())
        words = (fused % 100).on(made[1])([Query(id, text) for id, text in questions.items()])
        systems: dict[str, Any] = {"bm25": bm25, "n-grams": ngram, "fused": fused, "fused, words": words.to_dict()}
        compared = compare(systems, questions, dataset.qrels, MEASURE, on=made[WordNGram().n], baseline="bm25")
    figures = {}
    for system, found in compared.systems.items():
        score, latency = found.scores[MEASURE], found.latency
        figures[system] = {
            "mean": round(score.mean, 4),
            "interval": [round(x, 4) for x in score.interval],
            **({"p against bm25": round(score.difference.p, 4)} if score.difference else {}),
            **({"milliseconds": latency.to_dict()} if latency else {}),
        }
    return figures
