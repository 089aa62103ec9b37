"""Files of queries in both formats; every refusal names file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ragkit.errors import InputError, LoadError
from ragkit.evaluation import read_queries


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("q.jsonl", '{"_id": "1", "text": "what?"}\n\n{"_id": 2, "text": "wo,\\tübrigens?", "more": []}\n'),
        ("q.tsv", "1\twhat?\r\n2\two,\tübrigens?\r\n"),
        ("q.txt", "\ufeffqid\tquery\n1\twhat?\n2\two,\tübrigens?"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_both_formats(tmp_path: Path, name: str, data: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(data.encode()) if packed else data.encode())
    assert read_queries(path) == {"1": "what?", "2": "wo,\tübrigens?"}
    assert list(read_queries(str(path))) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "data", "line", "words"),
    [
        ("q.jsonl", b'{"_id": "1", "text": "a"}\n{"_id": "2"}\n', 2, "'_id' and 'text'"),
        ("q.jsonl", b'{"_id": "1", "text": "a"\n', 1, "not valid JSON"),
        ("q.jsonl", b"[1]\n", 1, "'_id' and 'text'"),
        ("q.jsonl", b'{"_id": "1", "text": "a"}\n{"_id": 1, "text": "b"}\n', 2, "'1' a second time"),
        ("q.tsv", b"1\ta\n2 b\n", 2, "tab-separated"),
        ("q.tsv", b"\ta\n", 1, "tab-separated"),
        ("q.tsv", b"1\ta\n1\ta\n", 2, "'1' a second time"),
        ("q.tsv", b"1\ta\n2\t\xff\n", 2, "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, data: bytes, line: int, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_queries(path)
    assert str(caught.value).startswith(f"{path}, line {line}, ")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"nowhere\.tsv can't be read"):
        read_queries(tmp_path / "nowhere.tsv")
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(b"1\ta\n" * 99)[:-9])
    with pytest.raises(LoadError, match=r"cut\.tsv\.gz"):
        read_queries(tmp_path / "cut.tsv.gz")
