"""A cross-encoder trained here, on this machine, from the default encoder: does it add to the hybrid? On scifact and cosqa.

The recipe is the same for both sets. Their training queries (scifact's train split, cosqa's dev split) are dealt into a part that
the weights are fitted to and a part on which the depth and the share of the cross-encoder are chosen; the test split is looked at
once, at the end. Weights lie under `ragkit.home()`, not in the repository; a run that finds those of the same recipe uses them, one
that was cut off goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit import BM25, Collection, Dense, Query, Run, compare, hybrid, tune
from ragkit.encoders.settings import DEFAULT_MODEL
from ragkit.evaluation import Dataset, load_dataset
from ragkit.home import home
from ragkit.join import in_order, query_of
from ragkit.pipelines.fusion import interpolate
from ragkit.rerankers.cross_encoder import CrossEncoder
from ragkit.rerankers.training import Example, mine, train_cross_encoder
from ragkit.stage import Stage
from ragkit.types import Passage

TRAIN = {"scifact": "train", "cosqa": "dev"}
MEASURE = "nDCG@10"
SEED = 7
CHOSEN_ON = {"scifact": 1 / 5, "cosqa": 1 / 3}
"""Share of the training queries that are kept from the weights: 161 and 166 queries."""
DEPTHS = (10, 25)
MAX_LENGTH = 224
MINE: dict[str, Any] = {"negatives": 5, "among": (0, 30), "seed": SEED}
RECIPE: dict[str, Any] = {
    "epochs": 1,
    "learning_rate": 5e-5,
    "max_length": MAX_LENGTH,
    "batch_size": 4,
    "loss": "listnet",
    "head": "matching",
    "freeze_embeddings": True,
    "precision": "bfloat16",
    "seed": SEED,
}


def run(data: Path) -> dict[str, Any]:
    """Train, choose and measure on each set."""
    quality: dict[str, Any] = {}
    context: dict[str, Any] = {
        "base": DEFAULT_MODEL,
        "unit": "document",
        "chunker": None,
        "negatives": MINE,
        "training": RECIPE,
        "chosen_on_dev": "depth and alpha, the hybrid's share of z-scores",
        "intervals": "95 % bootstrap over queries",
    }
    for name, split in TRAIN.items():
        found, about = _one_set(load_dataset(data / name, split), load_dataset(data / name))
        quality.update({f"{name} {key}": value for key, value in found.items()})
        context.update({f"{name}.{key}": value for key, value in about.items()})
    return {"benchmark": "cross_encoder", "quality": quality, "context": context}


@dataclass(frozen=True, eq=False)
class Given(Stage):
    """A stage that was run already."""

    run: Run
    reports = False

    def apply(self, run: Run, /) -> Run:
        return replace(self.run, report=run.report)


def trained(data: Path, name: str) -> str:
    """The folder of the cross-encoder that the recipe gives for a set; trained now, unless this machine has it."""
    return _trained(load_dataset(data / name, TRAIN[name])).model


def _one_set(train: Dataset, test: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    collection, fit, dev, examples, model, seconds = _trained(train)
    judged = {q.id: train.qrels[q.id] for q in dev}
    first = _first(collection, dev)
    logits = _read(model, first, max(DEPTHS))
    chosen: dict[str, Any] = {"mean": -1.0}
    table = {}
    for depth in DEPTHS:
        pair = _pair(first, logits, depth)
        tuned = tune(interpolate(*map(Given, pair), alpha=0.5, normalise="zscore"), dev, judged, MEASURE, on=collection)
        alpha = tuned.parameters["interpolate.alpha"]
        table[depth] = {"alpha": alpha, "interpolated": round(tuned.fitted, 4), "cross-encoder": round(_mean(pair[1], judged), 4)}
        if tuned.fitted > chosen["mean"]:
            chosen = {"depth": depth, "alpha": alpha, "mean": tuned.fitted}

    asked = [Query(id, text) for id, text in test.judged().items()]
    found = _first(collection, asked)
    start = time.perf_counter()
    pair = _pair(found, _read(model, found, chosen["depth"]), chosen["depth"])
    per_query = (time.perf_counter() - start) / len(asked)
    blend = interpolate(*map(Given, pair), alpha=chosen["alpha"], normalise="zscore")(found)
    figures = _figures({"hybrid": found, "cross-encoder": pair[1], "interpolated": blend}, asked, test.qrels)
    about = {
        "queries": {"fit": len(fit), "dev": len(dev), "test": len(asked)},
        "pairs_a_pass": sum(len(e.passages) for e in examples),
        "seconds of training": seconds,
        "dev.hybrid": round(_mean(first, judged), 4),
        "dev.by_depth": table,
        "depth": chosen["depth"],
        "alpha": chosen["alpha"],
        "seconds_a_query": round(per_query, 3),
    }
    return figures, about


class _Trained(NamedTuple):
    collection: Collection
    fit: list[Query]
    dev: list[Query]
    examples: list[Example]
    model: str
    seconds: float


def _trained(train: Dataset) -> _Trained:
    folder = home() / "benchmarks" / "cross_encoder" / train.name
    collection = _collection(folder / "collection", train)
    fit, dev = _dealt(train)
    examples = mine(_first(collection, fit), train.qrels, known=_known(train), **MINE)
    clock = folder / "seconds.json"  # of a training that was cut off, too
    before = json.loads(clock.read_text()) if clock.is_file() else 0.0
    there = (folder / "model" / "model.safetensors").is_file()
    start = time.perf_counter()
    try:
        model = train_cross_encoder(DEFAULT_MODEL, examples, folder / "model", checkpoint_every=40, **RECIPE)
    finally:
        seconds = round(before + (0.0 if there else time.perf_counter() - start), 1)
        clock.write_text(json.dumps(seconds))
    return _Trained(collection, fit, dev, examples, str(model), seconds)


def _collection(folder: Path, dataset: Dataset) -> Collection:
    done = folder.with_suffix(".done")
    if done.is_file():
        return Collection.open(folder)
    shutil.rmtree(folder, ignore_errors=True)
    collection = Collection.create(folder, indexes=[BM25(), Dense()], chunker=None)
    collection.add(dataset.documents())
    done.touch()
    return collection


def _dealt(dataset: Dataset) -> tuple[list[Query], list[Query]]:
    """The queries to fit to, and those to choose on."""
    judged = [Query(id, text) for id, text in dataset.judged().items()]
    kept = set(np.random.default_rng(SEED).permutation(len(judged))[: int(len(judged) * CHOSEN_ON[dataset.name])].tolist())
    return [q for i, q in enumerate(judged) if i not in kept], [judged[i] for i in sorted(kept)]


def _known(dataset: Dataset) -> dict[str, Passage]:
    return {d.id: Passage(d.text, d.id, 0, len(d.text), title=d.title) for d in dataset.documents()}


def _first(collection: Collection, queries: Sequence[Query]) -> Run:
    return (hybrid() % 100).on(collection)(list(queries))


def _read(model: str, first: Run, depth: int) -> dict[tuple[int, int], float]:
    """(query, row) → logit, of the first hits."""
    out = CrossEncoder(model, depth=depth, max_length=MAX_LENGTH, precision="bfloat16")(first.cut(depth))
    return {(int(q), int(r)): float(s) for q, r, s in zip(query_of(out), out.rows, out.scores, strict=True)}


def _pair(first: Run, logits: Mapping[tuple[int, int], float], depth: int) -> tuple[Run, Run]:
    """The hybrid's and the cross-encoder's order of the first hits."""
    cut = first.cut(depth)
    scores: NDArray[np.float32] = np.array([logits[int(q), int(r)] for q, r in zip(query_of(cut), cut.rows, strict=True)], np.float32)
    return cut, in_order(replace(cut, scores=scores, scale="logit", floor=None))


def _mean(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> float:
    return compare({"it": run}, list(run.queries), qrels, MEASURE, repeats=0).systems["it"].scores[MEASURE].mean


def _figures(systems: Mapping[str, Run], queries: Sequence[Query], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    found = compare(systems, list(queries), qrels, MEASURE, repeats=0)
    figures: dict[str, Any] = {}
    for name, system in found.systems.items():
        score = system.scores[MEASURE]
        figures[f"{MEASURE} {name}"] = {"mean": round(score.mean, 4), "interval": [round(x, 4) for x in score.interval]}
        if score.difference:
            d = score.difference
            figures[f"{MEASURE} {name}"] |= {
                "gain over hybrid": round(d.mean, 4),
                "gain's interval": [round(x, 4) for x in d.interval],
                "p": round(d.p, 4),
                "p (Holm)": round(d.p_holm, 4),
                "wins, ties, losses": [d.wins, d.ties, d.losses],
            }
    return figures
