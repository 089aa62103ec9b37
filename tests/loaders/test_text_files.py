"""Files whose text is the document: decoding, and every way in which a file is refused."""

from __future__ import annotations

import codecs
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError, LoadError
from ragkit.loaders import LoadOptions, SourceFile, load_file, loader_for, suffixes, walk
from ragkit.registry import BUILT_IN
from tests.loaders.makers import load, outcome, source, write

# what a text file may hold: anything but NUL and half surrogates
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\r\n\t #=-`"), max_size=200)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.sampled_from(["a.txt", "a.md", "a.rst", "a.py"]))
def test_the_text_is_the_decoded_file(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    document = outcome(source(path))
    if isinstance(document, str):
        control = sum(c < " " and c not in "\b\t\n\v\f\r\x1b" for c in text)
        if "is binary" in document:
            assert control / len(text.encode()) > 0.05
        else:
            assert "is empty" in document
            assert not text.strip("\ufeff \t\r\n\f\v") or text.isspace() or (name == "a.md" and "---" in text)
        return
    with path.open(newline="", encoding="utf-8") as f:
        assert document.text == f.read() == text
    for heading in document.headings:
        line = text[heading.start :].lstrip("\ufeff")
        before = text[: heading.start]
        assert not before or before[-1] in "\r\n"
        assert line.strip()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_decides(tmp_path: Path, encoding: str) -> None:
    marks = {
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-le": codecs.BOM_UTF32_LE,
        "utf-32-be": codecs.BOM_UTF32_BE,
    }
    text = "Grüße\r\n日本 \U0001f600\n"
    data = marks.get(encoding, b"") + text.encode(encoding)
    [document], _ = load(tmp_path, "a.txt", data, LoadOptions(encoding="latin-1"))
    assert document.text == ("\ufeff" + text if encoding == "utf-8-sig" else text)


def test_an_encoding_that_is_asked_for_is_used(tmp_path: Path) -> None:
    [document], _ = load(tmp_path, "a.txt", "Stra\u00dfe \u20ac".encode("cp1252"), LoadOptions(encoding="cp1252"))
    assert document.text == "Stra\u00dfe \u20ac"


def test_id_source_and_title(tmp_path: Path) -> None:
    file = write(tmp_path, "sub/My notes.txt", "x")
    [document] = load_file(file)
    assert (document.id, document.source, document.title) == ("sub/My notes.txt", "sub/My notes.txt", "My notes")
    [code], _ = load(tmp_path, "main.py", "print()\n")
    assert (code.id, code.title, code.headings) == ("main.py", "main.py", ())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\t\r\n", "is empty"),
        ("a.txt", b"\xef\xbb\xbf\n", "is empty"),
        ("a.md", b"---\ntitle: x\n---\n\n", "is empty but for its front matter"),
        ("a.txt", b"text\0more", r"is binary \(a NUL byte at offset 4\)"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is binary"),
        ("a.txt", b"\x01\x02\x03 some text", "is binary"),
        ("a.txt", "a\0b".encode("utf-16"), "is binary"),
        ("a.txt", b"caf\xe9 au lait", r"not valid utf-8 \(byte 0xE9 at offset 3\); convert it to UTF-8, or pass encoding="),
        ("a.md", b"# caf\xc3", r"byte 0xC3 at offset 5"),
        ("a.txt", codecs.BOM_UTF16_LE + b"x", "not valid utf-16"),
        ("photo.jpeg", b"x", r"no loader reads '\.jpeg' files"),
        ("program", b"\x7fELF\0\0", "is binary"),
        ("README", b"\xff\xfe\xff", "not valid"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        load(tmp_path, name, content)
    assert str(caught.value).startswith(f"{name}: ")


def test_a_folder_a_pipe_and_a_missing_file_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "dangling.txt").symlink_to("absent")
    for name, reason in (("x.txt", "not a regular file"), ("pipe.txt", "not a regular file"), ("dangling.txt", "can't be read")):
        with pytest.raises(LoadError, match=f"^{name}: .*{reason}"):
            load_file(SourceFile(tmp_path / name, name, 1, 0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, "a.txt", "x")
    file.path.chmod(0)
    with pytest.raises(LoadError, match=r"a\.txt: the file can't be read \(Permission denied\)"):
        load_file(file)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.html", "a.pdf", "a.docx", "a.c"])
def test_a_file_beyond_max_bytes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match=r"larger than 1,000 bytes; split it, or raise max_bytes"):
        load(tmp_path, name, b"x" * 1001, LoadOptions(max_bytes=1000))
    if name in ("a.txt", "a.md", "a.c"):
        [document], _ = load(tmp_path, name, b"x" * 1000, LoadOptions(max_bytes=1000))
        assert len(document.text) == 1000


@pytest.mark.slow
def test_a_huge_line_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    block = b"x" * 10_000_000
    with path.open("wb") as f:
        for _ in range(20):
            f.write(block)
    limit = 50_000_000
    tracemalloc.start()
    with pytest.raises(LoadError, match="larger than 50,000,000 bytes"):
        load_file(walk(path)[0], LoadOptions(max_bytes=limit))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * limit
    with pytest.raises(LoadError, match="larger than 100,000,000 bytes"):
        load_file(walk(path)[0])


def test_names_without_a_suffix(tmp_path: Path) -> None:
    assert loader_for(Path("LICENSE")) == "text"
    assert loader_for(Path("Dockerfile")) == "code"
    [document], _ = load(tmp_path, "whatever", "plain text\n")
    assert (document.text, document.title) == ("plain text\n", "whatever")


def test_every_suffix_has_a_registered_loader() -> None:
    table = suffixes()
    assert set(table.values()) == set(BUILT_IN["loaders"])
    assert all(s.startswith(".") and s == s.lower() for s in table)


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="max_bytes must be at least 1, got 0"):
        LoadOptions(max_bytes=0)
    for name in ("klingon", "base64", "rot13"):
        with pytest.raises(InputError, match="encoding must name a text encoding"):
            LoadOptions(encoding=name)
    assert LoadOptions() == LoadOptions(max_bytes=100_000_000)


def test_a_codec_that_makes_half_surrogates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="half of a surrogate pair at character 1"):
        load(tmp_path, "a.txt", rb"x\ud800", LoadOptions(encoding="unicode_escape"))


def test_a_plug_in_adds_suffixes_and_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real entry point: a distribution's metadata in a folder on the path."""
    site = tmp_path / "site"
    info = site / "shouting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragkit.loaders]\nshout = shouting_loader:load\n")
    (site / "shouting_loader.py").write_text(
        "from ragkit.types import Document\n"
        "def load(path, options, report):\n"
        "    yield Document(text=path.read_text().upper())\n"
        "load.suffixes = ('.shout', '.txt')\n"
    )
    monkeypatch.syspath_prepend(str(site))
    [document], _ = load(tmp_path, "a.shout", "hello")
    assert (document.text, document.id) == ("HELLO", "a.shout")
    [document], _ = load(tmp_path, "a.txt", "hello")
    assert document.text == "hello"
    monkeypatch.setenv("RAGKIT_PLUGINS", "0")
    with pytest.raises(LoadError, match="no loader reads"):
        load(tmp_path, "b.shout", "hello")
