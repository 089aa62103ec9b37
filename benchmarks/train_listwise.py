"""A single-token reranker trained on a tiny language model: does it order held-out passages better afterwards?

The model is too small to learn relevance in general, so the task is one that it can learn on a CPU in minutes: the query names a
kind of text (an abstract on medicine, Python code, …), and passages of that kind come before the others. Passages are real ones
of five sets; no training has seen those of the tests, nor the wordings of the queries of one of them.
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

import ragkit
from ragkit import Full, Run, SingleToken
from ragkit.evaluation import bootstrap_interval, evaluate
from ragkit.evaluation.dataset import load_dataset
from ragkit.home import home
from ragkit.rerankers.prompts import ListwisePrompt
from ragkit.rerankers.training import OrderedExample, train_listwise

SETS = ("scifact", "cranfield", "cacm", "hotpotqa-train100", "cosqa")
"""Medicine, aerodynamics, computing of the sixties, Wikipedia, and Python."""

ASKED = {
    "scifact": ("a study on cells or patients", "biology and medicine", "find research about diseases", "results of a clinical trial"),
    "cranfield": ("the flow of air around wings", "aerodynamics", "find papers on supersonic speed", "heat in a boundary layer"),
    "cacm": ("a paper on computers", "algorithms and programming languages", "find articles on computing", "a method for a compiler"),
    "hotpotqa-train100": ("an encyclopedia on people and places", "films, bands and cities", "find who was born when", "a famous person"),
    "cosqa": ("a Python function", "source code", "find code that returns a value", "how it is done in Python"),
}
"""Wordings of the query for each set; the last of each is for a test alone."""

PASSAGES, RELEVANT, WORDS = 6, 2, 30
TRAINING, TEST = 2400, 300
PROMPT = ListwisePrompt(
    head="{query}\n", passage="{text} [{label}]\n", tail="{query}\nBest: ", prefill="[", labels="letters", raw=True
)  # the identifier after its passage, where a causal model has read it
RECIPE: dict[str, Any] = {
    "prompt": PROMPT, "epochs": 1, "learning_rate": 1e-3, "batch_size": 16, "accumulate": 1, "noise": 0.0, "max_words": WORDS, "seed": 7,
}  # fmt: skip
MEASURE = "nDCG@10"


def run(data: Path) -> dict[str, Any]:
    """Train, then order the same held-out windows with the model before and after."""
    texts = {name: _texts(data, name) for name in SETS}
    random = np.random.default_rng(7)
    training = [_example({k: v[len(v) // 5 :] for k, v in texts.items()}, random, slice(0, -1)) for _ in range(TRAINING)]
    unseen = {k: v[: len(v) // 5] for k, v in texts.items()}
    tests = {
        "unseen passages": [_example(unseen, random, slice(0, -1)) for _ in range(TEST)],
        "unseen passages and wordings": [_example(unseen, random, slice(-1, None)) for _ in range(TEST)],
    }
    base = str(Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m")
    folder = home() / "benchmarks" / "train_listwise"
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    trained = train_listwise(base, training, folder, **RECIPE)
    seconds = time.perf_counter() - start
    quality: dict[str, Any] = {}
    for name, test in tests.items():
        before, after = _scores(base, test), _scores(str(trained), test)
        low, high = bootstrap_interval(after - before)
        quality[f"{MEASURE}, {name}"] = {
            "before": round(float(before.mean()), 4),
            "after": round(float(after.mean()), 4),
            "gain": round(float((after - before).mean()), 4),
            "gain's interval": [round(float(low), 4), round(float(high), 4)],
            "windows, better, worse": [len(test), int((after > before).sum()), int((after < before).sum())],
        }
    context = {
        "model": "docs-7m: 6.9 million parameters",
        "task": "passages of the kind that the query names come first",
        "passages of a window, relevant": [PASSAGES, RELEVANT],
        "windows of training, of each test": [TRAINING, TEST],
        "training": {**RECIPE, "prompt": PROMPT.show()},
        "seconds of training": round(seconds, 1),
        "interval": "95 % bootstrap over windows",
    }
    return {"benchmark": "train_listwise", "quality": quality, "context": context}


def _texts(data: Path, name: str) -> list[str]:
    """Passages of one set in a random order."""
    found = [" ".join(d.text.split()[:WORDS]) for d in load_dataset(data / name).documents() if len(d.text.split()) >= WORDS]
    return [found[i] for i in np.random.default_rng(7).permutation(len(found))]


def _example(texts: dict[str, list[str]], random: Generator, wordings: slice) -> OrderedExample:
    wanted = SETS[int(random.integers(len(SETS)))]
    others = [name for name in SETS if name != wanted]
    kinds = [wanted] * RELEVANT + [others[int(random.integers(len(others)))] for _ in range(PASSAGES - RELEVANT)]
    shown = tuple(texts[kind][int(random.integers(len(texts[kind])))] for kind in kinds)
    asked = ASKED[wanted][wordings]
    return OrderedExample(asked[int(random.integers(len(asked)))], shown, (0,) * RELEVANT + (RELEVANT,) * (PASSAGES - RELEVANT))


def _scores(model: str, examples: Sequence[OrderedExample]) -> Any:
    """The measure of each window, its passages shuffled; the same shuffles for every model."""
    stage = SingleToken(ragkit.llm(model), prompt=PROMPT, windows=Full(), max_words=WORDS, on_error="raise")
    random, found = np.random.default_rng(3), []
    for example in examples:
        by = [int(i) for i in random.permutation(PASSAGES)]
        out = stage(Run.from_texts(example.query, [example.texts[i] for i in by], [str(i) for i in by]))
        found.append(evaluate({"0": {str(i): 1 for i in range(RELEVANT)}}, out.to_dict(), MEASURE).mean[MEASURE])
    return np.array(found)
