"""ragkit, Haystack and LlamaIndex from a folder of Markdown files to the first search result, in turns, in one process.

Everybody reads the files from disk, cuts them at the same places within the measured time, builds BM25 and, in the main figure,
dense vectors of the same model (all-MiniLM-L6-v2) over the same texts, and answers a question by the fusion of both. Each
computes vectors by its own encoder as it comes, on all cores: ragkit's is OpenVINO, whose conversion of the model is part of its time;
the peers' is sentence-transformers in float32. ragkit alone writes to disk, safe against crashes; the peers stay in memory. Imports, and
a first run of each on a few files, come before. Encoding is timed once, BM25 in turns, and its figure is the median.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.peers import BATCH, Index, Indexed
from ragkit import encoder, offline
from ragkit.encoders.folder import model_folder
from ragkit.encoders.openvino import openvino
from ragkit.encoders.settings import DEFAULT_MODEL
from ragkit.loaders.markdown import front_matter
from ragkit.registry import need

PEERS = ("haystack", "llama_index")
REPEATS = 3
WARM_UP = 20
"""Files of the run before the measured ones."""
PAGES = 10
"""Questions beside the main one: the titles of so many pages, which should be found by them."""
SAMPLE = 200
"""Passages that are encoded to compare encoders alone."""

_MODULES = (
    "haystack",
    "haystack_integrations.components.embedders.sentence_transformers",
    "llama_index.core",
    "llama_index.embeddings.huggingface",
    "llama_index.retrievers.bm25",
)
_PACKAGES = (
    "haystack-ai",
    "sentence-transformers-haystack",
    "llama-index-core",
    "llama-index-embeddings-huggingface",
    "llama-index-retrievers-bm25",
    "sentence-transformers",
    "transformers",
    "torch",
    "openvino",
)


@dataclass(frozen=True)
class Timed:
    """One run, from the folder to the first result: top is the path of its file."""

    seconds: float
    cpu_seconds: float
    top: str


def compare(docs: Path, scratch: Path, files: int, question: str, page: str) -> dict[str, dict[str, Any]]:
    """Ratios, quality and context of the comparison on the first files of a folder, the page that answers the question among them."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    for module in _MODULES:
        need(module, extra="bench", why="the comparison with Haystack and LlamaIndex")
    openvino()  # imported beforehand, as the peers' packages are
    folder, few = _first(docs, scratch / "first", files, page), _first(docs, scratch / "few", WARM_UP, page)
    model = model_folder(DEFAULT_MODEL)
    with offline(), _home(scratch / "home"):
        systems: dict[str, Index] = {n: import_module(f"benchmarks.peers.{n}").index for n in ("ourselves", *PEERS)}
        for index in systems.values():
            index(few, None).search(question, "bm25")
        words = _words_alone(systems, folder, question)
        indexed: dict[str, Indexed] = {}
        whole: dict[str, Timed] = {}
        for name, index in systems.items():
            indexed[name], whole[name] = _timed(index, folder, model, question)
        quality = _quality(indexed, docs, folder, page)
        ours: Any = indexed["ourselves"]
        rates, nearest = _encoders(ours.passages(), model)
    return {
        "ratios": {
            **{f"vs_{p}": round(whole[p].seconds / whole["ourselves"].seconds, 2) for p in PEERS},
            **{
                f"vs_{p}_bm25": round(median(b.seconds / a.seconds for a, b in zip(words["ourselves"], words[p], strict=True)), 2)
                for p in PEERS
            },
        },
        "quality": {
            **quality,
            "top_document": {n: t.top for n, t in whole.items()},
            "top_document_bm25": {n: t[0].top for n, t in words.items()},
            "smallest_cosine_to_float32": nearest,
        },
        "context": {
            "compared": "BM25 and dense, the same passages and model; ragkit on disk, the peers in memory",
            "compared_files": sum(1 for _ in folder.rglob("*.md")),
            "compared_passages": len(ours.passages()),
            "compared_bytes_on_disk": ours.bytes_on_disk(),
            "seconds": {n: round(t.seconds, 2) for n, t in whole.items()},
            "cpu_seconds": {n: round(t.cpu_seconds, 2) for n, t in whole.items()},
            "bm25_seconds": {n: [round(t.seconds, 2) for t in times] for n, times in words.items()},
            "encoder_load_and_conversion_seconds": round(ours.encoder_seconds, 2),
            "texts_encoded_a_second": rates,
            "batch_of_peers": BATCH,
            "versions": {p: version(p) for p in _PACKAGES},
        },
    }


def _first(docs: Path, folder: Path, files: int, page: str) -> Path:
    """A copy of the first files by path, and of the page."""
    names = sorted(f.relative_to(docs).as_posix() for f in docs.rglob("*.md"))
    for name in {*names[:files], page}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(docs / name, folder / name)
    return folder


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """An empty RAGKIT_HOME: nothing is converted yet."""
    before = os.environ.get("RAGKIT_HOME")
    os.environ["RAGKIT_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["RAGKIT_HOME"]
        else:
            os.environ["RAGKIT_HOME"] = before


def _timed(index: Index, folder: Path, model: Path | None, question: str) -> tuple[Indexed, Timed]:
    gc.collect()
    gc.freeze()  # what earlier runs left alive costs this one nothing
    start, cpu = time.perf_counter(), time.process_time()
    indexed = index(folder, model)
    top = indexed.search(question, "bm25" if model is None else "hybrid")[0]
    return indexed, Timed(time.perf_counter() - start, time.process_time() - cpu, top.path)


def _words_alone(systems: Mapping[str, Index], folder: Path, question: str) -> dict[str, list[Timed]]:
    """Each system with BM25 alone, by repeat; who begins changes."""
    names = list(systems)
    runs: dict[str, list[Timed]] = {n: [] for n in names}
    for turn in range(REPEATS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            runs[name].append(_timed(systems[name], folder, None, question)[1])
    return runs


def _quality(indexed: Mapping[str, Indexed], docs: Path, folder: Path, page: str) -> dict[str, Any]:
    """Whether all indexed the same passages, and how alike and how good their results are for the titles of pages."""
    first, *others = (sorted(i.passages()) for i in indexed.values())
    files = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.md"))
    pages = dict.fromkeys([page, *(files[len(files) * n // PAGES] for n in range(PAGES))])
    titles = {p: _title(docs / p) for p in pages}
    dense = {n: {p: {f.text for f in i.search(t, "dense")} for p, t in titles.items()} for n, i in indexed.items()}
    return {
        "same_passages": all(o == first for o in others),
        "same_of_dense_top_10": {
            n: round(mean(len(dense[n][p] & dense["ourselves"][p]) / len(dense["ourselves"][p]) for p in titles), 3) for n in PEERS
        },
        "page_in_top_10_of_its_title": {
            n: round(mean(p in {f.path for f in i.search(t, "hybrid")} for p, t in titles.items()), 3) for n, i in indexed.items()
        },
    }


def _title(file: Path) -> str:
    return front_matter(file.read_text(encoding="utf-8"))[0] or file.stem


def _encoders(texts: list[str], model: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Texts a second of each encoder by itself, and the smallest cosine of its vectors to those of float32, on a sample."""
    import torch
    from sentence_transformers import SentenceTransformer

    sample = texts[:: max(1, len(texts) // SAMPLE)]
    rates: dict[str, float] = {}
    vectors: dict[str, Any] = {}

    def measure(name: str, encode: Any) -> None:
        encode(sample[:BATCH])
        start = time.perf_counter()
        vectors[name] = np.asarray(encode(sample), np.float32)
        rates[name] = round(len(sample) / (time.perf_counter() - start), 1)

    for precision in ("float32", "bfloat16"):
        made = SentenceTransformer(str(model), device="cpu", local_files_only=True, model_kwargs={"dtype": getattr(torch, precision)})
        measure(f"sentence-transformers {precision}", lambda t, m=made: m.encode(t, batch_size=BATCH, show_progress_bar=False))
    measure("ragkit", encoder().encode_document)
    exact, *_ = vectors.values()
    return rates, {n: round(float((v * exact).sum(axis=1).min()), 4) for n, v in vectors.items() if v is not exact}
