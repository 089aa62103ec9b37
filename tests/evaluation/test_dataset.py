"""Test sets in BEIR's layout: a small one by hand, and the real ones where they are."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ragkit.errors import InputError, LoadError
from ragkit.evaluation import evaluate, load_dataset
from ragkit.types import Document

DATA = Path(os.environ.get("RAGKIT_DATA", "../shared/data"))

# judged queries and rows of each split
REAL = {
    "scifact": (300, 339),
    "cranfield": (225, 1612),
    "cacm": (52, 796),
    "vaswani": (93, 2083),
    "cosqa": (500, 500),
    "contextual-code": (248, 306),
    "limit-small": (1000, 2000),
    "madial-en": (160, 405),
    "noveleval": (21, 420),
    "xquad/zh": (1190, 1190),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": "d1", "title": "One", "text": "first", "metadata": {"year": 1999}},
        {"_id": "d2", "title": "", "text": "second"},
    ]
    with gzip.open(root / "corpus.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in corpus)
    queries = [{"_id": "q1", "text": "what is first?"}, {"_id": "q2", "text": "never judged"}, {"_id": "q3", "text": "and second?"}]
    (root / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries), encoding="utf-8")
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td2\t1\nq1\td1\t2\n", encoding="utf-8")
    (root / "qrels" / "dev.tsv.gz").write_bytes(gzip.compress(b"query-id\tcorpus-id\tscore\nq1\td2\t1\n"))
    return root


def test_a_set_is_read_and_evaluated(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert (dataset.name, dataset.split, dataset.folder) == ("tiny", "test", folder)
    assert dataset.judged() == {"q3": "and second?", "q1": "what is first?"}
    assert list(dataset.judged()) == ["q3", "q1"]
    assert dataset.queries["q2"] == "never judged"
    assert list(dataset.documents()) == [
        Document(id="d1", title="One", text="first", meta={"year": 1999}),
        Document(id="d2", title="", text="second"),
    ]
    assert list(dataset.documents()) == list(dataset.documents()), "documents() starts again at each call"
    run = {query: {"d1": 1.0, "d2": 0.5} for query in dataset.judged()}
    assert evaluate(dataset.qrels, run, ["RR"]).mean == {"RR": 0.75}
    assert repr(dataset) == "Dataset('tiny', split='test', 2 of 3 queries judged)"


def test_another_split(folder: Path) -> None:
    dataset = load_dataset(str(folder), split="dev")
    assert dataset.qrels == {"q1": {"d2": 1}}
    assert dataset.judged() == {"q1": "what is first?"}


def test_a_missing_split_names_those_that_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'train'.* it has: dev, test$"):
        load_dataset(folder, split="train")
    with pytest.raises(InputError, match="it has: none"):
        load_dataset(tmp_path)


def test_a_judged_query_without_text_is_named(folder: Path) -> None:
    with (folder / "qrels" / "test.tsv").open("a", encoding="utf-8") as stream:
        stream.write("q9\td1\t1\n")
    with pytest.raises(InputError, match="judges query 'q9'"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("name", "declared", "drops"),
    [
        ("tiny", None, False),
        ("tiny", {"drop_self": True}, True),
        ("tiny", {"drop_self": False, "other": 1}, False),
        ("tiny", {}, False),
        ("arguana", None, True),
        ("Quora", None, True),
        ("quora", {}, True),
        ("arguana", {"drop_self": False}, False),
        ("not-arguana", None, False),
    ],
)
def test_a_set_declares_that_its_queries_are_documents(folder: Path, name: str, declared: object, drops: bool) -> None:
    root = folder.rename(folder.with_name(name))
    if declared is not None:
        (root / "dataset.json").write_text(json.dumps(declared))
    assert load_dataset(root).drop_self is drops


@pytest.mark.parametrize(
    ("content", "error"), [("{", LoadError), ("[]", InputError), ('{"drop_self": 1}', InputError), ("\xff", LoadError)]
)
def test_a_declaration_that_does_not_fit_is_refused(folder: Path, content: str, error: type[Exception]) -> None:
    (folder / "dataset.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(error, match=r"dataset\.json"):
        load_dataset(folder)


@pytest.mark.parametrize("name", REAL)
def test_real_sets(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not there")
    dataset = load_dataset(DATA / name)
    assert (len(dataset.qrels), sum(map(len, dataset.qrels.values()))) == REAL[name]
    assert all(dataset.judged().values())
    known = {document.id for document in dataset.documents()}
    assert {d for grades in dataset.qrels.values() for d in grades} <= known
    # the judgements themselves are a perfect run of their own
    perfect = {q: {d: float(g) for d, g in grades.items()} for q, grades in dataset.qrels.items()}
    result = evaluate(dataset.qrels, perfect, ["nDCG@10", "AP", "Judged@10"])
    assert result.mean == pytest.approx(dict.fromkeys(result.mean, 1.0))
