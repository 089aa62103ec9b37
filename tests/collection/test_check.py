"""Damage: one flipped byte in any file is found and the file named, a cut file is refused, and what is derived can be made anew."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import ragkit.collection.builder as builder
from ragkit import BM25, Collection, Dense, Document, Query
from ragkit.collection import check, repair
from ragkit.errors import CorruptCollectionError, NotACollectionError, RagkitError, SnapshotGone

N = 60
TEXTS = [f"document {n} tells of pump{n % 7} and valve{n % 5}" for n in range(N)]


def given(n: int) -> dict[str, np.ndarray]:
    return {"v": np.random.default_rng(7).normal(size=(n, 8)).astype(np.float32)}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """Two segments with every kind of file: columns, vectors, BM25, a trained and a built faiss index, a bitmap, the mark of a purge."""
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 20)
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en"), Dense(vectors="v", factory="IVF4,Flat", nprobe=4)], chunker=None)
    made.auto_merge = False
    made.add([Document(t, id=str(n), meta={"n": n}) for n, t in enumerate(TEXTS[:40])], vectors={"v": given(N)["v"][:40]})
    made.add([Document(t, id=str(n + 40)) for n, t in enumerate(TEXTS[40:])], vectors={"v": given(N)["v"][40:]})
    made.delete(["3", "50"])
    made.delete("51")
    made.compact(purge=True)
    made.delete(["4", "5"])
    return made


def files_of(made: Collection) -> list[Path]:
    """All but the lock, which holds nothing."""
    found = sorted(p for p in made.folder.rglob("*") if p.is_file() and p.name != "writer.lock")
    live = {made.folder / n for n in (*made.version.manifest.files, made.version.manifest.name, "CURRENT", "PURGED")}
    kept = {p for p in found if p in live}
    assert live == kept
    return sorted(kept)


def answers(made: Collection) -> list[list[tuple[str, float]]]:
    queries = [Query("a", "pump3 valve2", vectors={"v": given(N)["v"][9]}), Query("b", "valve1", vectors={"v": given(N)["v"][44]})]
    return [[(h.id, round(h.score, 4)) for h in made.search(q, k=9, using=using)] for q in queries for using in ("bm25", "dense")]


def kinds(files: list[Path]) -> set[str]:
    return {f.suffix or f.name for f in files}


def test_one_flipped_byte_is_found_and_named(made: Collection) -> None:
    files = files_of(made)
    assert kinds(files) == {".arrow", ".npy", ".faiss", ".json", "CURRENT", "PURGED"}
    assert check(made.folder).ok
    rng = random.Random(7)
    for path in files:
        whole = path.read_bytes()
        for at in sorted({0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))}):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
            report = check(made.folder)
            assert [d.file for d in report.damaged] == [path.relative_to(made.folder).as_posix()], (path, at)
            assert not report.ok
            assert path.name in str(report)
        path.write_bytes(whole)
    assert check(made.folder).ok


def test_a_flipped_byte_never_crashes_a_search(made: Collection) -> None:
    """Opening and searching either says what is damaged or answers; nothing else happens to the process."""
    rng = random.Random(7)
    right = answers(made)
    for path in files_of(made):
        whole = path.read_bytes()
        for _ in range(12):
            at = rng.randrange(len(whole))
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
            try:
                found = answers(Collection.open(made.folder))
            except (RagkitError, UnicodeDecodeError):
                continue
            assert [len(f) for f in found] <= [9] * len(right)
        path.write_bytes(whole)
    assert answers(Collection.open(made.folder)) == right


def test_a_cut_or_missing_file_is_refused(made: Collection) -> None:
    for path in files_of(made):
        whole = path.read_bytes()
        for size in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:size])
            with pytest.raises(CorruptCollectionError, match=path.name):
                Collection.open(made.folder).search("pump3", using="bm25")
            for quick in (True, False):
                assert [d.file for d in check(made.folder, quick=quick).damaged] == [path.relative_to(made.folder).as_posix()]
        path.write_bytes(whole)
    assert check(made.folder, quick=True).ok


def test_what_is_derived_is_made_anew(made: Collection) -> None:
    right, documents = answers(made), [(d.id, d.text, d.meta) for d in made]
    derived = [p for p in files_of(made) if "/bm25/" in str(p) or p.suffix == ".faiss" or p.name in ("keys.npy", "CURRENT", "PURGED")]
    assert len(derived) >= 9
    for path in derived:
        whole = path.read_bytes()
        for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], None):
            folder = made.folder.with_name("damaged")
            shutil.copytree(made.folder, folder)
            target = folder / path.relative_to(made.folder)
            target.unlink()
            if damaged is not None:
                target.write_bytes(damaged)
            elif path.name in ("CURRENT", "PURGED"):
                shutil.rmtree(folder)
                continue  # without CURRENT it is no collection, and without the mark nothing was purged
            name = path.relative_to(made.folder).as_posix()
            report = repair(folder)
            assert [d.file for d in report.repaired] == [name]
            assert not report.left
            mended = Collection.open(folder)
            assert mended.check().ok
            assert [(d.id, d.text, d.meta) for d in mended] == documents
            assert answers(mended) == right
            mended.add([Document("and it goes on", id="on")], vectors=given(1))
            shutil.rmtree(folder)
    assert str(repair(made.folder)) == "nothing is damaged"


def test_what_has_no_source_is_left_and_said(made: Collection) -> None:
    for path in files_of(made):
        name = path.relative_to(made.folder).as_posix()
        lost = (path.suffix == ".arrow" and "bm25" not in name) or "deletes" in name or "given-v" in name or name.startswith("manifest")
        if not lost:
            continue
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        before = sorted(p for p in made.folder.rglob("*"))
        report = repair(made.folder)
        assert [d.file for d in report.left] == [name]
        assert not report.repaired
        assert "restore it from a backup" in str(report)
        assert sorted(p for p in made.folder.rglob("*")) == before
        path.write_bytes(whole)
    assert check(made.folder).ok


def test_a_report_says_what_still_works(made: Collection) -> None:
    path = next(made.folder.glob("segments/*/bm25/rows.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    report = made.check()
    assert report.works == ("documents", "dense")
    assert report.to_dict()["damaged"][0]["repairable"] is True
    assert "the index bm25 of 55 documents; repair makes it anew" in str(report)
    assert made.repair().to_dict()["ok"]
    assert made.check().ok
    shutil.rmtree(made.folder)
    with pytest.raises(NotACollectionError):
        check(made.folder)


def test_encoded_vectors_are_made_anew(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", indexes=[Dense(model="static")], chunker=None)
    made.add([Document(t, id=str(n)) for n, t in enumerate(TEXTS)])
    right = [(h.id, h.score) for h in made.search("pump3", k=5)]
    column = next(p for p in made.folder.glob("segments/*/vectors/*.npy") if p.name != "keys.npy")
    column.write_bytes(column.read_bytes()[:-40] + b"\0" * 40)
    assert [d.file for d in made.repair().repaired] == [column.relative_to(made.folder).as_posix()]
    assert [(h.id, h.score) for h in Collection.open(made.folder).search("pump3", k=5)] == right


def test_a_purge_leaves_nothing_of_what_was_deleted(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document("the secret word is xylophone", id="secret"), Document("no more of this", id="rest")])
    reader = Collection.open(tmp_path / "c")
    assert len(reader.search("xylophone")) == 1
    made.delete("secret")
    report = made.compact()
    assert report.documents_dropped == 1
    assert "1 deleted documents were dropped" in str(report)
    assert len(reader.search("xylophone")) == 1  # readable for ten minutes
    assert any(b"xylophone" in p.read_bytes() for p in made.folder.rglob("*") if p.is_file())
    made.compact(purge=True)
    assert not any(b"xylophon" in p.read_bytes() for p in made.folder.rglob("*") if p.is_file())
    for read in (lambda: reader.search("xylophone"), lambda: reader.get("secret"), lambda: list(reader)):
        with pytest.raises(SnapshotGone, match="purged; call refresh"):
            read()
    assert reader.refresh()
    assert len(reader.search("xylophone")) == 0
    assert reader.get("rest").text == "no more of this"
