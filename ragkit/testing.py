"""Conformance checks for parts from outside: call them from your own tests.

>>> from ragkit import BM25
>>> check_index(BM25(language="en"))

Each check raises AssertionError with a sentence that names the broken promise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ragkit.chunking import count_tokens
from ragkit.collection import Collection
from ragkit.errors import InputError
from ragkit.protocols import Chunker, IndexSpec
from ragkit.run import FLOORS, Run
from ragkit.spec import from_config, to_config
from ragkit.types import Document, Query

_TEXTS = (
    "the pump has two gaskets", "the outer gasket is replaced every year", "a valve opens at three bar", "", "gasket gasket gasket",
    "the boiler is checked in spring", "pump and valve and boiler", "ein Ventil öffnet sich", "阀门打开", "the pump has two gaskets",
)  # fmt: skip
_QUERIES = ("gasket", "pump valve", "boiler spring three", "阀门", "nowhere to be found", "", "the")


def check_index(spec: IndexSpec) -> None:
    """An index keeps its promises: spec, protocol, order, k, deletions, filters, and the law of segments if it is exact."""
    _require(isinstance(spec, IndexSpec), f"{type(spec).__name__} lacks a part of ragkit.protocols.IndexSpec")
    _require(from_config("indexes", to_config(spec)) == spec, "a spec must come back equal from its config")
    documents = [Document(text, id=str(i)) for i, text in enumerate(_TEXTS)]
    with tempfile.TemporaryDirectory(prefix="ragkit-check-") as scratch:
        once = _built(Path(scratch, "once"), spec, [documents])
        grown = _built(Path(scratch, "grown"), spec, [documents[:4], documents[4:5], [], documents[5:]])
        exact = once.version.searcher(spec.name).exact
        _check_results(once, spec, len(documents))
        _check_filter(once, spec)
        if exact:
            _same(once, grown, spec, "grown in steps")
        for collection in (once, grown):
            collection.delete(["1", "6"])
            collection.upsert([Document("a new gasket for the pump", id="4")])
            _require(not {"1", "6"} & set(_search(collection, spec, 20).ids()), "a deleted document was found")
        if exact:
            _same(once, _built(Path(scratch, "fresh"), spec, [list(once)]), spec, "after deletions and an upsert")
            _same(Collection.open(once.folder), once, spec, "after reopening")
        empty = Collection.create(Path(scratch, "empty"), indexes=[spec], chunker=None)
        _require(len(_search(empty, spec, 5).rows) == 0, "an empty collection has no hits")


def check_chunker(chunker: Chunker, documents: Iterable[Document]) -> None:
    """A chunker's spans are in order, exact, trimmed, not empty, and hold every character of the body that is not white space."""
    _require(isinstance(chunker, Chunker), f"{type(chunker).__name__} lacks a part of ragkit.protocols.Chunker")
    for document in documents:
        spans, text = chunker.split(document), document.text
        covered = np.zeros(len(text), np.bool_)
        starts = [s.start for s in spans]
        _require(starts == sorted(starts), "spans must be in order")
        for s in spans:
            _require(document.body_start <= s.start < s.end <= len(text), f"the span {s.start}-{s.end} is empty or outside the body")
            _require(text[s.start : s.end].strip() == text[s.start : s.end], f"the span {s.start}-{s.end} has white space at an end")
            size = getattr(chunker, "size", None)
            _require(size is None or count_tokens(text, s.start, s.end) <= size, f"the span {s.start}-{s.end} has more than {size} tokens")
            covered[s.start : s.end] = True
        lost = [i for i in range(document.body_start, len(text)) if not (covered[i] or text[i].isspace())]
        _require(not lost, f"character {lost[:1]} of the body is in no span")
        _require(spans == chunker.split(document), "the same document must be cut the same way")


def _built(folder: Path, spec: IndexSpec, batches: list[list[Document]]) -> Collection:
    made = Collection.create(folder, indexes=[spec], chunker=None)
    for batch in batches:
        made.add(batch)
    return made


def _search(collection: Collection, spec: IndexSpec, k: int) -> Run:
    return collection.search([Query(str(i), q) for i, q in enumerate(_QUERIES)], k=k, using=spec.name)


def _check_results(collection: Collection, spec: IndexSpec, n: int) -> None:
    searcher = collection.version.searcher(spec.name)
    _require(searcher.scale in FLOORS, f"the scale {searcher.scale!r} is not one of {', '.join(FLOORS)}")
    everything = _search(collection, spec, n + 5)
    for q in range(len(everything)):
        at = everything.hits_of(q)
        hits = list(zip((-everything.scores[at]).tolist(), everything.rows[at].tolist(), strict=True))
        _require(hits == sorted(hits), f"hits of {_QUERIES[q]!r} are not ordered by score descending, then row ascending")
        _require(len({row for _, row in hits}) == len(hits), f"a row occurs twice among the hits of {_QUERIES[q]!r}")
        _require(all(0 <= row < n for _, row in hits), f"a row of {_QUERIES[q]!r} is not in the collection")
    if searcher.exact:
        for k in (1, 2, 3):
            few = _search(collection, spec, k)
            _require(few.rows.tolist() == everything.cut(k).rows.tolist(), f"the first {k} hits differ from those of a deeper search")
    try:
        collection.search("gasket", k=0, using=spec.name)
    except InputError:
        return
    raise AssertionError("k = 0 must raise InputError")


def _check_filter(collection: Collection, spec: IndexSpec) -> None:
    """Rows that the caller does not allow never come back, and allowed ones take their places."""
    searcher = collection.version.searcher(spec.name)
    odd = np.arange(len(_TEXTS)) % 2 == 1
    query = [Query("q", "gasket pump valve boiler")]
    _, everything, _ = searcher.search(query, k=20, allow=[None])
    _, allowed, _ = searcher.search(query, k=20, allow=[odd])
    _require(bool(odd[allowed].all()), "a row that is not allowed came back")
    if searcher.exact:
        _require(set(allowed.tolist()) == {r for r in everything.tolist() if odd[r]}, "an allowed row got lost")


def _same(a: Collection, b: Collection, spec: IndexSpec, when: str) -> None:
    """The law of segments: the same documents give the same hits and scores, in whatever steps they came."""
    x, y = _search(a, spec, 20), _search(b, spec, 20)
    for q in range(len(x)):
        left, right = ({id: float(s) for id, s in run.to_dict()[str(q)].items()} for run in (x, y))
        close: Any = np.allclose([left[i] for i in sorted(left)], [right.get(i, np.nan) for i in sorted(left)], rtol=1e-5, atol=1e-6)
        _require(left.keys() == right.keys() and bool(close), f"the hits of {_QUERIES[q]!r} differ {when}")


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(promise)
