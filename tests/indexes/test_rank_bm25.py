"""The index backed by rank_bm25: the smallest plug-in, and a peer that the built-in index equals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragkit import BM25, Collection, Document
from ragkit.errors import ScaleError
from ragkit.indexes.rank_bm25 import RankBM25

TEXTS = ["the cat sat", "a dog barked at the cat", "birds fly south", "cats and dogs", "", "a quiet day at sea"]


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    same = BM25(k1=1.5, b=0.75, method="okapi", language="en", identifiers=False, ignore_function_words=False)
    made = Collection.create(tmp_path / "c", indexes=[RankBM25(), same], chunker=None)
    made.add([Document(t, id=str(i)) for i, t in enumerate(TEXTS)])
    return made


def test_equals_the_built_in_index(collection: Collection) -> None:
    for step in ("as added", "after a deletion"):
        if step == "after a deletion":
            collection.delete("1")
        for question in ("cat", "dogs at sea", "birds cat cat", "nothing known", ""):
            a, b = collection.search(question, using="rank_bm25"), collection.search(question, using="bm25")
            assert [h.id for h in a] == [h.id for h in b]
            np.testing.assert_allclose([h.score for h in a], [h.score for h in b], rtol=1e-5, atol=1e-7)


def test_runs_combine_with_other_indexes(collection: Collection) -> None:
    a, b = collection.retriever("rank_bm25"), collection.retriever("bm25")
    one = b("cat")
    np.testing.assert_allclose((a | b)("cat").scores, one.scores, rtol=1e-5)
    assert set((a & b)("cat").legs) == {"bm25", "rank_bm25"}
    with pytest.raises(ScaleError, match="'okapi' don't add"):  # an idf below 0 has no floor
        (a + b)("cat")


def test_an_empty_collection_answers(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[RankBM25()])
    assert len(made.search("anything")) == 0
