"""What a comparison compares: pipelines, which are searched, and ready runs, which are taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ragkit.bound import Bound, Searchable
from ragkit.errors import InputError
from ragkit.evaluation.drop_self import without_self
from ragkit.evaluation.order import ranking
from ragkit.named import named_pipeline
from ragkit.run import Run, Source, TextTable
from ragkit.stage import Retrieve, Stage
from ragkit.types import Query

Rankings = dict[str, dict[str, float]]
"""Query id → document id → score."""

GivenSystem = Bound | Stage | str | Run | Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class System:
    """One system of a comparison.

    description  the pipeline as it prints, or "ready run"
    source       resolves its documents; None for a run that is a dict
    search       ranks the documents for queries; None for a ready run
    ready        the rankings of a ready run
    run          a ready run as it was given, if it was a Run
    """

    name: str
    description: str
    source: Source | None
    search: Callable[[Sequence[Query]], Run] | None = None
    ready: Rankings | None = None
    run: Run | None = None


def as_system(name: str, given: GivenSystem, on: Searchable | None, *, k: int, drop_self: bool) -> System:
    """A system from what the caller gave under a name; raises InputError for what is no pipeline and no run."""
    if isinstance(given, Run):
        best = given.by_document()
        return System(name, "ready run", given.source, ready=_first(given.to_dict(), k, drop_self), run=best)
    if isinstance(given, Mapping):
        return System(name, "ready run", on.version if on else None, ready=_first(given, k, drop_self))
    stage, collection = _bound(name, given, on, k)

    def search(queries: Sequence[Query]) -> Run:
        return rank_documents(stage, collection, queries, k=k, drop_self=drop_self)

    return System(name, repr(stage), collection.version, search=search)


def rank_documents(stage: Stage, collection: Searchable, queries: Sequence[Query], *, k: int, drop_self: bool = False) -> Run:
    """The k best documents of each query, each by its best passage.

    Looks deeper where the passages found belong to fewer than k documents and there are more. With drop_self the
    document whose id is the query's id is removed at the retrievers (`without_self`).
    """
    depth = k
    while True:
        deep = (replace(stage, k=max(stage.k, depth)) if isinstance(stage, Retrieve) and depth > k else stage) % depth
        run = Bound(without_self(deep) if drop_self else deep, collection)(queries)
        best = run.by_document()
        if not ((np.diff(best.indptr) < k) & (np.diff(run.indptr) >= depth)).any():
            return best.cut(k)
        depth *= 4


def check_documents(systems: Sequence[System]) -> None:
    """Raise InputError unless all pipelines search the same documents, however these are indexed or cut into passages."""
    searched = {s.source.key: (s.name, s.source) for s in reversed(systems) if s.search is not None and s.source is not None}
    for (first, source), (other, its) in pairwise(reversed(searched.values())):
        mine, theirs = document_ids(source), document_ids(its)
        if mine is None or theirs is None:
            raise InputError(f"the systems {first!r} and {other!r} search different sources; bind both to one collection")
        if mine != theirs:
            apart = sorted(mine ^ theirs)
            raise InputError(
                f"the systems {first!r} and {other!r} search different documents ({len(apart)} are in one collection only, "
                f"such as {apart[0]!r}); index the same documents in both"
            )


def document_ids(source: Source) -> set[str] | None:
    """Ids of all documents of a source; None where it can't list them."""
    if isinstance(source, TextTable):
        return set(source.table_ids)
    from ragkit.collection.snapshot import Snapshot  # loads pyarrow

    if not isinstance(source, Snapshot):
        return None
    return {source.views[segment].columns.document_id(row) for segment, row in source.documents()}


def _bound(name: str, given: object, on: Searchable | None, k: int) -> tuple[Stage, Searchable]:
    if isinstance(given, Bound):
        return given.stage, given.collection
    if not isinstance(given, Stage | str):
        raise InputError(
            f"the system {name!r} is {type(given).__name__}, which is no pipeline: give a pipeline bound with .on(collection), "
            "a stage or a name together with on=collection, a Run, or a dict {query id: {document id: score}}"
        )
    if on is None:
        raise InputError(f"the system {name!r} is not bound to a collection: give on=collection, or bind it with .on(collection)")
    if isinstance(given, Stage):
        return given, on
    manifest: Any = getattr(on.version, "manifest", None)
    stage = named_pipeline(given, manifest.indexes if manifest is not None else ())
    return (replace(stage, k=k) if isinstance(stage, Retrieve) else stage), on


def _first(run: Mapping[str, Mapping[str, float]], k: int, drop_self: bool) -> Rankings:
    """The first k hits of each query, as trec_eval orders them."""
    kept: Rankings = {}
    for query, hits in run.items():
        others = {d: s for d, s in hits.items() if d != query} if drop_self else hits
        documents = ranking(query, others, "trec")[:k]
        kept[query] = {d: float(others[d]) for d in documents}
    return kept
