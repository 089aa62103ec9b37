"""A single-token reranker trained on a tiny language model: does it order held-out passages better afterwards?

The model is too small to learn relevance to a query in general (that was tried and did not go), so the task is a house rule that it
can learn on a CPU in minutes: code before medicine before encyclopedia before aerodynamics. A window has one real passage of
each kind, told apart by its words alone; those of the test are of documents that no training has seen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

import ragkit
from ragkit import Full, Run, SingleToken
from ragkit.evaluation import bootstrap_interval, evaluate
from ragkit.evaluation.dataset import load_dataset
from ragkit.home import home
from ragkit.rerankers.prompts import ListwisePrompt
from ragkit.rerankers.training import OrderedExample, train_listwise

KINDS = ("cosqa", "scifact", "hotpotqa-train100", "cranfield")
"""The best first: Python, medicine, Wikipedia, aerodynamics."""

WORDS = 12
TRAINING, TEST = 4000, 300
PROMPT = ListwisePrompt(passage="[{label}] {text}\n", tail="Best: ", prefill="[", labels="letters", raw=True)
RECIPE: dict[str, Any] = {
    "prompt": PROMPT, "epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "accumulate": 1, "noise": 0.0, "max_words": WORDS, "seed": 7,
}  # fmt: skip
MEASURE = "nDCG@10"


def run(data: Path) -> dict[str, Any]:
    """Train, then order the same held-out windows with the model before and after."""
    texts = [_texts(data, kind) for kind in KINDS]
    random = np.random.default_rng(7)
    training = [_example([t[len(t) // 5 :] for t in texts], random) for _ in range(TRAINING)]
    test = [_example([t[: len(t) // 5] for t in texts], random) for _ in range(TEST)]
    base = str(Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m")
    folder = home() / "benchmarks" / "train_listwise"
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    trained = str(train_listwise(base, training, folder, **RECIPE))
    seconds = time.perf_counter() - start
    before, after = _scores(base, test), _scores(trained, test)
    low, high = bootstrap_interval(after - before)
    quality = {
        f"{MEASURE} before": round(float(before.mean()), 4),
        f"{MEASURE} after": round(float(after.mean()), 4),
        "gain": round(float((after - before).mean()), 4),
        "gain's interval": [round(float(low), 4), round(float(high), 4)],
        "wholly in order before": round(float((before == 1).mean()), 4),
        "wholly in order after": round(float((after == 1).mean()), 4),
    }
    context = {
        "model": "docs-7m: 6.9 million parameters",
        "task": f"one passage of each kind, in the order {', '.join(KINDS)}; grades 3 to 0",
        "words of a passage": WORDS,
        "windows of training, of the test": [TRAINING, TEST],
        "training": {**RECIPE, "prompt": PROMPT.show()},
        "seconds of training": round(seconds, 1),
        "interval": "95 % bootstrap over windows",
    }
    return {"benchmark": "train_listwise", "quality": quality, "context": context}


def _texts(data: Path, name: str) -> list[str]:
    """Passages of one set in a random order."""
    found = [" ".join(d.text.split()[:WORDS]) for d in load_dataset(data / name).documents() if len(d.text.split()) >= WORDS]
    return [found[i] for i in np.random.default_rng(7).permutation(len(found))]


def _example(texts: Sequence[Sequence[str]], random: Generator) -> OrderedExample:
    return OrderedExample("", tuple(kind[int(random.integers(len(kind)))] for kind in texts))


def _scores(model: str, examples: Sequence[OrderedExample]) -> NDArray[np.float64]:
    """The measure of each window, its passages shuffled; the same shuffles for every model."""
    stage = SingleToken(ragkit.llm(model), prompt=PROMPT, windows=Full(), max_words=WORDS, on_error="raise")
    random, found = np.random.default_rng(3), []
    grades = {str(i): len(KINDS) - 1 - i for i in range(len(KINDS))}
    for example in examples:
        by = [int(i) for i in random.permutation(len(KINDS))]
        out = stage(Run.from_texts(example.query, [example.texts[i] for i in by], [str(i) for i in by]))
        found.append(evaluate({"0": grades}, out.to_dict(), MEASURE).mean[MEASURE])
    return np.array(found)
