"""kNN-LM: what a datastore of documentation adds to a language model on files that neither has seen, and what speculation saves.

The datastore holds cpp-docs without the files that docs-7m was not trained on, every so many of the rest, up to a number of tokens.
Weight, tau and the farthest distance are fitted on every other of those left out; the rest is measured. One thread for everything.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.continuing import files, target
from ragkit.pipelines.knn_lm import KNNLanguageModel, KNNText, TokenDatastore

SIZES = ("full", "small")
ENTRIES = {"full": 300_000, "small": 60_000}
MEASURED = {"full": 20_000, "small": 3_000}
"""Tokens of each half of the files left out, about: every so many of its files, whole."""
PROMPTS = {"full": 12, "small": 3}
PROMPT_TOKENS, MAX_TOKENS = 96, 128
STEPS = 4
VARIANTS: dict[str, dict[str, Any]] = {
    "kNN-LM": {},
    "speculative": {"speculate": True},
    f"speculative, always {STEPS} tokens": {"speculate": True, "steps": STEPS},
    "speculative, no entries behind neighbours": {"speculate": True, "consecutive": 0},
}
"""Settings of `KNNLanguageModel`."""
DRAWN = 0.7


def run(data: Path, size: str = SIZES[0]) -> dict[str, Any]:
    """Build, fit, measure the likelihood of files, and write on from their beginnings in every way."""
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        return _run(data, size)
    finally:
        torch.set_num_threads(threads[0])
        faiss.omp_set_num_threads(threads[1])


def _run(data: Path, size: str) -> dict[str, Any]:
    model = target()
    seen, unseen = files(data)
    cut = model.tokens.tokenizer
    texts = _evenly([cut(t, add_special_tokens=False, verbose=False)["input_ids"] for t in seen.values()], ENTRIES[size])
    left = [cut(t, add_special_tokens=False, verbose=False)["input_ids"] for t in unseen.values()]
    fitted_on, measured = (_evenly(left[n::2], MEASURED[size]) for n in (0, 1))
    with tempfile.TemporaryDirectory(prefix="ragkit-knn-lm-") as scratch:
        seconds: dict[str, float] = {}
        start = time.perf_counter()
        store = TokenDatastore.build(Path(scratch, "store"), model, texts)
        seconds["building"] = time.perf_counter() - start
        start = time.perf_counter()
        knn = KNNLanguageModel(store, model).fit(fitted_on)
        seconds["fitting"] = time.perf_counter() - start
        start = time.perf_counter()
        perplexity = {
            "docs-7m": KNNLanguageModel(store, model, weight=0.0).perplexity(measured),
            "kNN-LM, as it comes": KNNLanguageModel(store, model).perplexity(measured),
            "kNN-LM, fitted": knn.perplexity(measured),
        }
        seconds["measuring three times"] = time.perf_counter() - start
        prompts = [cut.decode(t[:PROMPT_TOKENS]) for t in left[1::2] if len(t) >= 2 * PROMPT_TOKENS]
        prompts = prompts[:: max(1, len(prompts) // PROMPTS[size])][: PROMPTS[size]]
        greedy, drawn = (_written(knn, store, model, prompts, temperature) for temperature in (0.0, DRAWN))
        context: dict[str, Any] = {
            "datastore": f"{len(store):,} entries of {store.halves.shape[1]} numbers, {len(texts)} files; exact search",
            "measured": f"{sum(map(len, measured)):,} tokens of {len(measured)} files",
            "fitted on": f"{sum(map(len, fitted_on)):,} tokens of {len(fitted_on)} others",
            "fitted": {"weight": round(knn.weight, 3), "tau": round(knn.tau, 3), "farthest": knn.farthest and round(knn.farthest, 3)},
            "prompts": f"{len(prompts)} beginnings, of {PROMPT_TOKENS} tokens, of the files measured; {MAX_TOKENS} tokens are written",
            "model": "docs-7m, 1 thread; 1 thread for searches",
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            **{f"greedy, {name}": _where_time_goes(found) for name, found in greedy.items()},
            **{f"drawn at {DRAWN}, {name}": _where_time_goes(found) for name, found in drawn.items()},
        }
    same = [
        o.tokens == p.tokens
        for found in (greedy, drawn)
        for name in list(VARIANTS)[1:]
        for o, p in zip(found[name], found["kNN-LM"], strict=True)
    ]
    plain = greedy["kNN-LM"]
    ratios = {
        "perplexity_vs_docs_7m": round(perplexity["kNN-LM, fitted"] / perplexity["docs-7m"], 4),
        "speculative_vs_plain": _ratio(greedy, "speculative"),
        "speculative_vs_plain, drawn": _ratio(drawn, "speculative"),
        **{f"{name} vs plain": _ratio(greedy, name) for name in list(VARIANTS)[2:]},
        "share of retrieval in a step": round(sum(o.trace.seconds["searching"] for o in plain) / _total(plain), 3),
    }
    quality = {
        **{f"perplexity, {name}": round(value, 3) for name, value in perplexity.items()},
        "identical": round(float(np.mean(same)), 4),
        "texts_compared": len(same),
    }
    return {"benchmark": "knn_lm", "ratios": ratios, "quality": quality, "context": context}


def _written(
    knn: KNNLanguageModel, store: TokenDatastore, model: Any, prompts: Sequence[str], temperature: float
) -> dict[str, list[KNNText]]:
    """Each variant's text for each prompt; the variants take turns, so that a slower minute of the machine meets all."""
    fitted: dict[str, Any] = {"weight": knn.weight, "tau": knn.tau, "farthest": knn.farthest}
    made = {name: KNNLanguageModel(store, model, **fitted, **given) for name, given in VARIANTS.items()}
    for one in made.values():  # keys are read from disk, and the scheduler learns how fast this machine is
        one.generate(prompts[0], max_tokens=MAX_TOKENS, temperature=temperature, seed=7)
    found: dict[str, list[KNNText]] = {name: [] for name in made}
    for number, prompt in enumerate(prompts):
        for name, one in made.items():
            found[name].append(one.generate(prompt, max_tokens=MAX_TOKENS, temperature=temperature, seed=number))
    return found


def _total(texts: Sequence[KNNText]) -> float:
    return sum(o.trace.seconds["total"] for o in texts)


def _ratio(found: dict[str, list[KNNText]], name: str) -> float:
    """How many times as long the plain loop takes."""
    return round(_total(found["kNN-LM"]) / _total(found[name]), 3)


def _where_time_goes(texts: Sequence[KNNText]) -> dict[str, Any]:
    """Milliseconds a token of the text, by part, and what speculation did."""
    traces = [o.trace for o in texts]
    tokens, rounds = sum(t.strides for t in traces), [r for t in traces for r in t.rounds]
    told: dict[str, Any] = {"milliseconds a token": round(1e3 * _total(texts) / tokens, 2)}
    for part in ("asking", "writing", "searching"):
        told[f"{part}, milliseconds a token"] = round(1e3 * sum(t.seconds[part] for t in traces) / tokens, 2)
    told["milliseconds a search"] = round(1e3 * sum(t.seconds["searching"] for t in traces) / max(1, sum(t.searches for t in traces)), 2)
    if rounds:
        told["gamma"] = round(sum(r.matches for r in rounds) / max(1, sum(r.matches + r.mismatch for r in rounds)), 3)
        told["tokens asked for a round"] = round(float(np.mean([r.steps for r in rounds])), 2)
        told["tokens kept a round"] = round(float(np.mean([r.kept for r in rounds])), 2)
        told["tokens taken back"] = sum(t.discarded for t in traces)
        told["entries in the cache at the end"] = round(float(np.mean([t.cached for t in traces])))
    return told


def _evenly(texts: list[list[int]], n: int) -> list[list[int]]:
    """Every so many texts, about n tokens in all."""
    return texts[:: max(1, sum(map(len, texts)) // n)]
