"""Texts of an evaluation set that stand in documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragkit import BM25, Collection, Document, NGram, contamination
from ragkit.errors import InputError

QUESTIONS = {
    "whole": "how often is the outer gasket of the circulation pump replaced in winter",
    "half": "how often is the outer gasket of the circulation pump checked by us",
    "short": "Which GASKET  is red?",
    "clean": "what did the minister say to the delegates of the assembly when they had come back from the hills",
    "empty": "",
}


@pytest.mark.parametrize("indexed", [True, False])
def test_shares_and_labels(indexed: bool, tmp_path: Path) -> None:
    c = Collection.create(tmp_path / "c", indexes=[NGram()] if indexed else [BM25(language="en")])
    c.add([Document(f"FAQ.\n{QUESTIONS['whole'].replace(' ', '  ').upper()}? Which gasket is red? Yes.", id="faq"), Document("Other.")])
    found = contamination(QUESTIONS, c)
    by_id = {t.id: t for t in found}
    assert {id: t.label for id, t in by_id.items()} == {
        "whole": "dirty", "half": "suspicious", "short": "dirty", "clean": "clean", "empty": "clean"
    }  # fmt: skip
    assert (by_id["whole"].share, by_id["short"].share, by_id["clean"].share, by_id["empty"].share) == (1.0, 1.0, 0.0, 0.0)
    words = [i for i in range(len(QUESTIONS["half"]) - 50) if i == 0 or QUESTIONS["half"][i - 1] == " "]
    held = [QUESTIONS["half"][i : i + 50] in QUESTIONS["whole"] for i in (*words, len(QUESTIONS["half"]) - 50)]
    assert by_id["half"].share == pytest.approx(sum(held) / len(held))
    assert found.dirty == ["whole", "short"]
    assert [t.document for t in found] == ["faq", "faq", "faq", "", ""]
    assert found.to_dict()["suspicious"] == 1
    assert repr(found).startswith("5 texts: 2 dirty, 1 suspicious, 2 clean\ndirty       100 %  whole  'how often")
    assert [t.id for t in contamination(list(QUESTIONS.values()), c)] == ["0", "2", "1", "3", "4"]
    assert contamination([], c).dirty == []
    c.delete("faq")
    assert contamination(QUESTIONS, c).dirty == []


def test_refusals(tmp_path: Path) -> None:
    c = Collection.create(tmp_path / "c")
    with pytest.raises(InputError, match="give the texts of an evaluation set as a list"):
        contamination("one text", c)
    with pytest.raises(InputError, match="window must be a number of characters of at least 1, got 0"):
        contamination([], c, window=0)
    with pytest.raises(InputError, match="the labels need 0 < suspicious <= dirty <= 1"):
        contamination([], c, suspicious=0.9, dirty=0.5)
