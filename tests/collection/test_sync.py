"""Keeping a collection in step with files, and what bad files do to it: they are reported, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ragkit
from ragkit import Collection
from ragkit.errors import InputError, LoadError
from ragkit.loaders import LoadOptions


def tree(root: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_md", ".md").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def age(root: Path) -> None:
    """Make every file old enough for its modification time to be trusted."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def made(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "c")


def test_sync_reads_only_what_changed(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", a_md="# Apples\n\nApples are red.", sub__b_txt="Bananas are yellow.", c_txt="Cherries are small.")
    age(docs)
    first = made.sync(docs)
    assert (first.added, first.skipped) == (["a.md", "c.txt", "sub/b.txt"], [])
    assert made.get("sub/b.txt").text == "Bananas are yellow."
    generation = made.version.manifest.generation
    assert made.sync(docs).unchanged == ["a.md", "c.txt", "sub/b.txt"]
    assert made.version.manifest.generation == generation  # nothing changed: no new version

    (docs / "a.md").write_text("# Apples\n\nApples are green.")
    (docs / "c.txt").unlink()
    tree(docs, d_txt="Dates are brown.")
    os.utime(docs / "sub" / "b.txt", (1_700_000_000, 1_700_000_000))  # touched, same content
    report = made.sync(docs)
    assert (report.added, report.changed, report.removed, report.unchanged) == (["d.txt"], ["a.md"], ["c.txt"], ["sub/b.txt"])
    assert str(report) == "1 added, 1 changed, 1 removed, 1 unchanged, 0 skipped"
    assert report.to_dict()["unchanged"] == 1
    assert sorted(d.id for d in made) == ["a.md", "d.txt", "sub/b.txt"]
    assert made.search("green apples")[0].text.endswith("Apples are green.")
    assert len(made.search("red cherries")) == 0


def test_a_change_within_the_clock_tick_is_seen(made: Collection, tmp_path: Path) -> None:
    """Same size, same modification time as when it was read just now: only the content tells."""
    docs = tree(tmp_path / "docs", a_txt="old words")
    made.sync(docs)
    stat = (docs / "a.txt").stat()
    (docs / "a.txt").write_text("new words")
    os.utime(docs / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert made.sync(docs).changed == ["a.txt"]
    assert made.get("a.txt").text == "new words"


def test_sync_equals_a_fresh_index(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", **{f"f{i}_txt": f"file {i} about topic{i % 3}" for i in range(12)})
    made.sync(docs)
    for i in (1, 4, 7):
        (docs / f"f{i}.txt").write_text(f"file {i} was rewritten for topic2")
    (docs / "f2.txt").unlink()
    made.sync(docs)
    fresh = Collection.create(tmp_path / "fresh")
    fresh.sync(docs)
    assert {d.id: d.text for d in made} == {d.id: d.text for d in fresh}
    for query in ("topic2", "rewritten", "file"):
        mine = {h.id: round(h.score, 4) for h in made.search(query, k=20)}
        assert mine == {h.id: round(h.score, 4) for h in fresh.search(query, k=20)}


def test_a_file_that_breaks_keeps_what_was_indexed(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", good_txt="Stays readable.", bad_txt="Was readable once.")
    made.sync(docs)
    (docs / "bad.txt").write_bytes(b"\x00\x01\x02 binary now \x00")
    report = made.sync(docs)
    assert report.changed == report.removed == []
    assert [s.path for s in report.skipped] == ["bad.txt"]
    assert report.skipped[0].reason.endswith("; what was indexed of it before is kept")
    assert made.search("readable once")[0].id == "bad.txt"


def test_a_folder_that_can_no_longer_be_read_keeps_what_was_indexed(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", sub__a_txt="Inside the folder.", b_txt="Outside.")
    made.sync(docs)
    (docs / "sub").rename(tmp_path / "elsewhere")
    (docs / "sub").symlink_to(tmp_path / "elsewhere")
    report = made.sync(docs)
    assert [s.path for s in report.skipped] == ["sub"]
    assert report.removed == []
    assert "sub/a.txt" in made
    (docs / "sub").unlink()
    assert made.sync(docs).removed == ["sub/a.txt"]  # and a folder that is really gone goes


def test_bad_files_are_reported_and_never_fatal(made: Collection, tmp_path: Path) -> None:
    docs = tree(
        tmp_path / "docs",
        good_txt="Good text.",
        empty_txt="",
        binary_txt=b"\x7fELF\x00\x00\x01\x02",
        latin_txt="Gr\u00f6\u00dfe".encode("latin-1"),
    )
    (docs / "thing.xyz").write_text("an unknown kind")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (docs / "broken.docx").write_bytes(b"not a zip")
    (docs / "broken.parquet").write_bytes(b"PAR1")
    (docs / "rows.jsonl").write_text(
        '{"id": "1", "text": "first row"}\nnot json\n{"id": "1", "text": "same id"}\n{"id": "2", "text": "second row"}\n'
    )
    (docs / "loop").symlink_to(docs)
    (docs / "out.txt").symlink_to("/etc/hostname")
    report = made.sync(docs)
    reasons: dict[str, list[str]] = {}
    for s in report.skipped:
        reasons.setdefault(s.path, []).append(s.reason)
    assert sorted(d.id for d in made) == ["good.txt", "rows.jsonl#1", "rows.jsonl#2"]
    assert set(reasons) == {
        "empty.txt", "binary.txt", "latin.txt", "thing.xyz", "broken.pdf", "broken.docx", "broken.parquet", "rows.jsonl", "loop", "out.txt",
    }  # fmt: skip
    assert len(reasons["rows.jsonl"]) == 2
    assert "line 2" in reasons["rows.jsonl"][0]
    assert "symbolic link" in reasons["out.txt"][0]
    assert not any(reason.startswith(path) for path, of_one in reasons.items() for reason in of_one)
    assert "UTF-8" in reasons["latin.txt"][0]
    assert all("\n" not in r for of_one in reasons.values() for r in of_one)


def test_metadata_that_clashes_costs_the_field_and_not_the_document(made: Collection, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.jsonl").write_text('{"text": "one", "year": 2020, "lang": "en"}\n{"text": "two", "year": "soon", "lang": "de"}\n')
    report = made.sync(docs)
    assert made.get("a.jsonl#2").meta == {"lang": "de"}
    assert "field 'year' is int, but document 'a.jsonl#2' has 'soon'" in report.skipped[0].reason
    assert report.skipped[0].reason.endswith("; the field was left out")
    (docs / "b.csv").write_text("text,year\nthree,2021\nfour,later\nfive,never\n")  # all of the column is text, for one word
    report = made.sync(docs)
    assert sorted(d.text for d in made) == ["five", "four", "one", "three", "two"]
    assert next(s.reason for s in report.skipped if s.path == "b.csv").endswith("(and of 2 more documents)")


def test_a_key_that_can_be_no_field_costs_the_field_too(made: Collection, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    deep = '{"d":' * 40 + "1" + "}" * 40
    lines = ('{"text": "one", "": 1, "n": 1}', '{"text": "two", "a.b": 1, "a": {"b": 2}}', f'{{"text": "three", "d": {deep}}}')
    (docs / "a.jsonl").write_text("\n".join(lines))
    report = made.sync(docs)
    assert sorted(d.text for d in made) == ["one", "three", "two"]
    assert made.get("a.jsonl#1").meta == {"n": 1}
    assert made.get("a.jsonl#2").meta == {"a.b": 1}
    assert all(s.reason.endswith("; the field was left out") for s in report.skipped)
    assert len(report.skipped) == 3


def test_a_changed_file_whose_metadata_clashes_keeps_its_documents(made: Collection, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.csv").write_text("id,text,n\n1,hello,5\n2,other,6\n")
    made.sync(docs)
    (docs / "a.csv").write_text("id,text,n\n1,hello,5\n2,other words,many\n")
    assert made.sync(docs).changed == ["a.csv"]
    assert sorted((d.id, d.text) for d in made) == [("a.csv#1", "hello"), ("a.csv#2", "other words")]


def test_what_was_left_out_is_reported_until_the_file_changes(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", good_txt="Good.", bad_txt=b"\x00\x01\x02")
    (docs / "rows.jsonl").write_text('{"text": "first"}\nnot json\n')
    age(docs)
    first = made.sync(docs)
    generation = made.version.manifest.generation
    for _ in range(2):
        again = made.sync(docs)
        assert sorted(map(str, again.skipped)) == sorted(map(str, first.skipped))
        assert (again.added, again.changed, again.unchanged) == ([], [], ["good.txt", "rows.jsonl"])
        assert made.version.manifest.generation == generation
    (docs / "bad.txt").write_text("Now it is text.")
    assert made.sync(docs).added == ["bad.txt"]
    small = Collection.create(tmp_path / "d").sync(docs, options=LoadOptions(max_bytes=5))
    assert "larger than" in {s.path: s.reason for s in small.skipped}["bad.txt"]


def test_a_rejected_file_is_read_again_under_other_options(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", latin_txt="Gr\u00f6\u00dfe".encode("latin-1"), b_txt="b")
    age(docs)
    assert [s.path for s in made.sync(docs).skipped] == ["latin.txt"]
    assert made.sync(docs, options=LoadOptions(encoding="latin-1")).added == ["latin.txt"]
    assert made.get("latin.txt").text == "Größe"


def test_another_folder_does_not_replace_the_first_unasked(made: Collection, tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", a_txt="In one."), tree(tmp_path / "two", b_txt="In two.")
    made.sync(one)
    with pytest.raises(InputError, match=r"holds the files of .*one; name it too to keep them"):
        made.sync(two)
    with pytest.raises(InputError, match="holds the files of"):
        made.sync(one / "a.txt")
    assert [d.id for d in made] == ["a.txt"]
    made.sync([one, two])
    assert sorted(d.id for d in made) == ["one/a.txt", "two/b.txt"]
    made.sync(two, replace=True)
    assert [d.id for d in made] == ["b.txt"]


def test_a_folder_that_lost_all_its_files_keeps_what_was_indexed(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", a_txt="Perhaps only unmounted.")
    made.sync(docs)
    (docs / "a.txt").unlink()
    with pytest.raises(InputError, match="holds no files any more, and 1 were indexed from it"):
        made.sync(docs)
    assert len(made) == 1
    assert made.sync(docs, replace=True).removed == ["a.txt"]


def test_an_empty_folder_and_a_missing_one(made: Collection, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    assert str(made.sync(tmp_path / "docs")) == "0 added, 0 changed, 0 removed, 0 unchanged, 0 skipped"
    made.sync(tree(tmp_path / "docs", a_txt="text"))
    with pytest.raises(LoadError, match="no such file or folder"):
        made.sync(tmp_path / "nowhere")
    assert len(made) == 1  # nothing is taken for removed


def test_several_folders(made: Collection, tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", a_txt="In one."), tree(tmp_path / "two", a_txt="In two.")
    (tmp_path / "three.txt").write_text("Three itself.")
    roots = [one, two, tmp_path / "three.txt"]
    made.sync(roots)
    assert sorted(d.id for d in made) == ["one/a.txt", "three.txt", "two/a.txt"]
    assert len(made.sync(roots).unchanged) == 3
    other = tree(tmp_path / "x" / "one", a_txt="again")
    with pytest.raises(InputError, match="need different names"):
        made.sync([*roots, other])


def test_a_record_file_given_by_itself_keeps_its_ids(made: Collection, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"_id": "x1", "title": "T", "contents": "first", "lang": "en"}\n')
    made.sync(tmp_path / "rows.jsonl")
    assert made.get("x1").meta == {"lang": "en"}


def test_a_beir_folder(made: Collection, tmp_path: Path) -> None:
    beir = tmp_path / "set"
    beir.mkdir()
    (beir / "corpus.jsonl").write_text('{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "title": "", "text": "second"}\n')
    (beir / "queries.jsonl").write_text('{"_id": "q1", "text": "first?"}\n')
    assert made.sync(beir).added == ["corpus.jsonl"]
    assert sorted(d.id for d in made) == ["d1", "d2"]
    assert made.sync(beir).unchanged == ["corpus.jsonl"]
    (beir / "corpus.jsonl").write_text('{"_id": "d2", "title": "", "text": "second again"}\n')
    assert made.sync(beir).changed == ["corpus.jsonl"]
    assert [(d.id, d.text) for d in made] == [("d2", "second again")]
    (beir / "notes.txt").write_text("Beside the corpus.")
    report = made.sync(beir)
    assert report.added == ["notes.txt"]
    assert [s.path for s in report.skipped] == ["queries.jsonl"]


def test_open_indexes_a_folder_and_keeps_it_in_step(tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", a_txt="The cellar floods in March.")
    first = ragkit.open(docs)
    assert first.ask("When does the cellar flood?").citations[0].document == "a.txt"
    assert Path(os.environ["RAGKIT_HOME"]) in first.folder.parents
    tree(docs, b_txt="The attic is dry.")
    again = ragkit.open(docs)
    assert again.folder == first.folder
    assert again.last_sync is not None
    assert again.last_sync.added == ["b.txt"]
    assert sorted(p.name for p in docs.iterdir()) == ["a.txt", "b.txt"]  # nothing is written into the folder
    elsewhere = ragkit.open(docs, collection=tmp_path / "mine.rag")
    assert elsewhere.folder == tmp_path / "mine.rag"
    assert len(ragkit.open(tmp_path / "mine.rag")) == 2
    with pytest.raises(InputError, match="is a collection itself"):
        ragkit.open(tmp_path / "mine.rag", collection=tmp_path / "x")
    with pytest.raises(InputError, match="does not exist"):
        ragkit.open(tmp_path / "nowhere")


def test_windows_newlines_and_bom_keep_offsets(made: Collection, tmp_path: Path) -> None:
    docs = tree(tmp_path / "docs", a_txt="\ufeffFirst line.\r\nThe second line is here.\r\n")
    made.sync(docs)
    c = made.ask("Where is the second line?").citations[0]
    with open(docs / "a.txt", encoding="utf-8", newline="") as f:
        assert f.read()[c.start : c.end] == c.quote == "The second line is here."
