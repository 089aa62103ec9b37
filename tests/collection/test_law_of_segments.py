"""The law of segments: grown, cut, merged and compacted in any steps, a collection answers as one built at once from its live documents."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import ragkit.collection.builder as builder
import ragkit.collection.merging as merging
from ragkit import BM25, Collection, Dense, Document, NGram, Query, TokenNGram, Tokens, WordNGram
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.protocols import IndexSpec
from ragkit.registry import names

SPECS: dict[str, IndexSpec] = {
    "bm25": BM25(language="none"),
    "rank_bm25": RankBM25(language="none"),
    "ngram": NGram(),
    "word_ngram": WordNGram(language="none"),
    "dense": Dense(vectors="v", similarity="dot"),
}
"""One exact spec of each kind of index. Approximate ones are held to their recall in tests of their own."""

IDS = st.sampled_from("pqrstuv")
TEXTS = st.text(st.sampled_from("ab cdé猫\n"), max_size=30)
YEARS = st.one_of(st.none(), st.integers(0, 3), st.sampled_from([0.5, 2.5]))
DIM = 3


def vector(text: str) -> list[float]:
    """Something that depends on the text, with ties."""
    return [float(text.count(c)) for c in "ab猫"]


class Segments(RuleBasedStateMachine):
    spec: ClassVar[IndexSpec]

    @initialize()
    def start(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.given = isinstance(self.spec, Dense)
        self.grown = self.made("c")
        self.model: dict[str, str] = {}

    def made(self, name: str) -> Collection:
        return Collection.create(Path(self.scratch.name, name), indexes=[self.spec], chunker=None if self.given else Tokens(3, overlap=1))

    def vectors(self, documents: list[Document]) -> dict[str, Any]:
        return {"v": np.array([vector(d.text) for d in documents], np.float32).reshape(-1, DIM)} if self.given else {}

    @rule(batch=st.dictionaries(IDS, st.tuples(TEXTS, YEARS), max_size=3))
    def upsert(self, batch: dict[str, tuple[str, Any]]) -> None:
        documents = [Document(text, id=id, meta={"year": year}) for id, (text, year) in batch.items()]
        self.grown.upsert(documents, vectors=self.vectors(documents))
        self.model.update({d.id: d.text for d in documents})

    @rule(ids=st.sets(IDS, max_size=3))
    def delete(self, ids: set[str]) -> None:
        self.grown.delete(sorted(ids))
        self.model = {id: text for id, text in self.model.items() if id not in ids}

    @rule(purge=st.booleans())
    def compact(self, purge: bool) -> None:
        report = self.grown.compact(purge=purge)
        assert report.segments_after == len(self.grown.version.views) <= 1
        assert all(v.live is None for v in self.grown.version.views)
        if purge:
            assert report.bytes_on_disk - report.bytes_after < 10_000  # one manifest, and the lock

    @rule()
    def reopen(self) -> None:
        self.grown = Collection.open(self.grown.folder)

    @invariant()
    def answers_as_built_at_once(self) -> None:
        if not hasattr(self, "grown"):
            return
        assert {d.id: d.text for d in self.grown} == self.model
        documents = list(self.grown)
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as fresh:
            once = self.made(f"{fresh}/c")
            once.add(documents, vectors=self.vectors(documents))
            for text in ("a", "ab cd", "é 猫", "b b a"):
                query = Query("q", text, vectors={"v": np.array(vector(text), np.float32)})
                for where in (None, "year >= 1"):
                    if where and "year" not in self.grown.info()["schema"]:
                        continue
                    where = where if "year" in once.info()["schema"] or where is None else None
                    x, y = self.grown.search(query, k=4, where=where), once.search(query, k=4, where=where)
                    assert [(h.id, h.span) for h in x] == [(h.id, h.span) for h in y]
                    np.testing.assert_allclose([h.score for h in x], [h.score for h in y], rtol=1e-5)

    def teardown(self) -> None:
        if hasattr(self, "scratch"):
            assert self.grown.check().ok
            self.scratch.cleanup()


@pytest.mark.parametrize("name", names("indexes"))
def test_every_registered_index_keeps_the_law(name: str, tmp_path: Path) -> None:
    if name == "token_ngram":
        from tests.generation.tiny_models import byte_tokenizer

        byte_tokenizer().save_pretrained(tmp_path)
        spec: IndexSpec = TokenNGram(str(tmp_path), structure="fm")
    else:
        assert name in SPECS, f"the index {name!r} is new: give SPECS an exact spec of it"
        spec = SPECS[name]
    machine = type("Segments", (Segments,), {"spec": spec})
    with patch.object(builder, "SMALL_SEGMENT", 3), patch.object(merging, "FACTOR", 3):  # so that parts are built, and merged, early
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine, settings=settings(max_examples=20, stateful_step_count=10, derandomize=True, deadline=None)
        )


def test_small_commits_make_few_segments(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    most = 0
    for n in range(150):
        made.add([Document(f"pump number {n}", id=str(n))])
        most = max(most, len(made.version.views))
    assert most <= 3 * 8
    assert [d.id for d in made] == [str(n) for n in range(150)]  # in the order in which they came
    assert len(made.search("pump", k=200)) == 150
    made.auto_merge = False
    for n in range(20):
        made.add([Document(f"valve number {n}", id=f"v{n}")])
    assert len(made.version.views) >= 20
    assert made.compact().segments_after == 1
    assert [d.id for d in made] == [*(str(n) for n in range(150)), *(f"v{n}" for n in range(20))]


def test_what_is_mostly_deleted_is_rewritten(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=None)
    made.add([Document(f"pump number {n}", id=str(n)) for n in range(100)])
    made.delete([str(n) for n in range(49)])
    assert made.version.views[0].columns.n_documents == 100
    made.delete([str(n) for n in range(49, 60)])
    assert made.version.views[0].columns.n_documents == 40
    assert made.version.views[0].live is None
