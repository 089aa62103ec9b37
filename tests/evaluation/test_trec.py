"""Files of judgements and runs: both formats read, round trips, and every refusal names file and line."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragkit import Collection, Document, Query, Retrieve, Stage, Tokens
from ragkit.errors import InputError, LoadError, ScaleError
from ragkit.evaluation import evaluate, read_qrels, read_run, write_qrels, write_run
from ragkit.evaluation.order import ranking
from ragkit.run import Run

QRELS = {"q1": {"d1": 2, "d 2": 0}, "q2": {"d1": -1}}
BEIR = b"query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t0\nq2\td1\t-1\n"


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["test.tsv", "test.tsv.gz"])
def test_beir_judgements(tmp_path: Path, name: str) -> None:
    assert read_qrels(put(tmp_path, name, BEIR)) == QRELS
    write_qrels(QRELS, tmp_path / f"again-{name}")
    again = (tmp_path / f"again-{name}").read_bytes()
    assert (gzip.decompress(again) if name.endswith(".gz") else again) == BEIR


@pytest.mark.parametrize("data", [b"q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\n", b"\xef\xbb\xbfq1\t0\td1\t2\r\n\r\nq1 Q0  d2 0\r\nq2 0 d1 -1"])
@pytest.mark.parametrize("name", ["qrels.txt", "qrels.gz"])
def test_trec_judgements(tmp_path: Path, name: str, data: bytes) -> None:
    assert read_qrels(str(put(tmp_path, name, data))) == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"q1 0 d1 1\nq1 0 d2\n", 2, "3 columns"),
        (b"q1 0 d1 1\n\nq1 0 d2 high\n", 3, "'high'"),
        (b"q1 0 d1 1.5\n", 1, "'1.5'"),
        (b"q1 0 d1 1\nq1 0 d1 1\n", 2, "document 'd1' of query 'q1' a second time"),
        (b"q1\td1\t1\n", 1, "BEIR header"),
        (b"query-id\tcorpus-id\tscore\nq1 d1 1\n", 2, "1 tab-separated columns"),
        (b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td1\t2\n", 3, "second time"),
        (b"query-id\tcorpus-id\tscore\nq1\t\t1\n", 2, "empty id"),
        (b"q1 0 d1 1\nq\xff 0 d1 1\n", 2, "not UTF-8"),
    ],
)
def test_a_bad_judgement_names_file_and_line(tmp_path: Path, data: bytes, line: int, words: str) -> None:
    path = put(tmp_path, "bad.qrels", data)
    with pytest.raises(InputError) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(f"{path}, line {line}, ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"q1 Q0 d1 1 2.5\n", 1, "5 columns"),
        (b"q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 nan tag\n", 2, "'nan'"),
        (b"q1 Q0 d1 1 much tag\n", 1, "'much'"),
        (b"q1 Q0 d1 1 2.5 tag\nq2 Q0 d1 1 2.5 tag\nq1 Q0 d1 2 2.0 tag\n", 3, "document 'd1' of query 'q1' a second time"),
    ],
)
def test_a_bad_hit_names_file_and_line(tmp_path: Path, data: bytes, line: int, words: str) -> None:
    path = put(tmp_path, "bad.run.gz", data)
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert str(caught.value).startswith(f"{path}, line {line}, ")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nowhere"):
        read_run(tmp_path / "nowhere")
    whole = gzip.compress(b"".join(b"q1 Q0 d%d 1 2.5 tag\n" % i for i in range(50)))
    for name, data in {"cut.gz": whole[:-9], "plain.gz": b"q1 Q0 d1 1 2.5 tag\n"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LoadError, match=name):
            read_run(tmp_path / name)
    assert read_run(put(tmp_path, "empty", b"")) == {}


def test_a_run_is_written_in_the_order_that_trec_eval_sees(tmp_path: Path) -> None:
    path = tmp_path / "out.run"
    write_run({"q2": {"a": 1.0, "b": 3.0, "c": 1.0}, "q1": {"é": -0.1}}, path, tag="bm25")
    assert path.read_text(encoding="utf-8") == "q2 Q0 b 1 3.0 bm25\nq2 Q0 c 2 1.0 bm25\nq2 Q0 a 3 1.0 bm25\nq1 Q0 é 1 -0.1 bm25\n"


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    run = {"q": {"a": 1.0}}
    write_run(run, tmp_path / "one.gz")
    write_run(run, tmp_path / "two.gz")
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


@pytest.mark.parametrize("bad", ["", "a b", "a\tb", "a\nb", "\ufeffa", "\ud800", 7])
def test_an_id_that_would_not_come_back_is_refused_before_writing(tmp_path: Path, bad: str) -> None:
    for run in ({"q": {"d": 1.0}, bad: {"d": 1.0}}, {"q": {"d": 1.0, bad: 1.0}}):
        with pytest.raises(InputError):
            write_run(run, tmp_path / "run")
    for qrels in ({bad: {"d": 1}}, {"q": {bad: 1}}):
        with pytest.raises(InputError):
            write_qrels(qrels, tmp_path / "qrels")
    with pytest.raises(InputError):
        write_run({"q": {"d": 1.0}}, tmp_path / "run", tag=bad)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="NaN"):
        write_run({"q": {"d": float("nan")}}, tmp_path / "nan")


def ids(separators: str) -> st.SearchStrategy[str]:
    text = st.text(st.characters(exclude_characters=separators, exclude_categories=["Cs"]), min_size=1, max_size=6)
    return text.filter(lambda t: not t.startswith("\ufeff"))


TREC_IDS = ids(" \t\r\n\v\f")


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(TREC_IDS, st.dictionaries(TREC_IDS, st.floats(allow_nan=False), min_size=1)), st.sampled_from(["run", "run.gz"]))
def test_runs_come_back_exactly(tmp_path: Path, run: dict[str, dict[str, float]], name: str) -> None:
    write_run(run, tmp_path / name)
    assert read_run(tmp_path / name) == run


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["qrels.txt", "qrels.gz", "qrels.tsv", "qrels.tsv.gz"]))
def test_judgements_come_back_exactly(tmp_path: Path, data: st.DataObject, name: str) -> None:
    some = ids("\t\r\n") if ".tsv" in name else TREC_IDS
    qrels = data.draw(st.dictionaries(some, st.dictionaries(some, st.integers(-3, 5), min_size=1)))
    write_qrels(qrels, tmp_path / name)
    assert read_qrels(tmp_path / name) == qrels


def test_trec_eval_reads_what_is_written(tmp_path: Path) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run, qrels = {"q1": {"d1": 0.1, "d2": -1e-7}, "q2": {"d1": 3.0}}, {"q1": {"d1": 1, "d2": -1}, "q2": {"d1": 0}}
    write_run(run, tmp_path / "run")
    write_qrels(qrels, tmp_path / "qrels")
    with (tmp_path / "run").open() as stream:
        assert pytrec_eval.parse_run(stream) == run
    with (tmp_path / "qrels").open() as stream:
        assert pytrec_eval.parse_qrel(stream) == qrels


def test_a_run_from_a_file(tmp_path: Path) -> None:
    path = put(tmp_path, "in.run", b"q2 Q0 d1 1 2.5 tag\nq2 Q0 d3 2 2.5 tag\nq1 Q0 d2 1 -1 tag\nq2 Q0 d2 3 3 tag\n")
    run = Run.from_trec(path, {"q1": "one", "q3": "three"}, texts={"d1": "text of d1"})
    assert [(q.id, q.text) for q in run.queries] == [("q1", "one"), ("q3", "three"), ("q2", "")]
    assert run.ids() == ["d2", "d2", "d3", "d1"], "as trec_eval breaks ties"
    assert run.indptr.tolist() == [0, 1, 1, 4]
    assert run.scores.tolist() == [-1.0, 3.0, 2.5, 2.5]
    assert run.texts() == ["", "", "", "text of d1"]
    assert run.to_dict() == {"q1": {"d2": -1.0}, "q3": {}, "q2": {"d2": 3.0, "d3": 2.5, "d1": 2.5}}
    assert run.scale == "rank"
    with pytest.raises(ScaleError):
        (0.5 * _Given(run))(run)
    assert len(Run.from_trec(put(tmp_path, "empty.run", b""))) == 0
    with pytest.raises(InputError, match="line 2, names document 'd1' of query 'q' a second time"):
        Run.from_trec(put(tmp_path, "double.run", b"q Q0 d1 1 2 t\nq Q0 d1 2 1 t\n"))


def test_a_run_of_passages_is_written_by_documents(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", chunker=Tokens(size=8, overlap=0))
    collection.add([Document("A pump and its gasket. " * 9, id="long"), Document("a pump", id="short")])
    run = Retrieve("bm25").on(collection)([Query("q", "pump"), Query("none", "zebra")])
    assert len(run.rows) > 2
    run.to_trec(tmp_path / "out.run.gz", tag="bm25")
    assert read_run(tmp_path / "out.run.gz") == {"q": run.to_dict()["q"]}
    assert gzip.decompress((tmp_path / "out.run.gz").read_bytes()).decode().split()[-1] == "bm25"
    with pytest.raises(InputError, match="tag"):
        run.to_trec(tmp_path / "bad.run", tag="a b")


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(TREC_IDS, st.dictionaries(TREC_IDS, st.sampled_from([0.0, 0.1, 0.1 + 1e-10, -5.0, 1e300, float("inf")]), min_size=1))
)
def test_a_run_read_and_written_again_ranks_as_before(tmp_path: Path, table: dict[str, dict[str, float]]) -> None:
    write_run(table, tmp_path / "one")
    run = Run.from_trec(tmp_path / "one")
    run.to_trec(tmp_path / "two")
    again = read_run(tmp_path / "two")
    for query, hits in table.items():
        assert ranking(query, again[query], "trec") == ranking(query, hits, "trec") == list(run.to_dict()[query])
    if table:
        qrels = {q: {next(iter(hits)): 1} for q, hits in table.items()}
        assert evaluate(qrels, again, ["RR", "AP"]) == evaluate(qrels, table, ["RR", "AP"])
        assert evaluate(qrels, run.to_dict(), "RR", ties="given").mean == evaluate(qrels, table, "RR").mean


@dataclass(frozen=True)
class _Given(Stage):
    run: Run

    def apply(self, run: Run, /) -> Run:
        return self.run
