"""Speculative retrieval: a text with a fresh passage every four tokens, written with and without speculation.

Passages are windows of 64 words over cpp-docs, less the files that docs-7m was not trained on, and over the other sets' documents;
they overlap so far that there are a million. docs-7m writes on from the files that it has not seen. One thread for the model, one
for a search.

Vectors are those of the static encoder, of 256 dimensions; or the same turned into 768, the width of DPR's and Contriever's, by a
fixed map that keeps all inner products: the same passages are found, and a search costs what it costs with an encoder of that width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.continuing import files, models
from ragkit import Collection, Dense, Document, IterativeRAG, Query, encoder, llm
from ragkit.bound import Bound
from ragkit.encoders.encoder import TextEncoder
from ragkit.evaluation.dataset import load_dataset
from ragkit.pipelines.iterative import Iterated

SIZES = ("million", "small")
PASSAGES = {"million": 1_000_000, "small": 50_000}
WIDTHS = {"million": (768, 256), "small": (768,)}
PROMPTS = {"million": 12, "small": 3}
OTHER_SETS = (
    "scifact", "cranfield", "cacm", "vaswani", "cosqa", "contextual-code", "noveleval", "musique-train100", "hotpotqa-train100", "xquad/en",
)  # fmt: skip
WORDS, PROMPT_WORDS, MAX_TOKENS = 64, 48, 128
VARIANTS: dict[str, dict[str, Any]] = {
    "iterative": {"speculate": False},
    "ralmspec": {},
    "synchronous": {"asynchronous": False},
    "asynchronous, prefetch 1": {"prefetch": 1},
    "synchronous, prefetch 1": {"asynchronous": False, "prefetch": 1},
    "synchronous, always 3 strides": {"asynchronous": False, "steps": 3},
}
"""Settings of `IterativeRAG`; "ralmspec" has the defaults."""


def run(data: Path, size: str = SIZES[0]) -> dict[str, Any]:
    """Write each prompt's text in every way, for each width of the vectors."""
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        return _run(data, models() / "docs-7m", size)
    finally:
        torch.set_num_threads(threads[0])
        faiss.omp_set_num_threads(threads[1])


def _run(data: Path, model: Path, size: str) -> dict[str, Any]:
    known, unseen = _texts(data)
    texts = list(islice(_windows(known, PASSAGES[size]), PASSAGES[size]))
    prompts = _prompts(unseen, PROMPTS[size])
    ratios: dict[str, float] = {}
    quality: dict[str, Any] = {}
    context: dict[str, Any] = {
        "passages": f"{len(texts):,} windows of {WORDS} words over {sum(len(t.split()) for t in known):,} words",
        "model": "docs-7m, 1 thread",
        "prompts": f"{len(prompts)} beginnings, of {PROMPT_WORDS} words, of files that docs-7m was not trained on",
        "max_tokens": MAX_TOKENS,
        "searches": "exact, by 1 thread",
    }
    for width in WIDTHS[size]:
        wide = Wide(encoder("static"), width)
        with tempfile.TemporaryDirectory() as scratch:
            collection = Collection.create(Path(scratch, "c"), indexes=[Dense(vectors="wide", similarity="dot")], chunker=None)
            vectors = wide.encode_document(texts)
            collection.add([Document(text, id=str(n)) for n, text in enumerate(texts)], vectors={"wide": vectors})
            del vectors
            found = _written(collection.retriever("dense"), llm(str(model)), wide, prompts)
        first, name = width == WIDTHS[size][0], f"{width} dimensions"
        for part, values in zip((ratios, quality, context), _figures(found), strict=True):
            part.update({key if first and part is not context else f"{name}, {key}": value for key, value in values.items()})
    return {"benchmark": "ralmspec", "ratios": ratios, "quality": quality, "context": context}


def _written(retriever: Bound, model: Any, wide: Wide, prompts: Sequence[str]) -> dict[str, list[Iterated]]:
    """Each variant's text for each prompt; the variants take turns, so that a slower minute of the machine meets all."""
    made = {name: IterativeRAG(retriever, model, max_tokens=MAX_TOKENS, encoder=wide, **given) for name, given in VARIANTS.items()}
    for one in made.values():  # vectors are read from disk, code is compiled, and the scheduler learns how fast this machine is
        one.generate(prompts[0])
    found: dict[str, list[Iterated]] = {name: [] for name in made}
    for prompt in prompts:
        for name, one in made.items():
            found[name].append(one.generate(prompt))
    return found


def _figures(found: dict[str, list[Iterated]]) -> tuple[dict[str, float], dict[str, Any], dict[str, Any]]:
    """(ratios, quality, context) of one width."""
    plain = found["iterative"]
    total = {name: sum(o.trace.seconds["total"] for o in texts) for name, texts in found.items()}
    predicted = {name: sum(o.trace.predicted_seconds for o in texts) for name, texts in found.items()}
    same = [(o.tokens, o.passages) == (p.tokens, p.passages) for texts in found.values() for o, p in zip(texts, plain, strict=True)][
        len(plain) :
    ]
    ratios = {
        "ralmspec_vs_iterative": round(total["iterative"] / total["ralmspec"], 3),
        "measured_vs_predicted": round(predicted["ralmspec"] / total["ralmspec"], 3),
        **{f"{name} vs iterative": round(total["iterative"] / total[name], 3) for name in list(VARIANTS)[2:]},
        **{f"{name}, measured vs predicted": round(predicted[name] / total[name], 3) for name in list(VARIANTS)[2:]},
    }
    quality = {"identical": round(float(np.mean(same)), 4), "texts_compared": len(same)}
    context: dict[str, Any] = {
        "share of retrieval in a step": round(sum(o.trace.seconds["searching"] for o in plain) / total["iterative"], 3),
        "predicted ralmspec_vs_iterative": round(total["iterative"] / predicted["ralmspec"], 3),
    }
    for name, texts in found.items():
        context[name] = _where_time_goes(texts, total[name])
    return ratios, quality, context


def _where_time_goes(texts: Sequence[Iterated], total: float) -> dict[str, Any]:
    """Milliseconds a stride of the text, by part, and what speculation did."""
    traces = [o.trace for o in texts]
    strides, rounds = sum(t.strides for t in traces), [r for t in traces for r in t.rounds]
    told: dict[str, Any] = {"seconds": round(total, 2), "strides": strides, "milliseconds a stride": round(1e3 * total / strides, 1)}
    for part in ("asking", "writing", "searching", "waiting"):
        told[f"{part}, milliseconds a stride"] = round(1e3 * sum(t.seconds[part] for t in traces) / strides, 1)
    told["milliseconds a search"] = round(1e3 * sum(t.seconds["searching"] for t in traces) / sum(t.searches for t in traces), 1)
    if rounds:
        matches, mismatches = sum(r.matches for r in rounds), sum(r.mismatch for r in rounds)
        told["gamma"] = round(matches / (matches + mismatches), 3)
        told["strides asked for a round"] = round(float(np.mean([r.steps for r in rounds])), 2)
        told["strides kept a round"] = round(float(np.mean([r.kept for r in rounds])), 2)
        told["strides taken back"] = sum(t.discarded for t in traces)
        told["rows in the cache at the end"] = round(float(np.mean([t.cached for t in traces])))
    return told


class Wide:
    """An encoder whose vectors are turned into more dimensions by a fixed map that keeps inner products."""

    similarity = "dot"

    def __init__(self, inner: TextEncoder, dim: int) -> None:
        self.model, self.fingerprint, self.dim = f"{inner.model}, in {dim} dimensions", f"{inner.fingerprint}-{dim}", dim
        self._inner = inner
        columns, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(dim, inner.dim)))  # orthonormal
        self._map = np.ascontiguousarray(columns, np.float32) if dim != inner.dim else None

    def encode_query(self, queries: Sequence[str | Query]) -> NDArray[np.float32]:
        vectors = self._inner.encode_query(queries)
        return vectors if self._map is None else np.einsum("qi,di->qd", vectors, self._map)  # in one thread, as BLAS would not

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        out = np.empty((len(texts), self.dim), np.float32)
        for start, vectors in self.chunks(texts):
            out[start : start + len(vectors)] = vectors
        return out

    def chunks(self, texts: Sequence[str]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for start, vectors in self._inner.chunks(texts):
            yield start, vectors if self._map is None else vectors @ self._map.T


def _texts(data: Path) -> tuple[list[str], list[str]]:
    """(texts to search in, files that docs-7m has not seen)."""
    seen, unseen = files(data)
    others = (document.text for name in OTHER_SETS for document in load_dataset(data / name).documents())
    return [*seen.values(), *others], list(unseen.values())


def _windows(texts: Sequence[str], n: int) -> Iterator[str]:
    """At least n windows, evenly over all texts."""
    cut = [text.split() for text in texts]
    step = max(1, sum(map(len, cut)) // n)
    while sum(-(-len(words) // step) for words in cut) < n:
        step -= 1
    for words in cut:
        for start in range(0, len(words), step):
            yield " ".join(words[start : start + WORDS])


def _prompts(texts: Sequence[str], n: int) -> list[str]:
    """Beginnings of texts, behind the block of metadata that a file of cpp-docs starts with."""
    bodies = (text.split("---", 2)[-1].split() for text in texts)
    long = [words for words in bodies if len(words) >= 2 * PROMPT_WORDS]
    return [" ".join(words[:PROMPT_WORDS]) for words in long[:: max(1, len(long) // n)][:n]]
