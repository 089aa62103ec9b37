"""Training a cross-encoder: negatives from a run, queries from the passages, better ranking, and the same weights after a kill."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ragkit import Query, Run
from ragkit.errors import Cancelled, InputError, UnknownNameError
from ragkit.evaluation import evaluate
from ragkit.rerankers.cross_encoder import MATCHING, CrossEncoder
from ragkit.rerankers.training import Example, mine, sentence_queries, train_cross_encoder
from ragkit.rerankers.training.cross_encoder import LOSSES, last_checkpoint
from ragkit.run import TextTable
from ragkit.types import Passage
from tests.rerankers.tiny_models import save_cross_encoder, save_encoder

pytestmark = pytest.mark.usefixtures("one_thread")
TOPICS = [f"t{i}" for i in range(8)]
FILLER = [f"f{i}" for i in range(30)]
SETTINGS: dict[str, Any] = {"epochs": 2, "learning_rate": 3e-3, "max_length": 24, "batch_size": 4, "checkpoint_every": 3, "seed": 3}
LONGER: dict[str, Any] = {**SETTINGS, "epochs": 3, "checkpoint_every": 1000}


def examples(n: int, seed: int) -> list[Example]:
    """A passage is relevant where it says "proof"; the query's topic is in all of them."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        topic = str(draw.choice(TOPICS))
        filler = [[str(w) for w in draw.choice(FILLER, 5)] for _ in range(5)]
        made.append(Example(topic, (" ".join([topic, "proof", *filler[0]]), *(" ".join([topic, *f]) for f in filler[1:])), (1, 0, 0, 0, 0)))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_encoder(tmp_path_factory.mktemp("encoder"), [*TOPICS, *FILLER, "proof"]))


@pytest.fixture(scope="module")
def whole(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training that was cut off should come to."""
    return train_cross_encoder(base, examples(16, seed=1), tmp_path_factory.mktemp("whole") / "out", **SETTINGS)


def ndcg(model: Path | str, held_out: list[Example]) -> float:
    values = []
    for i, example in enumerate(held_out):
        by = np.random.default_rng(i).permutation(len(example.passages))
        run = CrossEncoder(str(model))(Run.from_texts(example.query, [example.passages[p] for p in by], [str(p) for p in by]))
        values.append(evaluate({"0": {"0": 1}}, run.to_dict(), ["nDCG@10"]).mean["nDCG@10"])
    return float(np.mean(values))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = folder.rglob("*.safetensors")
    return {f"{file.relative_to(folder)} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def apart(a: Path, b: Path) -> float:
    """The largest difference between two models' weights."""
    mine_, theirs = weights(a), weights(b)
    assert mine_.keys() == theirs.keys()
    return max(float((mine_[name] - theirs[name]).abs().max()) for name in mine_)


# --- examples -------------------------------------------------------------------------------------------------------


def found_run() -> Run:
    """Two queries; the hits of the first are a, b, …, h, those of the second come in the other order."""
    names = tuple("abcdefgh")
    table = TextTable(names, tuple(f"text of {n}" for n in names))
    rows = np.concatenate((np.arange(8), np.arange(8)[::-1]))
    return Run((Query("1", "one"), Query("2", "two")), np.array([0, 8, 16]), rows, np.zeros(16, np.float32), "rank", None, {}, table)


def test_the_best_unjudged_hits_are_the_negatives() -> None:
    first, second = mine(found_run(), {"1": {"b": 2, "d": 1, "a": 0}, "2": {"h": 1}}, negatives=3)
    assert first == Example("one", ("text of b", "text of d", "text of a", "text of c", "text of e"), (2, 1, 0, 0, 0))
    assert second == Example("two", ("text of h", "text of g", "text of f", "text of e"), (1, 0, 0, 0))


def test_an_instruction_follows_the_query_as_the_reranker_reads_it() -> None:
    run = replace(found_run(), queries=(Query("1", "one", instruction="Not two."), Query("2", "two")))
    assert [e.query for e in mine(run, {"1": {"b": 2}, "2": {"h": 1}})] == ["one Not two.", "two"]
    known = {"z": Passage("one says this", "z", 0, 13)}  # the query's own words are cut out, and not its instruction's
    assert mine(run, {"1": {"z": 1}}, negatives=1, known=known, cut_query=True)[0].passages == ("  says this", "text of a")


def test_negatives_drawn_from_a_depth() -> None:
    qrels = {"1": {"c": 1}}
    drawn = {mine(found_run(), qrels, negatives=2, among=(2, 6), seed=s)[0].passages[1:] for s in range(20)}
    assert {text for pair in drawn for text in pair} == {"text of d", "text of e", "text of f"}
    assert len(drawn) > 1
    once, again = (mine(found_run(), qrels, negatives=2, among=(2, 6), seed=5) for _ in range(2))
    assert once == again


def test_relevant_documents_that_the_run_missed() -> None:
    missed = Passage("text of z", "z", 0, 9, title="Z")
    (example,) = mine(found_run(), {"1": {"z": 1, "y": 1}}, negatives=1, known={"z": missed})
    assert example == Example("one", ("Z text of z", "text of a"), (1, 0))
    with pytest.raises(InputError, match="has a relevant passage"):
        mine(found_run(), {"1": {"z": 1}})


def test_a_query_is_cut_out_of_the_passage_it_was_taken_from() -> None:
    table = TextTable(("a", "b"), ("First one. Second one here. Third.", "Second one here. Other."))
    run = Run((Query("1", "Second one here."),), np.array([0, 2]), np.arange(2), np.zeros(2, np.float32), "rank", None, {}, table)
    (example,) = mine(run, {"1": {"a": 1}}, cut_query=True)
    assert example.passages == ("First one.   Third.", "Second one here. Other.")


def test_passages_of_a_query_that_is_a_title_lose_their_titles() -> None:
    known = {"z": Passage("body of z", "z", 0, 9, title="The title of z")}
    run = found_run()
    asked = Run((Query("1", "The title of z"),), np.array([0, 8]), run.rows[:8], run.scores[:8], "rank", None, {}, run.source)
    (example,) = mine(asked, {"1": {"z": 1}}, negatives=1, known=known, cut_query=True)
    assert example.passages == ("body of z", "text of a")


def test_queries_are_sentences_or_titles_of_their_documents() -> None:
    passages = [
        Passage(
            text := f"The {w} pump lasts for ten years. It needs a new gasket every single year.",
            w,
            0,
            len(text),
            title=f"All about the {w} pump",
        )
        for w in ("red", "green", "blue")
    ]
    queries, qrels = sentence_queries([*passages, Passage("Too short.", "x", 0, 10)], 10)
    assert sorted(next(iter(grades)) for grades in qrels.values()) == ["blue", "green", "red"]
    by_id = {p.document: p for p in passages}
    for query in queries:
        (document,) = qrels[query.id]
        assert query.text == by_id[document].title or query.text in by_id[document].text
    assert sentence_queries(passages, 10) == sentence_queries(passages, 10)
    assert len(sentence_queries(passages, 2)[0]) == 2
    with pytest.raises(InputError, match="besides other text"):
        sentence_queries([Passage("Too short.", "x", 0, 10)], 1)


@pytest.mark.parametrize(("passages", "labels"), [(("a",), (1, 0)), (("a", "b"), (0, 0)), ((), ())])
def test_examples_need_labels(passages: tuple[str, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one label a passage"):
        Example("q", passages, labels)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "head"),
    [
        ("listnet", "matching"),
        ("bce", "linear"),
        *(pytest.param(loss, "linear", marks=pytest.mark.slow) for loss in LOSSES if loss != "bce"),
    ],
)
def test_every_loss_ranks_held_out_queries_better(base: str, tmp_path: Path, loss: str, head: str) -> None:
    held_out = examples(20, seed=2)
    settings = {**LONGER, "batch_size": 16} if loss == "bce" else LONGER  # five pairs a query
    before = ndcg(save_cross_encoder(tmp_path / "untrained", [*TOPICS, *FILLER, "proof"]), held_out)
    trained = train_cross_encoder(base, examples(64, seed=1), tmp_path / "model", loss=loss, head=head, **settings)
    after = ndcg(trained, held_out)
    assert before < 0.8 < 0.95 < after


def test_a_cross_encoder_is_trained_further(base: str, tmp_path: Path) -> None:
    hardly = {**SETTINGS, "epochs": 1, "learning_rate": 1e-9}
    linear = save_cross_encoder(tmp_path / "linear", [*TOPICS, *FILLER, "proof"])
    matching = train_cross_encoder(base, examples(8, 1), tmp_path / "matching", **SETTINGS)
    for start in (linear, matching):
        still = train_cross_encoder(str(start), examples(4, 1), tmp_path / f"still-{start.name}", **hardly)
        assert apart(still, start) < 1e-6  # its head too is the one it had


def test_a_matching_head_ranks_before_any_training(base: str, tmp_path: Path) -> None:
    start = train_cross_encoder(base, examples(4, 1), tmp_path / "model", **{**SETTINGS, "epochs": 1, "learning_rate": 1e-9})
    out = CrossEncoder(str(start))(Run.from_texts("f1 f2", ["f3 f4 f5", "f9 f1 f2", "f1 f7 f8"], ["none", "both", "one"]))
    assert out.ids() == ["both", "one", "none"]
    by_itself = {i: float(s) for i, s in zip(out.ids(), out.scores, strict=True)}
    padded = CrossEncoder(str(start))(Run.from_texts("f1 f2", ["f9 f1 f2", " ".join(FILLER[:15])], ["both", "long"]))
    assert dict(zip(padded.ids(), padded.scores.tolist(), strict=True))["both"] == pytest.approx(by_itself["both"], abs=1e-4)
    assert CrossEncoder(str(start))(Run.from_texts("", ["", "f1"])).scores.tolist()  # nothing to match is no NaN
    head = load_file(start / MATCHING / "model.safetensors")
    save_file({**head, "sharpness": head["sharpness"] * 2}, start / MATCHING / "model.safetensors")
    twice = CrossEncoder(str(start))(Run.from_texts("f1 f2", ["f9 f1 f2", "f3 f4 f5"], ["both", "none"]))  # the new head is read
    assert twice.scores.tolist() == pytest.approx([2 * by_itself["both"], 2 * by_itself["none"]], abs=1e-3)


def test_special_tokens_take_no_part_in_matching() -> None:
    from ragkit.rerankers.matching_head import _parts

    read = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0]])  # [CLS] a b [SEP] c d [SEP] [PAD]
    second = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 0]])
    query, passage = _parts(read, second)
    assert query.int().tolist() == [[0, 1, 1, 0, 0, 0, 0, 0]]
    assert passage.int().tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]


def test_a_matching_head_needs_a_tokenizer_that_tells_both_texts_apart(base: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    settings = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps({**settings, "model_input_names": ["input_ids", "attention_mask"]}))
    with pytest.raises(InputError, match="give head='linear'"):
        train_cross_encoder(str(other), examples(4, 1), tmp_path / "model", **SETTINGS)
    (tmp_path / "model" / "notes.txt").write_text("matching failed")
    made = train_cross_encoder(str(other), examples(4, 1), tmp_path / "model", head="linear", **SETTINGS)  # as it was told
    assert weights(made)
    assert (made / "notes.txt").exists()


def test_a_training_never_takes_its_base_away(base: str, tmp_path: Path) -> None:
    given = examples(4, seed=1)
    made = train_cross_encoder(base, given, tmp_path / "made", **SETTINGS)
    inside, link = made / "checkpoints" / "start", tmp_path / "link"
    shutil.copytree(base, inside)
    link.symlink_to(made)
    before = weights(made)
    for start, output in ((made, made), (inside, made), (link, made), (made, link)):
        for resume in (True, False):
            with pytest.raises(InputError, match=r"lies in the output .* which is written over"):
                train_cross_encoder(str(start), given, output, resume=resume, **SETTINGS)
    assert weights(made).keys() == before.keys()


def test_weights_that_were_cut_off_are_told(base: str, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(base, tmp_path / "cut"))
    file = cut / "model.safetensors"
    file.write_bytes(file.read_bytes()[:999])
    for head in ("matching", "linear"):
        with pytest.raises(InputError, match="cut holds no model that a cross-encoder can start from"):
            train_cross_encoder(str(cut), examples(4, 1), tmp_path / head, head=head, **SETTINGS)


def test_the_same_training_twice_is_made_once_and_reproduced_elsewhere(base: str, tmp_path: Path) -> None:
    steps: list[int] = []
    given = examples(8, seed=1)
    settings = {**SETTINGS, "freeze_embeddings": True}
    torch.manual_seed(11)
    state, python = torch.random.get_rng_state(), random.getstate()
    one = train_cross_encoder(base, given, tmp_path / "one", progress=lambda done, total, stage: steps.append(done), **settings)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == python
    assert steps == [1, 2, 3, 4]
    assert not (one / "checkpoints").exists()
    written = (one / "model.safetensors").stat().st_mtime_ns
    assert train_cross_encoder(base, given, tmp_path / "one", progress=lambda *_: steps.append(0), **settings) == one
    assert (one / "model.safetensors").stat().st_mtime_ns == written
    assert 0 not in steps
    two = train_cross_encoder(base, given, tmp_path / "two", **settings)
    assert apart(one, two) == 0
    frozen = next(n for n in weights(one) if n.endswith("word_embeddings.weight"))
    start = next(v for n, v in load_file(Path(base) / "model.safetensors").items() if n.endswith("word_embeddings.weight"))
    assert torch.equal(weights(one)[frozen], start)
    other = train_cross_encoder(base, given, tmp_path / "three", **{**settings, "seed": 4})
    assert apart(one, other) > 0


def test_another_training_is_not_taken_for_this_one(base: str, tmp_path: Path) -> None:
    given = examples(4, seed=1)
    made = train_cross_encoder(base, given, tmp_path / "model", **SETTINGS)
    for changed in ({"learning_rate": 1e-4}, {"loss": "bce"}, {"head": "linear"}, {"epochs": 1}):
        with pytest.raises(InputError, match="holds a training of another base"):
            train_cross_encoder(base, given, made, **{**SETTINGS, **changed})
    with pytest.raises(InputError, match="holds a training of another base"):
        train_cross_encoder(base, examples(4, seed=2), made, **SETTINGS)
    again = train_cross_encoder(base, examples(4, seed=2), made, resume=False, **SETTINGS)
    assert json.loads((again / "ragkit_training.json").read_text())["finished"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for resume in (True, False):
        with pytest.raises(InputError, match="no training of a reranker"):
            train_cross_encoder(base, given, tmp_path / "mine", resume=resume, **SETTINGS)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_cancelled_training_goes_on_to_the_same_weights(base: str, whole: Path, tmp_path: Path) -> None:
    given = examples(16, seed=1)  # 8 steps, checkpoints after 3 and 6
    with pytest.raises(Cancelled):
        train_cross_encoder(base, given, tmp_path / "cut", progress=lambda done, total, stage: done < 5, **SETTINGS)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    with pytest.raises(InputError, match="holds a training of another base"):  # this one has begun
        train_cross_encoder(base, given, tmp_path / "cut", **{**SETTINGS, "seed": 4})
    steps: list[int] = []
    cut = train_cross_encoder(base, given, tmp_path / "cut", progress=lambda done, total, stage: steps.append(done), **SETTINGS)
    assert steps == [3, 4, 5, 6, 7, 8]
    assert apart(whole, cut) < 1e-6


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in ((90, '{"global_step": 90}'), (100, '{"global_st'), (110, None)):
        made = tmp_path / f"checkpoint-{step}"
        made.mkdir()
        if state is not None:
            (made / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-90"


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(base: str, whole: Path, tmp_path: Path) -> None:
    given = examples(16, seed=1)
    (tmp_path / "given.json").write_text(json.dumps([[e.query, e.passages, e.labels] for e in given]))
    code = (
        "import json, os, signal, sys, torch\n"
        "torch.set_num_threads(1)\n"  # as here: another number of threads rounds otherwise
        "from ragkit.rerankers.training import Example, train_cross_encoder\n"
        "given = [Example(q, tuple(p), tuple(l)) for q, p, l in json.load(open(sys.argv[1]))]\n"
        "kill = lambda done, total, stage: os.kill(os.getpid(), signal.SIGKILL) if done == 7 else None\n"
        "train_cross_encoder(sys.argv[2], given, sys.argv[3], progress=kill, **json.loads(sys.argv[4]))\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "given.json"), base, str(tmp_path / "cut"), json.dumps(SETTINGS)]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert last_checkpoint(tmp_path / "cut" / "checkpoints") == tmp_path / "cut" / "checkpoints" / "checkpoint-6"
    cut = train_cross_encoder(base, given, tmp_path / "cut", **SETTINGS)
    assert apart(whole, cut) < 1e-6


def test_settings_out_of_range(base: str, tmp_path: Path) -> None:
    given = examples(2, seed=1)
    wrong: list[dict[str, Any]] = [
        {"epochs": 0}, {"batch_size": 0}, {"checkpoint_every": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"max_length": 8},
    ]  # fmt: skip
    for settings in wrong:
        with pytest.raises(InputError):
            train_cross_encoder(base, given, tmp_path / "m", **settings)
    with pytest.raises(UnknownNameError, match="listnet"):
        train_cross_encoder(base, given, tmp_path / "m", loss="listnett")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        train_cross_encoder(base, given, tmp_path / "m", precision="float8")
    with pytest.raises(UnknownNameError, match="matching"):
        train_cross_encoder(base, given, tmp_path / "m", head="matchin")
    with pytest.raises(InputError, match="nothing to train on"):
        train_cross_encoder(base, [], tmp_path / "m")
    assert not (tmp_path / "m").exists()
