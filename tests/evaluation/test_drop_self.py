"""The query's own document goes at the retrievers: k others remain, and a fusion never sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ragkit import BM25, Collection, Document, Query, Retrieve, Stage
from ragkit.evaluation import DropSelf, without_self
from ragkit.evaluation.systems import rank_documents
from ragkit.indexes.rank_bm25 import RankBM25
from ragkit.run import Run, TextTable

TEXTS = {"a": "pump gasket pump pump", "b": "pump gasket", "c": "pump valve spring", "d": "boiler valve spring", "e": "parking"}


@dataclass(frozen=True)
class MinMax(Stage):
    """Scores to [0, 1]; a query whose hits all score the same gets 1."""

    stage: Stage

    def apply(self, run: Run, /) -> Run:
        out = self.stage(run)
        scores = out.scores.copy()
        for q in range(len(out)):
            at = out.hits_of(q)
            low, high = (scores[at].min(), scores[at].max()) if at.stop > at.start else (0, 0)
            scores[at] = (scores[at] - low) / (high - low) if high > low else 1
        return replace(out, scores=scores, scale="unit", floor=0.0)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    made = Collection.create(tmp_path_factory.mktemp("c") / "c", indexes=[BM25(language="en"), RankBM25()], chunker=None)
    made.add([Document(text, id=id) for id, text in TEXTS.items()])
    return made


def ids(run: Run, q: int = 0) -> list[str]:
    return run.ids()[run.hits_of(q)]


def test_one_hit_deeper_so_that_k_others_remain(collection: Collection) -> None:
    stage = Retrieve("bm25", 2)
    assert ids(stage.on(collection)(Query("a", "pump"))) == ["a", "b"]
    assert ids(without_self(stage).on(collection)(Query("a", "pump"))) == ["b", "c"]
    run = without_self(stage).on(collection)([Query("a", "pump"), Query("x", "pump"), Query("e", "nothing"), Query("b", "pump")])
    assert [ids(run, q) for q in range(4)] == [["b", "c"], ["a", "b"], [], ["a", "c"]]
    assert without_self(stage) == without_self(stage), "a stage like others: comparable, printable"
    assert repr(without_self(stage)) == "(Retrieve('bm25', k=3) >> DropSelf() % 2)"


def test_before_a_fusion_normalises(collection: Collection) -> None:
    """As the largest score of BM25 the own document would push the others down; without it the best of them gets 1."""
    fused = MinMax(Retrieve("bm25")) + 0.5 * MinMax(Retrieve("rank_bm25"))
    query = Query("a", "pump gasket")
    late = (fused >> DropSelf()).on(collection)(query)
    early = without_self(fused).on(collection)(query)
    assert "a" not in ids(late) + ids(early)
    assert ids(early)[0] == "b"
    assert early.scores[0] == pytest.approx(1.5)
    assert late.scores[0] < 1.45
    # the same as in a collection that never held it
    assert late.legs["bm25"][0] == early.legs["bm25"][0]


def test_cut_offs_move_before_the_rewrite(collection: Collection) -> None:
    stage = without_self((Retrieve("bm25", 1000) % 3) % 2)
    assert repr(stage) == "(Retrieve('bm25', k=3) >> DropSelf() % 2)"
    both = without_self((Retrieve("bm25", 2) ^ Retrieve("rank_bm25", 2)) % 3)
    assert repr(both).count("DropSelf() % 2") == 2
    assert "a" not in ids(both.on(collection)(Query("a", "pump valve")))


def test_a_pipeline_without_a_retriever_drops_at_its_end() -> None:
    @dataclass(frozen=True)
    class Fixed(Stage):
        def apply(self, run: Run, /) -> Run:
            return run.fill(np.array([0, 3]), np.array([2, 0, 1]), np.array([3, 2, 1], np.float32), scale="bm25", leg="fixed")

    start = Run.of([Query("b", "?")], TextTable(("a", "b", "c"), ("", "", "")))
    done = without_self(Fixed())(start)
    assert done.ids() == ["c", "a"]
    assert done.legs["fixed"].tolist() == [3, 2]
    assert DropSelf()(Run.of([])).rows.tolist() == []


def test_all_passages_of_the_own_document_go(tmp_path: Path) -> None:
    from ragkit import Tokens

    collection = Collection.create(tmp_path / "c", chunker=Tokens(size=8, overlap=0))
    collection.add([Document("pump. " * 40, id="own"), Document("The pump is red.", id="other")])
    collection.add([Document("A pump and a valve.", id="third")])  # another segment
    stage = without_self(Retrieve("bm25", 100))
    assert sorted(ids(stage.on(collection)(Query("own", "pump")))) == ["other", "third"]
    assert set(ids(stage.on(collection)(Query("third", "pump")))) == {"own", "other"}
    assert ids(rank_documents(Retrieve("bm25", 100), collection, [Query("third", "pump")], k=2, drop_self=True)) in (
        ["own", "other"],
        ["other", "own"],
    )


def test_documents_are_ranked_by_their_best_passage_however_many_there_are(tmp_path: Path) -> None:
    from ragkit import Tokens

    collection = Collection.create(tmp_path / "c", chunker=Tokens(size=8, overlap=0))
    collection.add(
        [Document("pump. " * 400, id="long"), *(Document(f"The pump has number {n} and more words.", id=f"d{n}") for n in range(3))]
    )
    raw = (Retrieve("bm25") % 4).on(collection)(["pump"]).by_document()
    assert len(raw.rows) == 1, "the long document takes the first places"
    best = rank_documents(Retrieve("bm25"), collection, [Query("q", "pump")], k=4)
    assert ids(best) == ["long", "d0", "d1", "d2"]
