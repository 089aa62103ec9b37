"""The cross-encoder stage: a permutation of the hits by a model's logits, whatever the batches, truncated where it should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import ragkit
from ragkit import Query, Run
from ragkit.errors import InputError, OfflineError, ScaleError
from ragkit.generation.usage import FREE
from ragkit.protocols import Reranker
from ragkit.rerankers.cross_encoder import LEG, MATCHING, CrossEncoder, _loaded
from ragkit.rerankers.passages import passage_text
from ragkit.run import TextTable
from ragkit.types import Passage
from tests.rerankers.tiny_models import READS, save_cross_encoder, save_encoder

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_cross_encoder(tmp_path_factory.mktemp("cross-encoder"), WORDS))


def texts(n: int, seed: int = 0, longest: int = 25) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, longest + 1))) for _ in range(n)]


def run_of(sizes: list[int], seed: int = 0, queries: list[Query] | None = None) -> Run:
    """Queries with so many hits of one table each, in the law of order."""
    random = np.random.default_rng(seed)
    table = TextTable(tuple(map(str, range(40))), tuple(texts(40, seed)))
    asked = tuple(queries or [Query(str(q), text) for q, text in enumerate(texts(len(sizes), seed + 1, 4))])
    rows = [random.permutation(40)[:n] for n in sizes]
    indptr = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    scores = np.concatenate([-np.arange(n, dtype=np.float32) for n in sizes] or [np.zeros(0, np.float32)])
    return Run(asked, indptr, np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64), scores, "bm25", 0.0, {"bm25": scores}, table)


def alone(folder: str, query: str, text: str) -> float:
    """The logit by transformers itself, one pair at a time."""
    tokens = AutoTokenizer.from_pretrained(folder)(query, text, truncation="only_second", max_length=READS, return_tensors="pt")
    with torch.inference_mode():
        return float(AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits[0, 0])


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 12), max_size=4), depth=st.integers(1, 14), batch=st.integers(1, 9), seed=st.integers(0, 5))
def test_each_query_keeps_its_hits_and_the_law_of_order(model: str, sizes: list[int], depth: int, batch: int, seed: int) -> None:
    run = run_of(sizes, seed)
    out = CrossEncoder(model, depth=depth, batch_size=batch)(run)
    assert out.indptr.tolist() == run.indptr.tolist()
    assert out.queries == run.queries
    for q in range(len(run)):
        at = run.hits_of(q)
        before, after, scores, logits = run.rows[at], out.rows[at], out.scores[at], out.legs[LEG][at]
        assert sorted(after[:depth]) == sorted(before[:depth])
        assert after[depth:].tolist() == before[depth:].tolist()
        assert np.lexsort((after, -scores)).tolist() == list(range(len(after)))
        assert (np.diff(logits[:depth]) <= 0).all()
        assert np.isnan(logits[depth:]).all()
        assert [dict(zip(before, run.legs["bm25"][at], strict=True))[r] for r in after] == out.legs["bm25"][at].tolist()
    assert out.scale == ("rank" if any(n > depth for n in sizes) else "logit")
    assert out.floor is None


def test_scores_are_the_models_own_raw_logits(model: str) -> None:
    run = run_of([8, 5])
    out = CrossEncoder(model)(run)
    assert out.scale == "logit"
    for q in range(2):
        at = out.hits_of(q)
        wanted = [alone(model, out.queries[q].text, text) for text in out.texts()[at]]
        assert out.scores[at] == pytest.approx(wanted, abs=1e-4)
    assert out.scores.max() > 1 or out.scores.min() < 0  # no sigmoid


def test_batches_and_padding_change_no_score(model: str) -> None:
    run = run_of([30, 17, 40])
    found = [CrossEncoder(model, batch_size=n)(run) for n in (1, 3, 32, 200)]
    by_row = [np.concatenate([out.scores[out.hits_of(q)][np.argsort(out.rows[out.hits_of(q)])] for q in range(3)]) for out in found]
    for other in by_row[1:]:
        assert other == pytest.approx(by_row[0], abs=1e-4)
    assert np.std(by_row[0]) > 0.01  # or the test would hold for a model that scores nothing


def test_mixed_precision_stays_near(model: str) -> None:
    run = run_of([40])
    exact, mixed = (CrossEncoder(model, precision=p)(run) for p in ("float32", "bfloat16"))
    a, b = (out.scores[np.argsort(out.rows)] for out in (exact, mixed))
    assert b == pytest.approx(a, abs=0.2)
    assert len(np.unique(b)) == 40  # heads of bfloat16 would tie


def test_only_the_passage_is_truncated(model: str) -> None:
    long = " ".join(WORDS[:50])
    cut = " ".join([*WORDS[:20]])  # 3 special tokens, 9 of the query: 20 are left
    run = Run.from_texts(" ".join(WORDS[-9:]), [long, cut, "w1"])
    out = CrossEncoder(model)(run)
    score = dict(zip(out.rows.tolist(), out.scores.tolist(), strict=True))
    assert score[0] == pytest.approx(score[1], abs=1e-4)
    assert dict(out.report[-1].counts) == {"pairs": 3, "truncated": 1}
    other = CrossEncoder(model)(Run.from_texts(" ".join([*WORDS[-9:-1], "w2"]), [long]))  # the last word of the query is read
    assert abs(float(other.scores[0]) - score[0]) > 1e-3


def test_max_length_shortens_what_is_read(model: str) -> None:
    run = Run.from_texts("w1 w2", [" ".join(WORDS[:12]), " ".join(WORDS[:11])])
    out = CrossEncoder(model, max_length=16)(run)  # 3 special tokens, 2 of the query, 11 left
    assert out.scores[0] == pytest.approx(out.scores[1], abs=1e-4)
    assert out.report[-1].counts["truncated"] == 1
    with pytest.raises(InputError, match=f"reads at most {READS} tokens"):
        CrossEncoder(model, max_length=READS + 1)(run)
    with pytest.raises(InputError, match="no passage fits"):
        CrossEncoder(model, max_length=8)(run)


def test_a_query_that_fills_the_model_leaves_a_quarter_to_the_passage(model: str) -> None:
    asked, cut = " ".join(WORDS[:40]), " ".join(WORDS[:24])
    a, b = (CrossEncoder(model)(Run.from_texts(q, ["w50 w51", "w52"])) for q in (asked, cut))
    assert a.scores == pytest.approx(b.scores, abs=1e-5)
    assert abs(a.scores[0] - a.scores[1]) > 1e-4


def test_the_instruction_follows_the_query(model: str) -> None:
    told = run_of([10], queries=[Query("q", "w1 w2", instruction="w3 w4")])
    joined = run_of([10], queries=[Query("q", "w1 w2 w3 w4")])
    plain = run_of([10], queries=[Query("q", "w1 w2")])
    by = CrossEncoder(model)
    assert by(told).scores.tolist() == by(joined).scores.tolist()
    assert by(told).scores.tolist() != by(plain).scores.tolist()


def test_title_and_text_are_read() -> None:
    def passage(text: str, title: str) -> Passage:
        return Passage(text, "d", 0, len(text), title=title)

    assert passage_text(passage("body", "Title")) == "Title body"
    assert passage_text(passage("Title and more", "Title")) == "Title and more"
    assert passage_text(passage("body", "")) == "body"


def test_equal_logits(model: str) -> None:
    table = TextTable(("a", "b", "c", "d"), ("w1 w2", "w1 w2", "w1 w2", "w9"))
    rows = np.array([2, 0, 1, 3])
    run = Run((Query("q", "w5"),), np.array([0, 4]), rows, -np.arange(4, dtype=np.float32), "rank", None, {}, table)
    whole, part = (CrossEncoder(model, depth=d)(run) for d in (4, 3))
    twins = [r for r in whole.rows.tolist() if r != 3]
    assert whole.scale == "logit"
    assert twins == [0, 1, 2]  # by row, as in every run
    assert part.scale == "rank"
    assert part.rows.tolist() == [2, 0, 1, 3]  # as they were


def test_nothing_in_nothing_out(model: str) -> None:
    for run in (Run.of([]), Run.of(["no hits"]), run_of([0, 0])):
        out = CrossEncoder(model)(run)
        assert len(out.rows) == 0
        assert dict(out.report[-1].counts) == {"pairs": 0, "truncated": 0}
        assert out.report[-1].usage == FREE


def test_it_reports_itself_once(model: str) -> None:
    by = CrossEncoder(model, depth=5)
    out = by(run_of([9, 3]))
    (report,) = out.report
    assert (report.stage, report.queries, report.hits, report.counts["pairs"]) == (repr(by), 2, 12, 8)
    assert report.seconds > 0


def test_it_reports_what_the_model_read(model: str) -> None:
    table = TextTable(("a", "b", "c", "d"), ("w1", "w1 w2", " ".join(WORDS[:50]), "w1"))
    run = Run((Query("q", "w5 w6"),), np.array([0, 4]), np.arange(4), -np.arange(4, dtype=np.float32), "rank", None, {}, table)
    report = CrossEncoder(model, batch_size=2)(run).report[-1]
    usage = report.usage
    # equal texts are one pair; 3 special tokens and 2 of the query with each, 1, 2 and 27 of the passages: the long one is truncated
    assert (usage.calls, usage.passes, usage.prompt_tokens) == (3, 2, 3 * (3 + 2) + 1 + 2 + (READS - 5))
    assert (usage.cached_tokens, usage.generated_tokens, usage.cost) == (0, 0, 0)
    assert 0 < usage.seconds <= report.seconds
    assert report.per_query()["calls"] == 3


def test_it_is_a_reranker(model: str) -> None:
    by, run = CrossEncoder(model), run_of([6, 2])
    assert isinstance(by, Reranker)
    assert by.rerank(run).rows.tolist() == by(run).rows.tolist() != run.rows.tolist()


def test_logits_fuse_but_do_not_add(model: str) -> None:
    run = run_of([6])
    with pytest.raises(ScaleError, match="don't add"):
        (CrossEncoder(model) + CrossEncoder(model))(run)


def test_a_model_that_gives_nan_is_named_with_the_passage(model: str, tmp_path: Path) -> None:
    broken = save_cross_encoder(tmp_path / "broken", WORDS)
    weights = load_file(broken / "model.safetensors")
    word = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[word][4 + 17] = float("nan")  # of w17
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    table = TextTable(("fine", "bad"), ("w1 w2", "w17"))
    run = Run((Query("q", "w3"),), np.array([0, 2]), np.arange(2), np.array([1, 0], np.float32), "bm25", 0.0, {}, table)
    with pytest.raises(InputError, match=r"broken' gives nan for the passage of 'bad' from 0 to 3 and the query 'q'"):
        CrossEncoder(str(broken))(run)


def test_models_that_are_no_cross_encoders(tmp_path: Path) -> None:
    run = Run.from_texts("w1", ["w2"])
    with pytest.raises(InputError, match="no head that scores pairs"):
        CrossEncoder(str(save_encoder(tmp_path / "encoder", WORDS)))(run)
    with pytest.raises(InputError, match="has 3 outputs"):
        CrossEncoder(str(save_cross_encoder(tmp_path / "three", WORDS, outputs=3)))(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no cross-encoder"):
        CrossEncoder(str(tmp_path / "empty"))(run)
    with ragkit.offline(), pytest.raises(OfflineError, match="ragkit fetch"):
        CrossEncoder("nobody/has-this-model")(run)


def test_weights_that_were_cut_off_are_told(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "cut", WORDS)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for kept in (len(whole) // 2, 0):
        file.write_bytes(whole[:kept])
        with pytest.raises(InputError, match="cut holds no cross-encoder that can be loaded"):
            CrossEncoder(str(folder))(Run.from_texts("w1", ["w2"]))
    file.write_bytes(whole)
    assert len(CrossEncoder(str(folder))(Run.from_texts("w1", ["w2"])).rows) == 1
    (folder / MATCHING).mkdir()
    (folder / MATCHING / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cut holds no cross-encoder that can be loaded"):
        CrossEncoder(str(folder))(Run.from_texts("w1", ["w2"]))


def test_a_model_written_anew_into_its_folder_is_loaded_anew(tmp_path: Path) -> None:
    folder, run = tmp_path / "model", run_of([8])
    found = []
    for seed in (1, 2):
        save_cross_encoder(folder, WORDS, seed=seed)
        out = CrossEncoder(str(folder))(run)
        assert out.scores == pytest.approx([alone(str(folder), out.queries[0].text, text) for text in out.texts()], abs=1e-4)
        found.append(out.scores.tolist())
    assert found[0] != found[1]
    assert [key for key in _loaded if key[0] == folder.resolve()] == [(folder.resolve(), "auto", "float32")]  # the old one is gone
    (again,) = (made for (where, *_), made in _loaded.items() if where == folder.resolve())
    CrossEncoder(str(folder))(run)
    assert _loaded[(folder.resolve(), "auto", "float32")] is again  # and the new one stays


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"batch_size": 0}, {"max_length": 0}, {"precision": "int4"}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CrossEncoder("m", **wrong)  # type: ignore[arg-type]


def test_a_run_without_passages(model: str) -> None:
    with pytest.raises(InputError, match=r"\.on\(collection\)"):
        CrossEncoder(model)(replace(run_of([3]), source=None))


def test_it_prints_compares_and_hashes() -> None:
    a, b = CrossEncoder("m", depth=5), CrossEncoder("m", depth=5)
    assert a == b
    assert hash(a) == hash(b)
    assert eval(repr(a)) == a
