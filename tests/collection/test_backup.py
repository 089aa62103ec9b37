"""Backups, exports and estimates."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ragkit import BM25, Collection, Dense, Document, estimate
from ragkit.errors import CollectionExistsError, CorruptCollectionError, InputError

WHEN = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
META = {"year": 2020, "tags": ["pet", "fur"], "at": WHEN, "deep": {"er": 1.5}}
DOCUMENTS = [
    Document(
        "The cat sat on the mat.", id="cat", title="Cats", meta={"year": 2020, "tags": ["pet", "fur"], "at": WHEN, "deep": {"er": 1.5}}
    ),
    Document("Größe zählt: 猫は可愛い 🐈", id="uni"),
    Document("", id="empty", title="nothing"),
]


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en"), Dense(vectors="v")], chunker=None)
    made.add(DOCUMENTS, vectors={"v": np.eye(3, dtype=np.float32)})
    return made


def test_a_snapshot_is_a_collection_of_its_own(made: Collection, tmp_path: Path) -> None:
    made.delete("empty")
    copy = Collection.open(made.snapshot(tmp_path / "copy"))
    assert copy.check().ok
    assert list(copy) == list(made)
    made.add([Document("later", id="later")], vectors={"v": np.ones((1, 3), np.float32)})
    copy.add([Document("elsewhere", id="elsewhere")], vectors={"v": np.ones((1, 3), np.float32)})
    assert ("later" in copy, "elsewhere" in made) == (False, False)
    with pytest.raises(CollectionExistsError, match="name a new folder"):
        made.snapshot(tmp_path / "copy")
    with pytest.raises(InputError, match="inside the collection"):
        made.snapshot(made.folder / "copy")


def test_a_handle_follows_a_backup_that_is_put_in_place(made: Collection, tmp_path: Path) -> None:
    """Two versions with the same number and different content are told apart."""
    made.snapshot(tmp_path / "backup")
    made.delete("cat")
    other = Collection.open(tmp_path / "backup")
    other.delete("uni")
    assert other.version.manifest.generation == made.version.manifest.generation
    made.folder.rename(tmp_path / "old")
    (tmp_path / "backup").rename(made.folder)
    assert made.refresh()
    assert [d.id for d in made] == ["cat", "empty"]


def test_a_damaged_file_is_not_copied(made: Collection, tmp_path: Path) -> None:
    column = next(made.folder.glob("segments/*/documents.arrow"))
    whole = column.read_bytes()
    column.write_bytes(whole.replace(b"cat sat", b"cat SAT"))
    with pytest.raises(CorruptCollectionError, match=r"documents\.arrow was altered"):
        made.snapshot(tmp_path / "copy")
    column.write_bytes(whole)
    assert Collection.open(made.snapshot(tmp_path / "copy")).check().ok  # over what was left there


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
def test_an_export_is_indexed_again(name: str, made: Collection, tmp_path: Path) -> None:
    assert made.export(tmp_path / name) == 3
    again = Collection.create(tmp_path / "again", indexes=[BM25(language="en")], chunker=None)
    again.sync(tmp_path / name)
    assert {(d.id, d.title, d.text) for d in again} == {
        ("cat", "Cats", DOCUMENTS[0].text),
        ("uni", "", DOCUMENTS[1].text),
        ("empty", "", "nothing"),
    }
    meta = again.get("cat").meta
    assert (meta["year"], meta["tags"], meta["deep.er"], meta["at"]) == (2020, ["pet", "fur"], 1.5, WHEN)
    with pytest.raises(InputError, match="is there already"):
        made.export(tmp_path / name)


def test_an_export_by_a_filter(made: Collection, tmp_path: Path) -> None:
    assert made.export(tmp_path / "some.jsonl", where="year >= 2020") == 1
    assert json.loads((tmp_path / "some.jsonl").read_text())["metadata"]["at"] == "2024-05-06T07:08:00+00:00"
    with pytest.raises(InputError, match=r"writes \.jsonl and \.parquet"):
        made.export(tmp_path / "some.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "some.jsonl"]


def test_an_estimate_is_near(tmp_path: Path) -> None:
    """Sizes of a corpus that is too large for the sample are those of the whole one, about."""
    docs = tmp_path / "docs"
    docs.mkdir()
    rng = np.random.default_rng(7)
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "so", "ti", "vu", "ze")]
    for n in range(90):
        (docs / f"{n}.txt").write_text("\n\n".join(" ".join(rng.choice(words, 60)) + "." for _ in range(int(rng.integers(100, 500)))))
    (docs / "picture.png").write_bytes(b"\x89PNG")
    specs = [BM25(language="none")]
    guessed = estimate(docs, indexes=specs)
    made = Collection.create(tmp_path / "c", indexes=specs)
    made.sync(docs)
    info = made.info()
    assert guessed.files == 90
    assert 0.1 < guessed.sampled < 1
    for told, true in ((guessed.documents, 90), (guessed.passages, info["passages"]), (guessed.disk, info["bytes"])):
        assert 0.7 * true < told < 1.4 * true
    assert guessed.ram > 50e6
    assert "90 files" in str(guessed)
    assert estimate(docs, indexes=specs, max_ram=1000).ram == 1000
    with pytest.raises(InputError, match="no file that can be read"):
        estimate(docs / "picture.png", indexes=specs)
