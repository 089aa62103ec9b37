"""The collection as its users meet it: add, upsert, delete, get, search, versions, damage."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ragkit.collection.builder as builder
import ragkit.collection.memory as memory
from ragkit import BM25, Collection, Document, Retrieve, Tokens
from ragkit.collection.files import replace_file, sealed, sha256_bytes
from ragkit.collection.home import open_or_create, remove_if_empty
from ragkit.collection.retention import drop_old_versions
from ragkit.errors import (
    Cancelled,
    CollectionExistsError,
    CorruptCollectionError,
    DuplicateIdError,
    InputError,
    LockedError,
    NotACollectionError,
    SchemaError,
    SnapshotGone,
    SnapshotMismatch,
    UnknownNameError,
    UnsupportedVersionError,
)

DOCS = [
    Document("The cat sat on the mat.", id="cat", title="Cats", meta={"year": 2020, "tags": ["pet", "fur"]}),
    Document("Dogs chase cats in the park.\n\nThey also dig holes.", id="dog", meta={"year": 2021, "deep": {"er": 1.5}}),
    Document("Größe zählt: 猫は可愛い 🐈 naïve café", id="uni", title="Ünïcode"),
]


WORDS = ["ash", "birch", "cedar", "elm", "fir", "hazel", "juniper", "larch", "maple"]


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c", indexes=[BM25(language="en")], chunker=Tokens(8, overlap=2))
    made.add(DOCS)
    return made


def test_documents_come_back_as_they_were_given(collection: Collection) -> None:
    for given_ in DOCS:
        got = collection.get(given_.id)
        assert (got.text, got.title, got.id) == (given_.text, given_.title, given_.id)
    assert collection.get("dog").meta == {"year": 2021, "deep.er": 1.5}
    assert [d.id for d in collection.get(["uni", "cat"])] == ["uni", "cat"]
    assert [d.id for d in collection] == ["cat", "dog", "uni"]
    assert len(collection) == 3
    assert "cat" in collection
    assert "cow" not in collection
    with pytest.raises(UnknownNameError, match="no document has the id 'cow'"):
        collection.get("cow")


def test_passages_are_exact_spans(collection: Collection) -> None:
    n = 0
    for view in collection.version.views:
        for row in range(view.columns.n_passages):
            p = view.columns.passage(row)
            assert p.text == collection.get(p.document).text[p.start : p.end]
            n += 1
    assert n == collection.version.n_passages > 3


def test_search_and_group_by_document(collection: Collection) -> None:
    hits = collection.search("cats", k=5)
    assert {h.id for h in hits} == {"cat", "dog"}
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert hits[0].scores == {"bm25": pytest.approx(hits[0].score)}
    assert hits[0].rank == 0
    collection.add([Document("cats cats. " * 40, id="many")])
    assert len({h.id for h in collection.search("cats", k=3)}) == 1  # all from one long document
    grouped = collection.search("cats", k=3, group_by="document")
    assert [h.id for h in grouped] == sorted({"cat", "dog", "many"}, key=lambda d: [h.id for h in grouped].index(d))
    assert len(grouped) == 3
    run = collection.search(["cats", "holes"], k=2)
    assert len(run) == 2
    assert run.ids()[-1] == "dog"
    assert collection.search("猫は", k=1)[0].id == "uni"


def test_odd_questions_have_plain_results(collection: Collection) -> None:
    assert len(collection.search("")) == 0
    assert len(collection.search("the of and")) == 0
    assert len(collection.search("xyzzy")) == 0
    assert len(collection.search("cats", k=10_000)) == 2
    assert len(collection.search([], k=3)) == 0
    for k in (0, -1, True, 2.5):
        with pytest.raises(InputError, match=r"k must be a whole number of at least 1, got"):
            collection.search("cats", k=k)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean 'bm25'"):
        collection.search("cats", using="bm52")
    with pytest.raises(InputError, match="group_by"):
        collection.search("cats", group_by="page")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="question is empty"):
        collection.ask("  ")


def test_as_many_hits_as_asked_for(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document("same", id=str(i)) for i in range(1200)])
    assert len(made.search("same", k=1100)) == 1100
    assert len(made.search("same", k=5000)) == 1200
    assert len(made.search("same", k=1100, group_by="document")) == 1100


def test_an_empty_collection_answers(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    assert len(made.search("anything")) == 0
    assert made.ask("anything?").found is False
    made.add([Document("", id="blank"), Document("", id="titled", title="Only a title")])
    assert made.search("title")[0].id == "titled"
    assert len(made) == 2


def test_ids(collection: Collection) -> None:
    with pytest.raises(DuplicateIdError, match="'cat' is stored already; use upsert"):
        collection.add([Document("new", id="new"), Document("again", id="cat")])
    assert "new" not in collection  # one commit: nothing of it was taken
    with pytest.raises(DuplicateIdError, match="given twice"):
        collection.add([Document("a", id="x"), Document("b", id="x")])
    first = collection.add(["a text without an id"])
    assert collection.get(first[0]).text == "a text without an id"
    assert collection.add([{"page_content": "from a dict", "docno": "d7", "metadata": {"year": 1999}}]) == ["d7"]
    assert collection.get("d7").meta == {"year": 1999}
    for wrong in ("text", Document("x"), {"text": "x"}):
        with pytest.raises(InputError, match="give a list of documents"):
            collection.add(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a document is"):
        collection.add([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="lone surrogate"):
        collection.add([Document("bad \ud800", id="bad")])


def test_upsert_and_delete(collection: Collection) -> None:
    collection.upsert([Document("A cow eats grass.", id="cat"), Document("A new horse.", id="horse")])
    assert collection.get("cat").text == "A cow eats grass."
    assert [h.id for h in collection.search("cow")] == ["cat"]
    assert {h.id for h in collection.search("sat mat")} == set()
    assert collection.delete("horse") == 1
    assert collection.delete(["horse", "never"]) == 0
    assert len(collection) == 3
    collection.add([Document("horse again", id="horse")])
    assert collection.get("horse").text == "horse again"


def test_versions(collection: Collection, tmp_path: Path) -> None:
    reader = Collection.open(tmp_path / "c")
    before = reader.version
    collection.delete("cat")
    assert "cat" in reader
    assert [h.id for h in reader.search("mat")] == ["cat"]
    assert reader.refresh() is True
    assert reader.refresh() is False
    assert "cat" not in reader
    assert before.get("cat").id == "cat"  # a pinned version stays whole
    generation = collection.version.manifest.generation
    collection.delete("never there")
    collection.add([])
    assert collection.version.manifest.generation == generation  # nothing changed: no new version
    run = collection.search(["cats"])
    collection.add([Document("one more", id="more")])
    with pytest.raises(SnapshotMismatch):
        run.same_source(collection.search(["cats"]))


def test_a_relative_path_outlives_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Collection.create("c")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    made.add([Document("still here", id="a")])
    assert [d.id for d in Collection.open(tmp_path / "c")] == ["a"]


def test_readers_and_a_writer_share_one_object(collection: Collection) -> None:
    """16 threads search while one adds: every result is that of one whole version."""
    wrong: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            run = collection.search(["tally"], k=50)
            ids = run.ids()
            if len(ids) % 2 or len(set(ids)) != len(ids) or any(p.text != "one tally" for p in run.passages()):
                wrong.append(f"{len(ids)} hits")

    readers = [threading.Thread(target=read) for _ in range(16)]
    for reader in readers:
        reader.start()
    for i in range(12):
        collection.add([Document("one tally", id=f"{i}a"), Document("one tally", id=f"{i}b")])  # always in pairs
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(collection.search("tally", k=50)) == 24


def test_two_handles_write_in_turn(collection: Collection, tmp_path: Path) -> None:
    other = Collection.open(tmp_path / "c")
    other.add([Document("from the other", id="other")])
    collection.add([Document("from the first", id="first")])
    assert {"other", "first"} <= {d.id for d in collection}


def test_schema(collection: Collection) -> None:
    assert collection.info()["schema"] == {"year": "int", "tags": "list[str]", "deep.er": "float"}
    with pytest.raises(SchemaError, match="field 'year' is int, but document 'z' has 'x'"):
        collection.add([Document("z", id="z", meta={"year": "x"})])
    collection.add([Document("z", id="z", meta={"year": 1.5})])  # an int field widens
    assert collection.info()["schema"]["year"] == "float"


def test_parts_are_built_for_large_segments_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 4)
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document(f"{WORDS[i]} common", id=str(i)) for i in range(3)])
    made.add([Document(f"{WORDS[i]} common", id=str(i)) for i in range(3, 9)])
    assert [s.indexes for s in made.version.manifest.segments] == [(), ("bm25",)]
    reopened = Collection.open(tmp_path / "c")
    assert [h.id for h in reopened.search(f"{WORDS[1]} {WORDS[7]}")] == ["1", "7"]
    assert len(reopened.search("common", k=20)) == 9


def test_a_large_add_makes_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SEGMENT_TEXT", 100)
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document(f"number {i} " + "pad " * 10, id=str(i)) for i in range(10)])
    assert len(made.version.manifest.segments) > 2
    assert made.search("number 7")[0].id == "7"


def test_nothing_is_lost_when_a_commit_fails(collection: Collection, tmp_path: Path) -> None:
    def documents():  # type: ignore[no-untyped-def]
        yield Document("fine", id="fine")
        raise RuntimeError("the source broke")

    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(RuntimeError, match="the source broke"):
        collection.add(documents())
    with pytest.raises(Cancelled, match="nothing was committed"):
        collection.add([Document("x", id="x")], progress=lambda done, total, stage: False)
    assert "fine" not in collection
    assert [d.id for d in Collection.open(tmp_path / "c")] == ["cat", "dog", "uni"]
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()) == before
    collection.add([Document("fine", id="fine")])  # and the collection can still be written


def test_the_lock_names_its_owner(collection: Collection, tmp_path: Path) -> None:
    other = Collection(tmp_path / "c", lock_timeout=0.05)
    inside, done = threading.Event(), threading.Event()

    def documents():  # type: ignore[no-untyped-def]
        yield Document("slow", id="slow")
        inside.set()
        done.wait(10)

    slow = threading.Thread(target=lambda: collection.add(documents()))
    slow.start()
    inside.wait(10)
    try:
        with pytest.raises(LockedError, match=r"being written by process \d+ on "):
            other.add([Document("x", id="x")])
        assert len(other.search("cats")) == 2  # reading takes no lock
    finally:
        done.set()
        slow.join()
    other.add([Document("x", id="x")])
    assert {"slow", "x"} <= {d.id for d in other}


def test_creating_and_opening(tmp_path: Path) -> None:
    with pytest.raises(NotACollectionError, match="holds no collection; make one"):
        Collection.open(tmp_path)
    Collection.create(tmp_path / "c")
    with pytest.raises(CollectionExistsError, match="holds a collection already"):
        Collection.create(tmp_path / "c")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(CollectionExistsError, match="not an empty folder"):
        Collection.create(tmp_path / "full")
    with pytest.raises(InputError, match="at least one index and each kind once"):
        Collection.create(tmp_path / "d", indexes=[])
    with pytest.raises(InputError, match="each kind once"):
        Collection.create(tmp_path / "d", indexes=[BM25(), BM25(k1=1.2)])
    for template in ("{title}", "{text.__class__}", "{text!r}", "{text:>100}", "{0}"):
        with pytest.raises(InputError, match="a template holds"):
            Collection.create(tmp_path / "d", index_text=template)
    with pytest.raises(SchemaError, match="was declared 'number'"):
        Collection.create(tmp_path / "d", schema={"year": "number"})
    assert not (tmp_path / "d").exists()


def test_damage_is_refused(tmp_path: Path) -> None:
    """Whatever file of a version is cut, opening says so and names it."""
    made = Collection.create(tmp_path / "c")
    made.add(DOCS)
    made.delete("dog")
    for path in sorted(p for p in made.folder.rglob("*") if p.is_file() and p.name != "writer.lock"):
        whole = path.read_bytes()
        if path.name.startswith("manifest") and path.name != made.version.manifest.name:
            continue
        path.write_bytes(whole[:-1])
        with pytest.raises(CorruptCollectionError, match=path.name):
            Collection.open(made.folder)
        path.unlink()
        if path.name == "CURRENT":
            with pytest.raises(NotACollectionError):
                Collection.open(made.folder)
        else:
            with pytest.raises(CorruptCollectionError, match=path.name):
                Collection.open(made.folder)
        path.write_bytes(whole)
    assert len(Collection.open(made.folder)) == 2


def test_altered_postings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels check no bounds, so what they are given is checked: a file of the right size with wrong numbers in it."""
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document(f"{w} common", id=w) for w in WORDS])
    part = made.folder / "segments" / made.version.manifest.segments[0].id / "bm25"
    for name, value in (("rows", 2_000_000_000), ("rows", -1), ("indptr", 1 << 40), ("indptr", -5)):
        whole = (part / f"{name}.npy").read_bytes()
        array = np.load(part / f"{name}.npy")
        array[-1] = value
        np.save(part / f"{name}.npy", array)
        with pytest.raises(CorruptCollectionError, match="do not fit together"):
            Collection.open(made.folder).search("common")
        (part / f"{name}.npy").write_bytes(whole)
    np.save(part / "tfs.npy", np.load(part / "tfs.npy").astype(np.int64)[: len(np.load(part / "tfs.npy")) // 2])
    with pytest.raises(CorruptCollectionError):
        Collection.open(made.folder).search("common")


def test_a_reader_keeps_a_version_that_was_replaced_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old a version is: its time begins to run when it is replaced."""
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add([Document(f"{w} common", id=w) for w in WORDS])
    for path in made.folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    reader = Collection.open(made.folder)
    for step in range(3):
        made.upsert([Document(f"{w} common {step}", id=w) for w in WORDS])
    assert len(reader.search("common", k=20)) == len(WORDS)  # its index part was opened only now

    late = Collection.open(made.folder)
    made.upsert([Document(f"{w} common", id=w) for w in WORDS])
    made.upsert([Document(f"{w} common", id=w) for w in WORDS])
    drop_old_versions(made.folder, keep_seconds=0)
    with pytest.raises(SnapshotGone, match="call refresh"):
        late.search("common")
    assert late.refresh()
    assert len(late.search("common", k=20)) == len(WORDS)


def test_a_collection_made_anew_in_the_same_place(tmp_path: Path) -> None:
    stale = Collection.create(tmp_path / "c")
    stale.add([Document("from before", id="before")])
    shutil.rmtree(tmp_path / "c")
    fresh = Collection.create(tmp_path / "c")
    fresh.add([Document("from after", id="after")])
    stale.add([Document("through the old handle", id="more")])
    assert sorted(d.id for d in Collection.open(tmp_path / "c")) == ["after", "more"]
    assert fresh.refresh()
    assert sorted(d.id for d in stale) == ["after", "more"]


def test_an_empty_collection_is_removed_only_if_nobody_writes_it(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    inside, done = threading.Event(), threading.Event()

    def documents():  # type: ignore[no-untyped-def]
        yield Document("precious", id="x")
        inside.set()
        done.wait(10)

    first = threading.Thread(target=lambda: made.add(documents()))
    first.start()
    inside.wait(10)
    other = Collection.open(tmp_path / "c")
    assert remove_if_empty(other) is False  # no document is committed yet, but one is on its way
    done.set()
    first.join()
    assert remove_if_empty(other) is False
    assert [d.id for d in Collection.open(tmp_path / "c")] == ["x"]
    assert remove_if_empty(Collection.create(tmp_path / "d")) is True
    assert not (tmp_path / "d").exists()


def test_a_stale_reader_never_mixes_two_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)
    Collection.create(tmp_path / "c", chunker=None).add([Document(f"old {w}", id=f"old-{w}") for w in WORDS])
    stale = Collection.open(tmp_path / "c")  # its index part is not opened yet
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(SnapshotGone, match="replaced or removed"):
        stale.search("cedar")
    Collection.create(tmp_path / "c", chunker=None).add([Document(f"new {w}", id=f"new-{w}") for w in reversed(WORDS)])
    with pytest.raises(SnapshotGone, match="call refresh"):
        stale.search("cedar")
    stale.refresh()
    assert [h.id for h in stale.search("cedar")] == ["new-cedar"]


def test_two_that_create_at_once_share_one_collection(tmp_path: Path) -> None:
    for n in range(6):
        start = threading.Barrier(3)
        failed: list[BaseException] = []

        def make(who: str, n: int = n, start: threading.Barrier = start, failed: list[BaseException] = failed) -> None:
            try:
                start.wait()
                open_or_create(tmp_path / f"{n}").add([Document(f"by {who}", id=who)])
            except BaseException as exc:
                failed.append(exc)

        makers = [threading.Thread(target=make, args=(w,)) for w in "xyz"]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        assert not failed
        assert sorted(d.id for d in Collection.open(tmp_path / f"{n}")) == ["x", "y", "z"]


def test_what_utf8_or_a_schema_can_not_hold_is_refused_by_name(collection: Collection) -> None:
    deep: dict[str, object] = {}
    deep["deep"] = deep
    before = sorted(p for p in collection.folder.rglob("*"))
    for document, sentence in (
        (Document("x", id="a\ud800"), "lone surrogate"),
        (Document("x", id="a", title="\ud800"), "lone surrogate"),
        (Document("x", id="a", meta={"k": "\ud800"}), "lone surrogate"),
        (Document("x", id="a", meta={"k": ["fine", "\udfff"]}), "lone surrogate"),
        (Document("x", id="a", meta={"\ud800": 1}), "metadata keys"),
        (Document("x", id="a", meta={"a.b": 1, "a": {"b": 2}}), "'a.b' twice"),
        (Document("x", id="a", meta=deep), "levels deep"),
        (Document("x", id="a", meta={"k": object()}), "metadata is int"),
        (Document("x", id="a", meta={"k": 1 << 70}), "64 bits"),
    ):
        with pytest.raises(InputError, match=sentence):
            collection.add([document])
    assert sorted(p for p in collection.folder.rglob("*")) == before
    for wrong in ({"body_start": 2}, {"body_start": -1}, {"page_starts": (1, 0)}, {"headings": ((7, 1, "h"),)}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Document("x", **wrong)  # type: ignore[arg-type]


def test_a_commit_that_is_cancelled_at_any_stage_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SMALL_SEGMENT", 2)
    made = Collection.create(tmp_path / "c", chunker=None)
    made.add(DOCS)
    before = sorted(made.folder.rglob("*"))
    stages: set[str] = set()
    for stage in ("adding documents", "indexing terms"):

        def stop(done: int, total: int, now: str, stage: str = stage) -> bool:
            stages.add(now)
            return now != stage

        with pytest.raises(Cancelled, match=stage):
            made.upsert([Document("new", id=d.id) for d in DOCS], progress=stop)
        assert sorted(made.folder.rglob("*")) == before
    assert stages == {"adding documents", "indexing terms"}


def test_the_language_waits_for_text_that_tells_it(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    made.add(["", "12345"])
    assert made.info()["indexes"]["bm25"]["language"] == "auto"
    made.add(["Der Hund läuft schnell durch die Stadt und bellt, weil er nicht nach Hause will."])
    assert made.info()["indexes"]["bm25"]["language"] == "de"
    assert len(made.search("Hunde")) == 1


def test_a_pipeline_of_another_collection_is_refused(collection: Collection, tmp_path: Path) -> None:
    other = Collection.create(tmp_path / "other")
    with pytest.raises(InputError, match="bound to another collection"):
        other.search("cats", using=collection.retriever("bm25"))
    assert len(collection.search("cats", using=collection.retriever("bm25") % 1)) == 1


def test_another_version_is_refused(tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "c")
    path = made.folder / made.version.manifest.name

    def rewrite(**change: object) -> None:
        content = json.dumps({**json.loads(path.read_bytes()), **change}).encode()
        path.write_bytes(content)
        replace_file(made.folder / "CURRENT", sealed(f"{path.name} {sha256_bytes(content)}"))

    rewrite(version=2)
    with pytest.raises(UnsupportedVersionError, match="version 2; this ragkit reads version 1"):
        Collection.open(made.folder)
    rewrite(version=1, format="something else")
    with pytest.raises(CorruptCollectionError, match="not the manifest"):
        Collection.open(made.folder)
    rewrite(format="ragkit.collection", files={"../outside": {"size": 1, "sha256": "0"}})
    with pytest.raises(CorruptCollectionError, match="outside the collection"):
        Collection.open(made.folder)


def test_old_versions_are_dropped_after_their_time(collection: Collection) -> None:
    for i in range(4):
        collection.upsert([Document(f"version {i}", id="cat")])
    folder = collection.folder
    assert len(list(folder.glob("manifest-*.json"))) == 6  # younger than ten minutes: all are kept
    drop_old_versions(folder, keep_seconds=0)
    assert [p.name for p in sorted(folder.glob("manifest-*.json"))] == ["manifest-00000004.json", "manifest-00000005.json"]
    kept = [json.loads(p.read_bytes()) for p in folder.glob("manifest-*.json")]
    assert {s["id"] for m in kept for s in m["segments"]} == {p.name for p in (folder / "segments").iterdir()}
    assert {s["deletes"] for m in kept for s in m["segments"]} - {None} == {f"deletes/{p.name}" for p in (folder / "deletes").iterdir()}
    assert Collection.open(folder).get("cat").text == "version 3"


def test_retriever_shorthand(collection: Collection) -> None:
    bound = collection.retriever("bm25") % 1
    assert bound("cats").ids() == [collection.search("cats", k=1)[0].id]
    same = (Retrieve("bm25") | Retrieve("bm25")) % 2
    assert same.on(collection)("cats").ids() == [h.id for h in collection.search("cats", k=2)]
    both = collection.retriever("bm25") + 2.0 * collection.retriever("bm25")
    np.testing.assert_allclose(both("cats").scores, 3 * collection.retriever("bm25")("cats").scores, rtol=1e-6)
    with pytest.raises(UnknownNameError):
        collection.retriever("dense")


TEXTS = st.text(st.sampled_from("ab cdé猫\n"), max_size=30)


@given(st.lists(st.tuples(TEXTS, st.text("xy", max_size=3)), max_size=5))
@settings(max_examples=25)
def test_byte_offsets_follow_code_points(docs: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = Collection.create(Path(scratch, "c"), chunker=Tokens(2, overlap=1))
        made.add([Document(text, id=str(i), title=title) for i, (text, title) in enumerate(docs)])
        for view in made.version.views:
            for row in range(view.columns.n_passages):
                p = view.columns.passage(row)
                assert p.text == docs[int(p.document)][0][p.start : p.end]
