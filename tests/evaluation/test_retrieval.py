"""`evaluate_dataset`, `evaluate_collection` and ``ragkit eval``: what is indexed, measured, reported and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ragkit import BM25, Collection, Document, Retrieve, Tokens
from ragkit.cli import main
from ragkit.errors import InputError, UnknownNameError
from ragkit.evaluation import evaluate, load_dataset, read_qrels, read_queries, read_run
from ragkit.evaluation.retrieval import evaluate_collection, evaluate_dataset

CORPUS = {"a": "red apple tree", "b": "blue sky and sea", "c": "the sea is red", "d": "an apple a day", "e": "nothing else"}
QUERIES = {"1": "apple", "2": "sky apple apple", "3": "red sea", "4": "day"}


def ragkit(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t in CORPUS.items()))
    (root / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\td\t0\n2\tb\t1\n3\tc\t2\n3\tlost\t1\n")
    return root


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Path:
    made = Collection.create(tmp_path / "c.rag", indexes=[BM25(language="en")], chunker=Tokens(size=8, overlap=0))
    made.add(Document(f"{text}. " * 12, id=id) for id, text in CORPUS.items())
    assert made.version.n_passages > 2 * len(made)
    return made.folder


def test_one_pipeline(folder: Path) -> None:
    found = evaluate_dataset(folder, "bm25", ["RR", "P@1"])
    dataset = load_dataset(folder)
    assert found.evaluation == evaluate(dataset.qrels, found.comparison.rankings["bm25"], ["RR", "P@1"])
    record = json.loads(json.dumps(found.to_dict()))
    assert record["index"]["type"] == "bm25"
    assert {name: record[name] for name in ("dataset", "split", "unit", "chunker", "documents", "queries", "ties", "k", "drop_self")} == {
        "dataset": "tiny",
        "split": "test",
        "unit": "document",
        "chunker": None,
        "documents": 5,
        "queries": {"judged": 3, "answered": 3},
        "ties": "trec",
        "k": 1000,
        "drop_self": False,
    }
    assert record["measures"] == {m: round(v, 5) for m, v in found.evaluation.mean.items()}
    low, high = record["intervals"]["RR"]
    assert low <= record["measures"]["RR"] <= high
    assert set(record["seconds"]) == {"index", "search"}
    assert 0 < record["latency_ms"]["p50"] <= record["latency_ms"]["p99"]
    assert record["missing_documents"] == 1
    lines = str(found).splitlines()
    assert lines[0] == "tiny (test), 5 whole documents, index bm25"
    assert lines[1].startswith(f"RR   {found.evaluation.mean['RR']:.4f}  (95 %: ")
    assert lines[3:5] == ["3 of 3 judged queries answered", "1 document judged relevant is not in the collection: nothing can find it"]
    assert lines[5].startswith("indexed in ")
    several = evaluate_dataset(folder, {"bm25": "bm25", "one": Retrieve("bm25") % 1}, "RR", repeats=0)
    assert repr(several) == str(several)
    cases = several.comparison.losses("one")
    assert {d.text for case in cases for d in case.relevant} == {CORPUS["a"], CORPUS["b"]}, "texts, though the temporary collection is gone"


def test_specs_stages_and_names(folder: Path) -> None:
    high = evaluate_dataset(folder, BM25(k1=2.0, language="en"), "AP")
    assert high.to_dict()["index"]["k1"] == 2.0
    pipelines = {"plain": "bm25", "both": Retrieve("bm25", 5) ^ Retrieve("rank_bm25", 5)}
    several = evaluate_dataset(folder, pipelines, "AP", indexes=[BM25(k1=2.0, language="en")])
    assert set(several.indexes) == {"bm25", "rank_bm25"}, "those that the pipelines need"
    assert several.indexes["bm25"]["k1"] == 2.0
    assert several.comparison.systems["plain"].evaluation == high.evaluation
    record = json.loads(json.dumps(several.to_dict()))
    assert record["baseline"] == "plain"
    assert record["pipelines"]["plain"]["comparison"] is None
    alone = evaluate_dataset(folder, {"both": pipelines["both"]}, "AP", repeats=0)
    assert str(alone).startswith("tiny (test), 5 whole documents, index bm25, rank_bm25, pipeline both\nAP  ")
    assert set(record["pipelines"]["both"]["comparison"]["AP"]) >= {"mean", "interval", "p", "p_holm", "wins", "ties", "losses"}
    assert record["pipelines"]["both"]["pipeline"] == "(Retrieve('bm25', k=5) ^ Retrieve('rank_bm25', k=5))"
    assert record["seconds"]["index"] > 0
    odd = evaluate_dataset(folder, {"a b/c": "bm25", "d": Retrieve("bm25", 1)}, "AP", repeats=0)
    assert [p.name for p in odd.write_runs(folder / "x.run")] == ["x.a_b_c.run", "x.d.run"]
    assert (folder / "x.a_b_c.run").read_text().split()[5] == "a_b_c"
    with pytest.raises(InputError, match="written to one file"):
        evaluate_dataset(folder, {"a b": "bm25", "a_b": "bm25"}, "AP", repeats=0).write_runs(folder / "y.run")
    assert evaluate_dataset(folder, Retrieve("bm25") % 1, "AP").comparison.rankings["Retrieve('bm25', k=1000) % 1"]["3"].keys() == {"c"}
    with pytest.raises(UnknownNameError, match="did you mean 'bm25'"):
        evaluate_dataset(folder, "bm52")
    with pytest.raises(InputError, match="named twice"):
        evaluate_dataset(folder, ["bm25", "bm25"])
    with pytest.raises(InputError, match="no pipeline was given"):
        evaluate_dataset(folder, [])
    with pytest.raises(InputError, match="given as names"):
        evaluate_dataset(folder, [Retrieve("bm25")])  # type: ignore[list-item]
    with pytest.raises(InputError, match="k must be"):
        evaluate_dataset(folder, k=0)


def test_a_set_that_declares_it_loses_its_own_documents(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in CORPUS.items()))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\td\t1\nb\tc\t1\n")
    assert evaluate_dataset(folder, measures="RR").evaluation.mean == {"RR": 0.5}
    assert evaluate_dataset(folder, measures="RR", drop_self=True).evaluation.mean == {"RR": 1.0}
    (folder / "dataset.json").write_text('{"drop_self": true}')
    found = evaluate_dataset(folder, measures="RR")
    assert found.evaluation.mean == {"RR": 1.0}
    assert found.to_dict()["drop_self"] is True
    assert "the document that is the query itself is left out" in str(found).splitlines()
    assert evaluate_dataset(folder, measures="RR", drop_self=False).evaluation.mean == {"RR": 0.5}


def test_an_own_collection_counts_documents_by_their_best_passage(collection: Path) -> None:
    opened = Collection.open(collection)
    found = evaluate_collection(opened, QUERIES, {"1": {"a": 1}, "3": {"c": 1}}, measures=["RR", "R@2"], k=2)
    assert found.evaluation.mean["R@2"] == 1.0
    record = found.to_dict()
    assert (record["dataset"], record["split"], record["unit"]) == ("c.rag", None, "document")
    assert record["chunker"]["type"] == "tokens"
    assert record["seconds"]["index"] is None
    assert record["left_out"] == {"unjudged": 2, "not_given": 0}
    assert "2 of the queries given are left out: they have no relevant document" in str(found).splitlines()
    assert all(len(hits) == 2 for q, hits in found.comparison.rankings["bm25"].items()), "k documents, however many passages they have"
    assert "documents, each by its best passage" in str(found)


def test_command_line_on_a_test_set(folder: Path, tmp_path: Path) -> None:
    done = ragkit("eval", "--beir", folder, "-m", "RR", "--run", tmp_path / "out.run", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["measures"]["RR"] > 0
    assert done.stderr == f"wrote {tmp_path / 'out.run'}\n"
    run = read_run(tmp_path / "out.run")
    assert list(run) == ["1", "2", "3"]
    assert (tmp_path / "out.run").read_text().split()[5] == "bm25"
    assert evaluate(load_dataset(folder).qrels, run, "RR").mean["RR"] == pytest.approx(json.loads(done.stdout)["measures"]["RR"], abs=1e-5)

    done = ragkit(
        "eval", "--beir", folder, "--pipeline", "bm25", "--pipeline", "rank_bm25", "-m", "RR", "--run", tmp_path / "x.run.gz", "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny (test), 5 whole documents, index bm25, rank_bm25"
    assert [line.split()[:2] for line in lines[1:4]] == [["measure", "system"], ["RR", "bm25"], ["RR", "rank_bm25"]]
    assert "after Holm's correction" in lines[4]
    assert sorted(p.name for p in tmp_path.glob("x.*")) == ["x.bm25.run.gz", "x.rank_bm25.run.gz"]
    assert list(read_run(tmp_path / "x.rank_bm25.run.gz")) == ["1", "2", "3"]


def test_command_line_on_a_collection(collection: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tapple\n3\tred sea\n")
    (tmp_path / "judged.txt").write_text("1 0 a 1\n3 0 c 1\n9 0 a 1\n")
    for queries, qrels in ((tmp_path / "q.tsv", tmp_path / "judged.txt"), (folder / "queries.jsonl", folder / "qrels" / "test.tsv")):
        done = ragkit("eval", collection, "--queries", queries, "--qrels", qrels, "-m", "P@1", "-m", "R@5", "--json")
        assert done.exit_code == 0, done.output
        record = json.loads(done.stdout)
        assert record["dataset"] == "c.rag"
        expected = evaluate_collection(Collection.open(collection), read_queries(queries), read_qrels(qrels), measures=["P@1", "R@5"])
        assert record["measures"] == {m: round(v, 5) for m, v in expected.evaluation.mean.items()}
        assert record["measures"]["R@5"] > 0.6
    assert json.loads(ragkit("eval", collection, "--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "judged.txt", "--json").stdout)[
        "queries"
    ] == {"judged": 2, "answered": 2}
    done = ragkit("eval", collection, "--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "judged.txt", "--pipeline", "bm52")
    assert done.exit_code == 1
    assert "did you mean 'bm25'?" in done.stderr
    done = ragkit("eval", collection, "--queries", tmp_path / "gone.tsv", "--qrels", tmp_path / "judged.txt")
    assert done.exit_code == 1
    assert "gone.tsv can't be read" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("{c}",),
        ("{c}", "--queries", "q.tsv"),
        ("--queries", "q.tsv", "--qrels", "q.txt"),
        ("{c}", "--beir", "{f}"),
        ("--beir", "{f}", "--queries", "q.tsv"),
        ("{c}", "--queries", "q.tsv", "--qrels", "q.txt", "--split", "dev"),
        ("--beir", "{f}", "-k", "0"),
    ],
)
def test_wrong_usage_is_exit_code_2(collection: Path, folder: Path, arguments: tuple[str, ...]) -> None:
    done = ragkit("eval", *(a.format(c=collection, f=folder) for a in arguments))
    assert done.exit_code == 2
    assert "Usage:" in done.stderr


def test_drop_self_from_the_command_line(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "a", "text": "apple tree"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\td\t1\n")
    for flag, value in ((), 0.5), (("--drop-self",), 1.0):
        assert json.loads(ragkit("eval", "--beir", folder, "-m", "RR", "--json", *flag).stdout)["measures"]["RR"] == value
