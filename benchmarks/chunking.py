"""The chunkers on chunking-eval: how much of what a question needs comes back in 1,200 tokens, and how little else.

Each of the 472 questions is searched in the passages of all five documents. Passages are taken best first until 1,200 word
tokens (as `count_tokens` counts them) are spent, the last one cut at its end, for every chunker alike; recall and IoU are over
tokens, a token in two passages counting once. Passages are indexed as their heading path and text: titles are left out, so
that cutting alone differs. "auto_titled" is "auto" with them, as a folder is indexed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ragkit
from ragkit import BM25, Collection, Document, Headings, Query, Recursive, Sentences, Tokens
from ragkit.chunking import chunker_for
from ragkit.evaluation import bootstrap_interval, randomization_test
from ragkit.evaluation.chunks import Range, TokenOffsets, span_scores, within_budget
from ragkit.loaders import SourceFile, load_file
from ragkit.protocols import Chunker, Encoder
from ragkit.registry import resolve
from ragkit.types import Span

BUDGET = 1200  # tokens a question
K = 5  # passages a question, where their number is fixed in place of their tokens
DEPTH = 150  # passages searched for: more than any budget needs
FIXED = 1200  # characters of the baseline's passages
RETRIEVERS = ("dense", "bm25", "hybrid")
VECTORS = "minilm"  # their name in the collections
CHUNKERS: dict[str, Chunker | None] = {  # None: see `cut`
    "auto": None,
    "headings": Headings(),
    "recursive": Recursive(),
    "sentences": Sentences(),
    "tokens": Tokens(),
    "fixed": None,
    "auto_titled": None,
}
PARTS = {"": slice(None), "even_half.": slice(0, None, 2), "odd_half.": slice(1, None, 2)}
MEASURES = ("recall", "iou")
Floats = NDArray[np.float64]


def run(data: Path, chunkers: Sequence[str] = tuple(CHUNKERS), retrievers: Sequence[str] = RETRIEVERS) -> dict[str, Any]:
    """The record: the chunkers under dense search; under BM25 and hybrid search, and at five passages, as context."""
    bench = Bench(data / "chunking-eval", retrievers)
    quality: dict[str, Any] = {"questions": len(bench.questions)}
    context: dict[str, Any] = {"budget_tokens": BUDGET, "k": K}
    if "dense" in retrievers:
        context["encoder"] = bench.encoder.model
    scores: dict[str, dict[str, Floats]] = {}
    for name in chunkers:
        n, found = bench.search(name)
        context[f"{name}.passages"] = n
        scores[name] = {}
        for retriever, ranges in found.items():
            scores[name][retriever] = bench.scores([within_budget(r, BUDGET) for r in ranges])
            (quality if retriever == "dense" else context).update(_means(f"{retriever}.{name}", scores[name][retriever]))
            first = [r[:K] for r in ranges]
            context.update(_means(f"{retriever}.{name}.at_{K}", bench.scores(first)))
            context[f"{retriever}.{name}.at_{K}.tokens"] = round(float(np.mean([sum(e - s for _, s, e in r) for r in first])), 1)
    for name in ("auto", "auto_titled"):
        for retriever in retrievers if {name, "fixed"} <= scores.keys() else ():
            gains = _gains(f"{retriever}.{name}_over_fixed", scores[name][retriever] - scores["fixed"][retriever])
            (quality if retriever == "dense" else context).update(gains)
    return {"benchmark": "chunking", "quality": quality, "context": context}


class Bench:
    """The documents, questions and references; a text that several chunkers cut alike is encoded once."""

    def __init__(self, folder: Path, retrievers: Sequence[str]) -> None:
        files = sorted((folder / "corpora").glob("*.md"))
        self.documents = [replace(d, id=file.stem) for file in files for d in load_file(SourceFile.of(file))]
        self.questions = [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
        self.retrievers, self.needs_vectors = retrievers, retrievers != ("bm25",)
        self.known: dict[str, NDArray[np.float32]] = {}
        self._offsets = {d.id: TokenOffsets(d.text) for d in self.documents}
        self.references = [[self.range(q["corpus"], r["start_index"], r["end_index"]) for r in q["references"]] for q in self.questions]

    @cached_property
    def encoder(self) -> Encoder:
        """The default encoder."""
        return ragkit.encoder()

    @cached_property
    def queries(self) -> list[Query]:
        """The questions, with their vectors where the retrievers need them."""
        queries = [Query(q["_id"], q["text"]) for q in self.questions]
        if not self.needs_vectors:
            return queries
        vectors = self.encoder.encode_query(queries)
        return [replace(q, vectors={VECTORS: v}) for q, v in zip(queries, vectors, strict=True)]

    def search(self, name: str) -> tuple[int, dict[str, list[list[Range]]]]:
        """The number of passages that a chunker makes, and the ranges of tokens that each retriever finds for each question, best first."""
        spans = [(d, span) for d in self.documents for span in cut(d, name)]
        titled = name == "auto_titled"
        pieces = [
            Document(d.text[s.start : s.end], id=str(i), title="\n".join(filter(None, (d.title * titled, " › ".join(s.headings)))))
            for i, (d, s) in enumerate(spans)
        ]
        found = {}
        with tempfile.TemporaryDirectory() as scratch:
            collection = self._indexed(pieces, Path(scratch, "c"))
            for retriever in self.retrievers:
                hits = collection.search(self.queries, k=DEPTH, using=retriever)
                ranges = [self.range(d.id, s.start, s.end) for d, s in (spans[int(i)] for i in hits.ids())]
                found[retriever] = [ranges[hits.hits_of(q)] for q in range(len(hits))]
        return len(spans), found

    def _indexed(self, pieces: Sequence[Document], folder: Path) -> Collection:
        if not self.needs_vectors:
            collection = Collection.create(folder, chunker=None)
            collection.add(pieces)
            return collection
        collection = Collection.create(folder, indexes=[BM25(), resolve("indexes", "dense")(vectors=VECTORS)], chunker=None)
        texts = [f"{p.title}\n{p.text}".strip() for p in pieces]
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        if new:
            self.known.update(zip(new, self.encoder.encode_document(new), strict=True))
        collection.add(pieces, vectors={VECTORS: np.array([self.known[t] for t in texts])})
        return collection

    def range(self, document: str, start: int, end: int) -> Range:
        """The tokens of which document.text[start:end] holds a part."""
        return (document, *self._offsets[document].range(start, end))

    def scores(self, retrieved: Sequence[Sequence[Range]]) -> Floats:
        """(questions, 2): recall and IoU of each."""
        both = [span_scores(found, wanted) for found, wanted in zip(retrieved, self.references, strict=True)]
        return np.array([(s.recall, s.iou) for s in both])


def cut(document: Document, name: str) -> list[Span]:
    """The spans of a document: of "auto" by a collection's default, of "fixed" every 1,200 characters."""
    if name == "fixed":
        return [Span(at, min(at + FIXED, len(document.text))) for at in range(0, len(document.text), FIXED)]
    return (CHUNKERS[name] or chunker_for(document)).split(document)


def _means(name: str, scores: Floats) -> dict[str, float]:
    means = {(part, at): scores[rows, i].mean() for part, rows in PARTS.items() for i, at in enumerate(MEASURES)}
    return {f"{name}.{part}{measure}": round(float(mean), 4) for (part, measure), mean in means.items()}


def _gains(name: str, differences: Floats) -> dict[str, Any]:
    """Mean differences in points, with the 95 % interval of the paired bootstrap and the p-value of the randomisation test."""
    gains: dict[str, Any] = {}
    for part, rows in PARTS.items():
        for i, measure in enumerate(MEASURES):
            points = 100 * differences[rows, i]
            gains[f"{name}.{part}{measure}_points"] = round(float(points.mean()), 2)
            gains[f"{name}.{part}{measure}_points_95"] = [round(v, 2) for v in bootstrap_interval(points)]
            gains[f"{name}.{part}{measure}_p"] = round(randomization_test(points), 4)
    return gains
