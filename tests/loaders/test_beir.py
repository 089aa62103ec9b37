"""Folders in the layout of BEIR."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ragkit.errors import InputError, LoadError
from ragkit.loaders import beir_queries, is_beir, load_beir
from ragkit.types import Document


def make(folder: Path, corpus: list[object], *, packed: bool = False) -> Path:
    text = "".join(json.dumps(r) + "\n" for r in corpus)
    if packed:
        (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (folder / "corpus.jsonl").write_text(text)
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "why?"}\n{"_id": 2, "text": "how?", "answer": "so"}\n')
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_a_small_set(tmp_path: Path, packed: bool) -> None:
    corpus: list[object] = [
        {"_id": "d1", "title": "T", "text": "One.", "metadata": {"url": "u", "n": None}},
        {"_id": 2, "text": "", "lang": "en"},
    ]
    assert not is_beir(tmp_path)
    make(tmp_path, corpus, packed=packed)
    assert is_beir(tmp_path)
    assert list(load_beir(tmp_path)) == [
        Document(text="One.", id="d1", title="T", meta={"url": "u"}),
        Document(text="", id="2", meta={"lang": "en"}),
    ]
    assert beir_queries(tmp_path) == {"q1": "why?", "2": "how?"}


def test_a_second_document_of_one_id_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, [{"_id": "d", "text": "1"}, {"_id": "e", "text": "2"}, {"_id": "d", "text": "3"}])
    documents = load_beir(tmp_path)
    assert [next(documents).id, next(documents).id] == ["d", "e"]
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 3: the id 'd' occurs a second time"):
        next(documents)


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x"}', '{"_id": "x"}', '{"_id": "x", "text": 3}', '{"_id": "x", "text": "\\ud800"}'])
def test_lines_that_do_not_fit_are_errors(tmp_path: Path, line: str) -> None:
    make(tmp_path, [{"_id": "d", "text": "1"}])
    with (tmp_path / "corpus.jsonl").open("a") as f:
        f.write(line + "\n")
    with pytest.raises(LoadError, match=r"corpus\.jsonl, line 2: "):
        list(load_beir(tmp_path))


def test_a_folder_without_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no corpus\.jsonl or corpus\.jsonl\.gz in it"):
        list(load_beir(tmp_path))


def test_the_real_sets(data: Path) -> None:
    for name, n_documents, n_queries in (("cranfield", 1400, 225), ("cacm", 3204, 64)):
        documents = list(load_beir(data / name))
        assert len({d.id for d in documents}) == n_documents
        assert len(beir_queries(data / name)) == n_queries
