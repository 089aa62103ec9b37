"""Training listwise rerankers: examples, the prompts of the rerankers themselves, better orders, and the same weights after a break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ragkit import Query, Run, llm
from ragkit.errors import Cancelled, InputError, SnapshotMismatch, UnknownNameError
from ragkit.generation import Message
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.rerankers.asking import Asking
from ragkit.rerankers.listwise import Listwise
from ragkit.rerankers.plans import progressive_calls
from ragkit.rerankers.prompts import ListwisePrompt
from ragkit.rerankers.single_token import SingleToken
from ragkit.rerankers.stage import candidates_of
from ragkit.rerankers.training import checkpoint
from ragkit.rerankers.training.listwise import OrderedExample, _Settings, _Training, examples_from, teacher_order, train_listwise
from ragkit.rerankers.windows import Full
from tests.rerankers.stub_models import StubModel

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = ListwisePrompt(head="", passage="[{label}] {text}\n", tail="{query}: ", prefill="[", labels="letters", raw=True)
NUMBERS = ListwisePrompt(head="", passage="[{label}] {text}\n", tail="{query}: ", prefill="[", raw=True)
WORDS = ("gold", "silver", "lead")
FAST: dict[str, Any] = {"prompt": SHORT, "learning_rate": 5e-3, "batch_size": 8, "accumulate": 1, "noise": 0, "device": "cpu"}


def save_model(folder: Path, *, seed: int = 7) -> Path:
    """A random causal model with a byte-level tokenizer that knows the words of the toy."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([f" {w} metal" for w in WORDS for _ in range(9)] + ["best: [A] > [B]\n"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", bos_token="<end>")
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, pad_token_id=None, tie_word_embeddings=True,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_listwise(base, toys(96, 1), tmp_path_factory.mktemp("trained") / "out", epochs=10, **FAST)


def toys(n: int, seed: int, words: Sequence[str] = WORDS) -> list[OrderedExample]:
    """Gold is better than silver, and silver than lead."""
    draw = np.random.default_rng(seed)
    return [OrderedExample(str(draw.choice(("best", "most", "first"))), tuple(f"{word} metal" for word in words)) for _ in range(n)]


def right(reranker: SingleToken | Listwise, words: Sequence[str] = WORDS, n: int = 40) -> float:
    """Share of held-out windows that are put wholly in order."""
    draw, found = np.random.default_rng(98), 0
    for example in toys(n, 99, words):
        by = [int(i) for i in draw.permutation(len(words))]
        found += reranker(Run.from_texts(example.query, [example.texts[i] for i in by], [str(i) for i in by])).ids() == ["0", "1", "2"]
    return found / n


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(folder: Path) -> list[float]:
    return list(json.loads((folder / "ragkit_training.json").read_text())["losses"])


def test_single_token_learns_to_order(base: str, trained: Path) -> None:
    before, after = (right(SingleToken(llm(m), prompt=SHORT, windows=Full())) for m in (base, str(trained)))
    assert before < 0.5
    assert after > 0.9
    assert not (trained / "checkpoints").exists()
    assert np.mean(losses(trained)[-10:]) < np.mean(losses(trained)[:10]) / 4
    assert right(Listwise(llm(str(trained)), prompt=SHORT, windows=Full(), constrained=False)) > 0.9  # its language model's loss


def test_listnet_learns_too(base: str, tmp_path: Path) -> None:
    folder = train_listwise(base, toys(96, 1), tmp_path / "out", epochs=10, ranking="listnet", weight=10.0, **FAST)
    assert right(SingleToken(llm(str(folder)), prompt=SHORT, windows=Full())) > 0.9


def test_full_learns_to_write_another_order(trained: Path, tmp_path: Path) -> None:
    backwards = WORDS[::-1]
    folder = train_listwise(str(trained), toys(96, 2, backwards), tmp_path / "out", loss="full", epochs=6, **FAST)
    found = losses(folder)
    assert np.mean(found[-10:]) < np.mean(found[:10]) / 4
    before, after = (right(Listwise(llm(str(m)), prompt=SHORT, windows=Full(), constrained=False), backwards) for m in (trained, folder))
    assert before < 0.1
    assert after > 0.9


def test_full_learns_the_form_from_nothing(base: str, tmp_path: Path) -> None:
    folder = train_listwise(base, toys(48, 2), tmp_path / "out", loss="full", epochs=12, **{**FAST, "prompt": NUMBERS})
    assert np.mean(losses(folder)[-10:]) < np.mean(losses(folder)[:10]) / 3
    free = Listwise(llm(str(folder)), prompt=NUMBERS, windows=Full(), constrained=False)
    assert "wrong_format" not in free(Run.from_texts("best", [f"{word} metal" for word in WORDS])).report[-1].counts


def settings(**changed: Any) -> _Settings:
    values: dict[str, Any] = {
        "base": "", "loss": "first", "prompt": SHORT, "ranking": "ranknet", "weight": 10.0, "epochs": 1, "learning_rate": 1e-3,
        "warmup": 0.1, "batch_size": 2, "accumulate": 1, "noise": 0.0, "max_words": 4, "precision": "float32", "seed": 7,
    }  # fmt: skip
    return _Settings(**{**values, **changed})


def loaded(base: str) -> TransformersModel:
    made = llm(base, device="cpu", dtype="float32")
    assert isinstance(made, TransformersModel)
    return made


@pytest.mark.parametrize("loss", ["first", "full"])
@pytest.mark.parametrize(
    "prompt", [SHORT, ListwisePrompt(system="You judge.", head="{query}\n", tail="Order {num}.", prefill="[", labels="letters")]
)
def test_prompts_are_those_of_the_reranker(base: str, loss: str, prompt: ListwisePrompt) -> None:
    example = OrderedExample("best [1]", ("gold metal is worth very much", "silver [A] metal", "lead"), (0, 1, 1))
    model = loaded(base)
    training = _Training(model, [example], settings(loss=loss, prompt=prompt))
    window = training.window(0, epoch=3)
    shown = [str(i) for i in np.random.default_rng((7, 3, 0)).permutation(3)]
    run = Run.from_texts(example.query, [example.texts[int(i)] for i in shown])
    kind = SingleToken if loss == "first" else Listwise
    stage = kind(model, prompt=prompt, max_words=4)
    question = stage.question(Asking(model, "raise"), candidates_of(run)[0], (0, 1, 2))
    assert window.ids[: window.begin] == model.encode(question.prompt())
    assert "very" not in model.tokens.tokenizer.decode(window.ids)
    names = ["ABC"[shown.index(str(i))] for i in range(3)]
    assert model.tokens.tokenizer.decode(window.ids[window.begin :]) == f"{names[0]}] > [{names[1]}] > [{names[2]}]<end>"
    assert [r for r in window.ranks if r >= 0] == [0, 1, 1]
    assert window.teacher == [(0, 1, 1)[int(i)] for i in shown]
    assert candidates_of(run)[0].texts[shown.index("1")] == "silver (A) metal"


def test_a_prompt_without_a_beginning_is_followed_by_the_whole_answer(base: str) -> None:
    plain = ListwisePrompt(tail="{query}", system="s")
    window = (training := _Training(loaded(base), toys(1, 1), settings(loss="full", prompt=plain))).window(0, 0)
    assert training.made.tokens.tokenizer.decode(window.ids[window.begin :]).startswith("[")
    with pytest.raises(InputError, match="prefill"):
        _Training(loaded(base), toys(1, 1), settings(prompt=ListwisePrompt(prefill="Best: ")))


def test_the_loss_is_that_of_each_example_alone(base: str) -> None:
    examples = [*toys(2, 1), OrderedExample("most", ("gold metal", "lead"))]
    for loss in ("first", "full"):
        training = _Training(loaded(base), examples, settings(loss=loss))
        windows = [training.window(i, 0) for i in range(3)]
        together = training.loss(windows).tolist()
        assert together == pytest.approx([float(training.loss([w]).detach()) for w in windows], rel=1e-5)  # padding changes nothing


def test_identifiers_are_scored_as_they_are_read(base: str) -> None:
    """The ranking loss's scores are what SingleToken sees, up to a constant."""
    model, example = loaded(base), toys(1, 1)[0]
    training = _Training(model, [example], settings(weight=1.0))
    window = training.window(0, 0)
    with torch.no_grad():
        whole = float(training.loss([window]))
        model.net.model.eval()
        logits = model.net.model(torch.tensor([window.ids])).logits[0]
    tokens = window.ids[window.begin :]
    by_hand = -sum(float(logits[window.begin - 1 + t].log_softmax(-1)[token]) for t, token in enumerate(tokens)) / len(tokens)
    scores = model.next_token_logprobs([model.tokens.tokenizer.decode(window.ids[: window.begin])], [(c, f" {c}") for c in "ABC"]).logprobs[
        0
    ]
    by_hand += sum(
        np.logaddexp(0, scores[j] - scores[i]) / (window.teacher[i] + window.teacher[j] + 2)
        for i in range(3) for j in range(3) if window.teacher[i] < window.teacher[j]
    )  # fmt: skip
    assert whole == pytest.approx(by_hand, rel=1e-4)


def test_accumulation_is_a_larger_batch(base: str, tmp_path: Path) -> None:
    one = train_listwise(base, toys(12, 1), tmp_path / "a", epochs=2, **{**FAST, "batch_size": 4, "accumulate": 2})
    other = train_listwise(base, toys(12, 1), tmp_path / "b", epochs=2, **{**FAST, "batch_size": 8, "accumulate": 1})
    assert losses(one) == pytest.approx(losses(other), rel=1e-4)
    assert len(losses(one)) == 4  # 12 examples are 8 and 4


def test_noise_is_drawn_within_its_bound(base: str) -> None:
    training = _Training(loaded_fresh := llm(base, device="cpu", dtype="float32", batch_tokens=99), toys(1, 1), settings(noise=5.0))  # type: ignore[arg-type]
    training.lengths = torch.tensor([8, 2])
    moved = training.noisy(None, None, torch.zeros(2, 8, 32))
    for row, tokens in enumerate((8, 2)):
        bound = 5 / (tokens * 32) ** 0.5
        assert bound * 0.9 < float(moved[row].abs().max()) <= bound
    assert abs(float(moved.mean())) < 0.1
    assert loaded_fresh is not None


def test_a_finished_training_is_not_repeated_and_no_other_takes_its_folder(base: str, tmp_path: Path) -> None:
    given = {**FAST, "epochs": 1}
    out = train_listwise(base, toys(20, 5), tmp_path / "out", **given)
    seen: list[int] = []
    before = weights(out)
    train_listwise(base, toys(20, 5), out, progress=lambda done, total, stage: seen.append(done), **given)
    assert seen == []
    with pytest.raises(InputError, match="another base, other examples or settings"):
        train_listwise(base, toys(21, 5), out, **given)
    train_listwise(base, toys(21, 5), out, resume=False, **given)
    after = weights(out)
    assert any(not torch.equal(before[k], after[k]) for k in before)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    for resume in (True, False):
        with pytest.raises(InputError, match="no training of a reranker"):
            train_listwise(base, toys(20, 5), tmp_path / "mine", resume=resume, **given)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    with pytest.raises(InputError, match="lies in the output"):
        train_listwise(str(out), toys(20, 5), out, resume=False, **given)
    assert weights(out).keys() == after.keys()


def test_a_training_goes_on_to_the_same_weights_and_passes_over_a_damaged_checkpoint(base: str, tmp_path: Path) -> None:
    given = {**FAST, "epochs": 2, "batch_size": 4, "noise": 5.0, "checkpoint_every": 3}
    whole = train_listwise(base, toys(20, 5), tmp_path / "whole", **given)
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        train_listwise(base, toys(20, 5), out, progress=lambda done, total, stage: done < 8, **given)
    assert sorted(f.name for f in (out / "checkpoints").iterdir()) == ["step-3", "step-6"]
    file = out / "checkpoints" / "step-6" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    shutil.copytree(out / "checkpoints" / "step-3", out / "checkpoints" / ".writing")
    left = checkpoint.last(out)
    assert left is not None
    assert left.step == 3
    assert not (out / "model.safetensors").exists()
    with pytest.raises(InputError, match="another base, other examples or settings"):  # this one has begun
        train_listwise(base, toys(21, 5), out, **given)
    seen: list[int] = []
    train_listwise(base, toys(20, 5), out, progress=lambda done, total, stage: seen.append(done), **given)
    assert seen == [3, 4, 5, 6, 7, 8, 9, 10]
    assert equal(whole, out)
    assert losses(whole) == losses(out)
    assert not equal(whole, Path(base))


def test_the_callers_random_state_is_left_alone(base: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_listwise(base, toys(4, 5), tmp_path / "out", **{**FAST, "epochs": 1, "noise": 5.0})
    assert torch.equal(torch.rand(2), expected)


def test_a_loss_that_is_no_number_is_refused(base: str, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(base, tmp_path / "broken"))
    values = weights(broken)
    values["model.norm.weight"][3] = float("nan")
    save_file(values, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"step 1 of 3 has a loss of nan .* lower learning_rate"):
        train_listwise(str(broken), toys(20, 5), tmp_path / "out", **{**FAST, "epochs": 1})
    assert checkpoint.last(tmp_path / "out") is None


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"loss": "second"}, UnknownNameError, "no loss is called 'second'"),
        ({"ranking": "lambda"}, UnknownNameError, "no ranking"),
        ({"precision": "int8"}, UnknownNameError, "no precision"),
        ({"epochs": 0}, InputError, "epochs"),
        ({"accumulate": 0}, InputError, "accumulate"),
        ({"learning_rate": 0.0}, InputError, "learning_rate"),
        ({"warmup": 1.0}, InputError, "warmup"),
        ({"weight": float("nan")}, InputError, "weight"),
        ({"noise": -1.0}, InputError, "noise"),
        ({"prompt": "unheard"}, UnknownNameError, "no prompt"),
        ({"examples": []}, InputError, "nothing to train on"),
        ({"base": "no-such-model"}, InputError, "no folder"),
    ],
)
def test_bad_settings_are_told_before_anything_is_written(
    base: str, tmp_path: Path, changed: dict[str, Any], error: type[Exception], told: str
) -> None:
    given = {"base": base, "examples": toys(4, 1), "output": tmp_path / "out", **FAST, **changed}
    with pytest.raises(error, match=told):
        train_listwise(**given)
    assert not (tmp_path / "out").exists()


def test_an_identifier_of_two_tokens_is_refused_for_first(base: str, tmp_path: Path) -> None:
    ten = OrderedExample("best", tuple(f"metal {i}" for i in range(10)))
    with pytest.raises(InputError, match="10"):
        train_listwise(base, [ten], tmp_path / "out", **{**FAST, "prompt": NUMBERS})
    folder = train_listwise(base, [ten], tmp_path / "out", loss="full", **{**FAST, "prompt": NUMBERS, "epochs": 1})  # nothing had begun
    assert len(losses(folder)) == 1


def test_examples_from_judgements_leave_equal_grades_undecided() -> None:
    run = Run.from_texts("q", ["zero", "one", "two", "three"], ["a", "b", "c", "d"])
    (made,) = examples_from(run, {"0": {"c": 2, "d": 1}})
    assert made == OrderedExample("q", ("two", "three", "zero", "one"), (0, 1, 2, 2))
    (short,) = examples_from(run, {"0": {"c": 2, "d": 1}}, window=3)
    assert short == OrderedExample("q", ("two", "three", "zero"), (0, 1, 2))
    with pytest.raises(InputError, match="does the teacher order"):
        examples_from(Run.from_texts("q", ["only"], ["a"]), {"0": {"a": 1}})


def test_an_instruction_is_in_the_prompt_as_the_reranker_asks(base: str) -> None:
    texts = Run.from_texts("q", ["zero", "one"], ["a", "b"])
    run = replace(texts, queries=(Query("0", "best", instruction="Not lead."),))
    by_teacher, by_grades = examples_from(run, run), examples_from(run, {"0": {"a": 1}})
    assert by_teacher == by_grades == [OrderedExample("best Not lead.", ("zero", "one"))]
    model = loaded(base)
    window = _Training(model, by_teacher, settings()).window(0, 0)
    question = SingleToken(model, prompt=SHORT).question(Asking(model, "raise"), candidates_of(run)[0], (0, 1))
    if window.teacher == [1, 0]:  # shuffled
        question = replace(question, texts=question.texts[::-1])
    assert window.ids[: window.begin] == model.encode(question.prompt())


def test_examples_from_a_teachers_run() -> None:
    run = Run.from_texts("q", ["zero", "one", "two", "three"], ["a", "b", "c", "d"])
    teacher = run.take(np.array([0, 2]), np.array([2, 0]))  # c before a; it says nothing of b and d
    assert examples_from(run, teacher) == [OrderedExample("q", ("two", "zero", "one", "three"), (0, 1, 2, 2))]
    assert examples_from(run, teacher, window=2) == [OrderedExample("q", ("zero", "one"))]
    with pytest.raises(SnapshotMismatch):
        examples_from(run, Run.from_texts("q", ["other"]))


@pytest.mark.parametrize(
    ("texts", "ranks"), [(("a",), ()), (("a", "b"), (0,)), (("a", "b"), (1, 0)), (("a", "b"), (0, 0)), (("a", "b"), (1, 2))]
)
def test_examples_without_an_order_are_refused(texts: tuple[str, ...], ranks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="an ordered example needs"):
        OrderedExample("q", texts, ranks)


def worths(n: int, seed: int) -> Run:
    values = np.random.default_rng(seed).permutation(n)
    return Run.from_texts("q", [f"worth {v}" for v in values], [str(v) for v in values])


def test_a_teacher_orders_the_whole_list() -> None:
    """A sliding pass of a right judge orders the top alone; fixed passes order all, for the calls that the formula tells."""
    asked: list[int] = []

    def judge(query: str, texts: list[str]) -> list[int]:
        asked.append(len(texts))
        return sorted(range(len(texts)), key=lambda i: -int(texts[i].split()[1]))

    best_first = [str(v) for v in reversed(range(40))]
    found = teacher_order(judge, worths(40, 7))
    assert found.ids() == best_first
    assert len(asked) == progressive_calls(40)
    assert max(asked) == 20
    stage = Listwise(StubModel(), windows=Full())
    ordered = teacher_order(stage, worths(40, 7), window=8, stride=4, fixed=4)
    assert ordered.ids() == best_first
    assert ordered.report[-1].counts["windows"] == progressive_calls(40, 8, 4, 4)
    (example,) = examples_from(worths(40, 7), ordered, window=5)
    assert [int(t.split()[1]) for t in example.texts] == sorted((int(t.split()[1]) for t in worths(40, 7).texts()[:5]), reverse=True)


def test_a_teachers_windows_shrink_to_fit_its_model() -> None:
    stage = SingleToken(StubModel(context=300), prompt=SHORT)
    found = teacher_order(stage, worths(30, 3))
    assert sorted(found.ids()) == sorted(worths(30, 3).ids())


@pytest.mark.parametrize("bad", [{"window": 1}, {"stride": 30}, {"fixed": 11}, {"fixed": 0}])
def test_windows_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        teacher_order(lambda query, texts: range(len(texts)), worths(5, 1), **bad)


def test_message_prompts_end_in_the_prefill(base: str) -> None:
    """The plain form of a model without a chat template, as it is sent."""
    training = _Training(loaded(base), toys(1, 1), settings(prompt=ListwisePrompt(tail="{query}", prefill="[", labels="letters")))
    window = training.window(0, 0)
    model = training.made
    assert model.tokens.tokenizer.decode(window.ids[: window.begin]).endswith("\n\nAssistant: [")
    assert model.encode([Message("user", "x"), Message("assistant", "[")])[-2:] == window.ids[window.begin - 2 : window.begin]
