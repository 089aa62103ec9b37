"""Evaluate pipelines on a test set: index its documents, search the judged queries, measure and compare.

`evaluate_dataset` makes a collection of a BEIR folder for the time it takes; `evaluate_collection` measures on a
collection that is there, with one's own queries and judgements.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragkit.collection import Collection
from ragkit.compile import parts
from ragkit.errors import InputError
from ragkit.evaluation.compare_systems import Qrels, compare
from ragkit.evaluation.comparison import Comparison, SystemScores
from ragkit.evaluation.dataset import load_dataset
from ragkit.evaluation.evaluation import Evaluation
from ragkit.evaluation.trec import AnyPath, write_run
from ragkit.named import named_pipeline
from ragkit.progress import Progress
from ragkit.protocols import IndexSpec
from ragkit.registry import names, resolve
from ragkit.stage import Retrieve, Stage, check_k

Pipelines = str | Stage | IndexSpec | Sequence[str] | Mapping[str, str | Stage]
"""A name, several names, a stage, a spec such as BM25(k1=1.2), or name → name or stage."""


@dataclass(frozen=True, repr=False)
class RetrievalEvaluation:
    """Measures of one or several pipelines on one set, with what they were measured on and what they cost.

    split          the judgements' name; None for a collection with judgements of one's own
    indexes        settings of each index
    chunker        settings of the chunker; None where documents are whole
    index_seconds  wall clock of making the collection with all its indexes; None where it was there
    """

    dataset: str
    split: str | None
    indexes: dict[str, dict[str, Any]]
    chunker: Any
    documents: int
    comparison: Comparison
    index_seconds: float | None

    @property
    def evaluation(self) -> Evaluation:
        """Of the only pipeline, or of the baseline."""
        return self._first.evaluation

    @property
    def _first(self) -> SystemScores:
        return self.comparison.systems[self.comparison.baseline]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: measures, and the context that they need to be read.

        Of one pipeline {pipeline, queries {judged, answered}, measures, intervals, latency_ms, …}; of several the same
        under pipelines → name, and with it comparison {measure: {mean, interval, p, p_holm, wins, ties, losses}}.
        """
        compared = self.comparison
        context: dict[str, Any] = {
            "dataset": self.dataset,
            "split": self.split,
            **({"index": next(iter(self.indexes.values()))} if len(self.indexes) == 1 else {"indexes": self.indexes}),
            "unit": "document",
            "chunker": self.chunker,
            "documents": self.documents,
            "ties": "trec",
            **compared.settings,
            "missing_documents": compared.missing_documents,
            "left_out": {"unjudged": compared.totals.unjudged, "not_given": compared.totals.not_given},
        }
        if len(compared.systems) == 1:
            record = _record(self._first)
            seconds = {"index": _rounded(self.index_seconds), **record.pop("seconds")}
            return {**context, **record, "seconds": seconds}
        pipelines: dict[str, Any] = {}
        for name, system in compared.systems.items():
            differences = {m: asdict(s.difference) for m, s in system.scores.items() if s.difference is not None}
            pipelines[name] = {**_record(system), "comparison": differences or None}
        return {**context, "baseline": compared.baseline, "pipelines": pipelines, "seconds": {"index": _rounded(self.index_seconds)}}

    def write_runs(self, path: AnyPath) -> list[Path]:
        """Write the rankings as TREC runs; of several pipelines one file each, with its name before the suffix.

        In names of files and in tags, "_" stands for characters other than letters, digits, ``.``, ``+``, ``-``.
        """
        file, rankings = Path(path), self.comparison.rankings
        tags = {name: re.sub(r"[^\w.+-]+", "_", name) for name in rankings}
        if len(set(tags.values())) != len(tags):
            raise InputError(
                f"the pipelines {', '.join(tags)} would be written to one file; give them names that differ in letters or digits"
            )
        stem, dot, suffix = file.name.partition(".")
        written = []
        for name, ranking in rankings.items():
            written.append(file if len(rankings) == 1 else file.with_name(f"{stem}.{tags[name]}{dot}{suffix}"))
            write_run(ranking, written[-1], tag=tags[name])
        return written

    def __str__(self) -> str:
        split = f" ({self.split})" if self.split else ""
        whole = "whole documents" if self.chunker is None else "documents, each by its best passage"
        head = f"{self.dataset}{split}, {self.documents} {whole}, index {', '.join(self.indexes)}"
        compared, timed = self.comparison, []
        if len(compared.systems) == 1 and list(self.indexes) != [self._first.name]:
            head += f", pipeline {self._first.name}"
        if self.index_seconds is not None:
            timed.append(f"indexed in {self.index_seconds:.1f} s")
        if len(compared.systems) > 1:
            return "\n".join([head, str(compared), *timed])
        timed.append(f"searched in {self._first.seconds or 0:.1f} s")
        if self._first.latency:
            timed.append(f"one query takes {self._first.latency}")
        width = max(map(len, compared.measures))
        lines = [f"{m:<{width}}  {s.mean:.4f}  (95 %: {s.interval[0]:.4f} to {s.interval[1]:.4f})" for m, s in self._first.scores.items()]
        queries = self.evaluation.queries
        notes = compared.notes()[1:]
        return "\n".join([head, *lines, f"{queries.answered} of {queries.judged} judged queries answered", *notes, ", ".join(timed)])

    __repr__ = __str__


def evaluate_dataset(
    folder: AnyPath,
    pipelines: Pipelines = "bm25",
    measures: str | Sequence[str] = ("nDCG@10", "R@100"),
    *,
    split: str = "test",
    k: int = 1000,
    indexes: Sequence[IndexSpec] = (),
    drop_self: bool | None = None,
    repeats: int = 1,
    seed: int = 7,
    alpha: float = 0.05,
    progress: Progress = False,
) -> RetrievalEvaluation:
    """Index a BEIR folder's documents whole, in a temporary collection, and compare pipelines on its judged queries.

    pipelines  one or several; the first is the baseline. The indexes that they need are made with their defaults
    indexes    specs for those that shall have other settings: BM25(k1=1.2)
    drop_self  leave out the document that is the query itself; None does so for sets that declare it (`Dataset.drop_self`)
    others     as for `compare`
    raises     as `load_dataset` and `compare` do
    """
    check_k(k)
    dataset = load_dataset(folder, split)
    stages, given = _stages(pipelines, names("indexes"), k)
    specs = {spec.name: spec for spec in (*given, *indexes)}
    wanted = dict.fromkeys(part.index for stage in stages.values() for part in parts(stage) if isinstance(part, Retrieve))
    with tempfile.TemporaryDirectory(prefix="ragkit-eval-", ignore_cleanup_errors=True) as scratch:
        start = time.perf_counter()
        made = [specs[name] if name in specs else resolve("indexes", name)() for name in wanted] or None
        collection = Collection.create(Path(scratch, "c"), indexes=made, chunker=None)
        collection.add(dataset.documents(), progress=progress)
        seconds = time.perf_counter() - start
        return _evaluate(
            collection,
            stages,
            dataset.judged(),
            dataset.qrels,
            measures,
            dataset=dataset.name,
            split=split,
            index_seconds=seconds,
            k=k,
            drop_self=dataset.drop_self if drop_self is None else drop_self,
            repeats=repeats,
            seed=seed,
            alpha=alpha,
            progress=progress,
        )


def evaluate_collection(
    collection: Collection,
    queries: Mapping[str, str],
    qrels: Qrels,
    pipelines: str | Stage | Sequence[str] | Mapping[str, str | Stage] | None = None,
    measures: str | Sequence[str] = ("nDCG@10", "R@100"),
    *,
    k: int = 1000,
    drop_self: bool = False,
    repeats: int = 1,
    seed: int = 7,
    alpha: float = 0.05,
    progress: Progress = False,
) -> RetrievalEvaluation:
    """Compare pipelines on a collection, with queries (id → text) and judgements of one's own.

    Judgements are about documents: of a document that was cut into passages the best one counts.

    pipelines  one or several; the first is the baseline. None takes the collection's default
    others     as for `compare`
    """
    manifest = collection.version.manifest
    stages, _ = _stages(manifest.default_pipeline if pipelines is None else pipelines, manifest.indexes, check_k(k))
    return _evaluate(
        collection,
        stages,
        queries,
        qrels,
        measures,
        dataset=collection.folder.name,
        split=None,
        index_seconds=None,
        k=k,
        drop_self=drop_self,
        repeats=repeats,
        seed=seed,
        alpha=alpha,
        progress=progress,
    )


def _evaluate(
    collection: Collection,
    stages: Mapping[str, Stage],
    queries: Mapping[str, str],
    qrels: Qrels,
    measures: str | Sequence[str],
    *,
    dataset: str,
    split: str | None,
    index_seconds: float | None,
    **options: Any,
) -> RetrievalEvaluation:
    found = compare(stages, queries, qrels, measures, on=collection, **options)
    info = collection.info()
    return RetrievalEvaluation(dataset, split, info["indexes"], info["chunker"], len(collection), found, index_seconds)


def _stages(pipelines: Pipelines, indexes: Container[str], k: int) -> tuple[dict[str, Stage], list[IndexSpec]]:
    """The pipelines by name, and the specs among them."""
    if isinstance(pipelines, str):
        named: dict[str, str | Stage] = {pipelines: pipelines}
    elif isinstance(pipelines, Stage):
        named = {repr(pipelines): pipelines}
    elif isinstance(pipelines, Mapping):
        named = dict(pipelines)
    elif isinstance(pipelines, Sequence):
        if not all(isinstance(p, str) for p in pipelines):
            raise InputError("several pipelines are given as names, or as a dict name → stage, so that each has a name")
        named = {p: p for p in pipelines}
        if len(named) != len(pipelines):
            raise InputError(f"a pipeline was named twice: {', '.join(pipelines)}")
    else:
        return {pipelines.name: Retrieve(pipelines.name, k)}, [pipelines]
    if not named:
        raise InputError("no pipeline was given: name at least one, for example 'bm25'")
    stages = {name: named_pipeline(p, indexes) if isinstance(p, str) else p for name, p in named.items()}
    return {n: Retrieve(s.index, k) if isinstance(named[n], str) and isinstance(s, Retrieve) else s for n, s in stages.items()}, []


def _record(system: SystemScores) -> dict[str, Any]:
    """What is reported of one pipeline, alone or among others."""
    queries = system.evaluation.queries
    return {
        "pipeline": system.pipeline,
        "queries": {"judged": queries.judged, "answered": queries.answered},
        "measures": {name: round(score.mean, 5) for name, score in system.scores.items()},
        "intervals": {name: [round(bound, 5) for bound in score.interval] for name, score in system.scores.items()},
        "tied_at_cutoff": system.tied_at_cutoff,
        "latency_ms": system.latency.to_dict() if system.latency else None,
        "seconds": {"search": _rounded(system.seconds)},
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
