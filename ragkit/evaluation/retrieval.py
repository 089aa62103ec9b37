"""Evaluate an index on a test set in BEIR layout: index whole documents, search, measure."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragkit.collection import Collection
from ragkit.evaluation.dataset import load_dataset
from ragkit.evaluation.evaluation import Evaluation, evaluate
from ragkit.progress import Progress
from ragkit.protocols import IndexSpec
from ragkit.registry import resolve
from ragkit.stage import check_k
from ragkit.types import Query


@dataclass(frozen=True)
class IndexEvaluation:
    """Measures of one index on one set, with what they were measured on and what they cost."""

    dataset: str
    split: str
    index: dict[str, Any]
    documents: int
    evaluation: Evaluation
    index_seconds: float
    search_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: measures, and the context that they need to be read."""
        queries = self.evaluation.queries
        return {
            "dataset": self.dataset,
            "split": self.split,
            "index": self.index,
            "unit": "document",
            "chunker": None,
            "documents": self.documents,
            "queries": {"judged": queries.judged, "answered": queries.answered},
            "measures": {name: round(value, 5) for name, value in self.evaluation.mean.items()},
            "ties": self.evaluation.ties,
            "seconds": {"index": round(self.index_seconds, 3), "search": round(self.search_seconds, 3)},
        }

    def __str__(self) -> str:
        return (
            f"{self.dataset} ({self.split}), {self.documents} whole documents, index {self.index['type']}\n{self.evaluation}\n"
            f"indexed in {self.index_seconds:.1f} s, searched in {self.search_seconds:.1f} s"
        )


def evaluate_index(
    folder: str | Path,
    index: str | IndexSpec,
    measures: Sequence[str],
    *,
    split: str = "test",
    k: int = 1000,
    progress: Progress = False,
) -> IndexEvaluation:
    """Index a BEIR folder's documents whole, search the judged queries to depth k, and measure.

    index  a registered name, or a spec such as BM25(k1=1.2)
    """
    check_k(k)
    dataset = load_dataset(Path(folder), split)
    spec = resolve("indexes", index)() if isinstance(index, str) else index
    with tempfile.TemporaryDirectory(prefix="ragkit-eval-") as scratch:
        start = time.perf_counter()
        collection = Collection.create(Path(scratch, "c"), indexes=[spec], chunker=None)
        collection.add(dataset.documents(), progress=progress)
        indexed = time.perf_counter()
        run = collection.search([Query(id=qid, text=text) for qid, text in dataset.judged().items()], k=k)
        searched = time.perf_counter()
        found = evaluate(dataset.qrels, run.to_dict(), list(measures))
        return IndexEvaluation(
            dataset=dataset.name,
            split=split,
            index=collection.info()["indexes"][spec.name],
            documents=len(collection),
            evaluation=found,
            index_seconds=indexed - start,
            search_seconds=searched - indexed,
        )
