"""Causal models: the same numbers and texts as plain passes one prompt at a time; prompts, limits, stops, seeds, streams, refusals."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragkit.errors import ContextOverflow, GenerationError, InputError
from ragkit.generation import Message, llm
from ragkit.protocols import LanguageModel
from tests.generation.tiny_models import (
    CORPUS,
    byte_tokenizer,
    gpt2,
    greedy,
    llama,
    mistral,
    next_logprobs,
    one_thread,
    qwen2,
    sentence_tokenizer,
    torch,
    transformers,
)

from ragkit.generation.local.detokenise import Detokeniser  # isort: skip
from ragkit.generation.local.prompt_tokens import PromptTokens  # isort: skip
from ragkit.generation.stops import StopSearch  # isort: skip
from ragkit.generation.local.transformers_model import TransformersModel, load_transformers  # isort: skip

__all__ = ["one_thread"]

MODELS = {"qwen2": qwen2, "llama": llama, "mistral": mistral, "gpt2": gpt2}
PROMPTS = [
    "The pump",
    "Which passage answers the question best? Answer with its letter",
    "Query: how often is the gasket replaced? " * 4,
    "阀门 öffnet",
    "A",
]


def made(name: str, attention: str = "sdpa", **settings: Any) -> TransformersModel:
    model, tokenizer = MODELS[name](attention)
    return TransformersModel(model, tokenizer, name=name, **settings)


@pytest.fixture(scope="module")
def models_folder() -> Path:
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))
    if not folder.is_dir():
        pytest.skip(f"no real models at {folder} (RAGKIT_MODELS)")
    return folder


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_plain_passes(name: str, attention: str) -> None:
    model = made(name, attention)
    candidates = [("A", " A"), ("B",), ("a",)]
    scored = model.next_token_logprobs(PROMPTS, candidates)
    spelled = [[ids[0] for w in c for ids in (model.tokens.continuing(w), model.tokens.plain(w)) if len(ids) == 1] for c in candidates]
    for i, prompt in enumerate(PROMPTS):
        expected = next_logprobs(model.net.model, model.encode(prompt))[-1]
        assert scored.logprobs[i].tolist() == pytest.approx([float(expected[ids].max()) for ids in spelled], abs=1e-4)
    alone = np.concatenate([model.next_token_logprobs([p], candidates).logprobs for p in PROMPTS])
    np.testing.assert_allclose(scored.logprobs, alone, atol=1e-4)
    assert (scored.usage.calls, scored.usage.prompt_tokens) == (5, sum(model.count_tokens(p) for p in PROMPTS))


@pytest.mark.parametrize("name", MODELS)
def test_mean_scores_of_continuations(name: str) -> None:
    model = made(name)
    continuations = [" has two gaskets", " A", " every year before winter begins", "。", " pump"]
    scored = model.continuation_logprobs(PROMPTS, continuations)
    for i, (prompt, text) in enumerate(zip(PROMPTS, continuations, strict=True)):
        ids, end = model.encode(prompt), model.tokens.continuing(text)
        rows = next_logprobs(model.net.model, [*ids, *end[:-1]], len(end))
        expected = np.mean([float(rows[k, t]) for k, t in enumerate(end)])
        assert scored.logprobs[i, 0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_texts_are_those_of_plain_passes(name: str, attention: str) -> None:
    model = made(name, attention)
    done = model.generate(PROMPTS, max_tokens=24, logprobs=True)
    for prompt, completion in zip(PROMPTS, done, strict=True):
        ids = model.encode(prompt)
        tokens = greedy(model.net.model, ids, 24, model.ends)
        assert completion.usage.generated_tokens == len(tokens)
        assert completion.finish == ("length" if len(tokens) == 24 else "stop")
        expected = [float(next_logprobs(model.net.model, [*ids, *tokens[:k]])[-1, t]) for k, t in enumerate(tokens)]
        assert [t.logprob for t in completion.logprobs] == pytest.approx(expected, abs=1e-3)
    assert sum(c.usage.passes for c in done) == max(c.usage.generated_tokens + (c.finish == "stop") for c in done)
    assert [c.text for c in done] == [model.generate([p], max_tokens=24)[0].text for p in PROMPTS]


@pytest.mark.filterwarnings("ignore")  # of transformers' own generate
def test_a_real_model_writes_what_transformers_writes(models_folder: Path) -> None:
    model = load_transformers(str(models_folder / "docs-7m"), dtype="float32", device="cpu")
    assert isinstance(model, TransformersModel)
    assert isinstance(model, LanguageModel)
    plain, tokenizer = model.net.model, model.tokens.tokenizer
    prompts = ["The std::vector class", "# Pointers\n\nA pointer is", "To convert a string to an integer, call"]
    for prompt, completion in zip(prompts, model.generate(prompts, max_tokens=48), strict=True):
        given = tokenizer(prompt, return_tensors="pt")
        ids = plain.generate(**given, max_new_tokens=48, do_sample=False)[0, given.input_ids.shape[1] :]
        assert completion.text == tokenizer.decode(ids, skip_special_tokens=True)
    assert llm(str(models_folder / "docs-7m")).fingerprint == model.fingerprint
    assert llm(str(models_folder / "docs-1m")).fingerprint != model.fingerprint


def test_a_story_goes_on_with_its_spaces(models_folder: Path) -> None:
    model = load_transformers(str(models_folder / "stories260K"), device="cpu")
    (story,) = model.generate(["Once upon a time, there was a little"], max_tokens=40)
    assert story.text.startswith(" girl named Lily. She loved to play outside in the park.")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (3.0, 0.5)])
def test_a_seed_writes_the_same_text_in_any_batch(name: str, temperature: float, top_p: float) -> None:
    model = made(name)
    drawn = {"max_tokens": 12, "temperature": temperature, "top_p": top_p, "seed": 11}
    together = [c.text for c in model.generate(PROMPTS, **drawn)]
    assert together == [model.generate([p], **drawn)[0].text for p in PROMPTS]
    assert together != [c.text for c in model.generate(PROMPTS, **{**drawn, "seed": 12})]
    assert len({model.generate(["The pump"], max_tokens=12, temperature=2.0)[0].text for _ in range(4)}) > 1


def test_draws_follow_the_probabilities() -> None:
    model = made("qwen2")
    ids = model.encode("The pump")
    p = next_logprobs(model.net.model, ids)[-1].exp().numpy()
    drawn = np.array([c.logprobs[0].logprob for c in model.generate(["The pump"] * 400, max_tokens=1, temperature=1.0, logprobs=True)])
    # the mean log-probability of draws estimates minus the entropy; its standard error is that of 400 draws
    entropy = float(-(p * np.log(p)).sum())
    deviation = float(np.sqrt((p * np.log(p) ** 2).sum() - entropy**2) / 20)
    assert abs(-drawn.mean() - entropy) < 4 * deviation
    nucleus = np.exp(
        [c.logprobs[0].logprob for c in model.generate(["The pump"] * 100, max_tokens=1, temperature=1.0, top_p=0.3, logprobs=True)]
    )
    ordered = np.sort(p)[::-1]
    assert nucleus.min() >= ordered[np.searchsorted(ordered.cumsum(), 0.3)] - 1e-6


@given(st.lists(st.text(alphabet="abé阀🎉", max_size=3), max_size=8), st.sampled_from(["byte", "sentence"]))
def test_text_is_told_in_whole_characters(words: list[str], kind: str) -> None:
    tokenizer = byte_tokenizer() if kind == "byte" else sentence_tokenizer()
    text = " ".join(words)
    before = tokenizer("The 阀", add_special_tokens=False).input_ids
    whole = tokenizer("The 阀" + text, add_special_tokens=False).input_ids
    if whole[: len(before)] != before:
        return
    writer = Detokeniser(tokenizer, before)
    pieces = [writer.add(t) for t in whole[len(before) :]]
    assert "".join(pieces) + writer.end() == text
    assert not any("�" in piece for piece in pieces)


def test_half_a_character_at_the_end_is_left_out() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("🎉🎈", add_special_tokens=False).input_ids
    writer = Detokeniser(tokenizer)
    assert "".join(writer.add(t) for t in ids[:-1]) + writer.end() == "🎉"


@given(st.text(alphabet="abc", max_size=20), st.lists(st.text(alphabet="abc", min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_stop_strings_in_any_pieces(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    search, out = StopSearch(stops), ""
    for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
        out += search.add(text[a:b])
        if search.stopped:
            break
    out += "" if search.stopped else search.end()
    ends = [(text.find(s) + len(s), text.find(s)) for s in stops if s in text]
    assert out == (text[: min(ends)[1]] if ends else text)


@pytest.mark.parametrize("name", MODELS)
def test_text_ends_before_a_stop_string_that_spans_tokens(name: str) -> None:
    model = made(name)
    (whole,) = model.generate(["The pump"], max_tokens=30)
    stop = whole.text[5:9]
    (cut,) = model.generate(["The pump"], max_tokens=30, stop=["never there", stop])
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert cut.finish == "stop"
    assert cut.usage.passes < whole.usage.passes


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_is_the_text_in_pieces(name: str) -> None:
    model = made(name)
    for drawn in ({}, {"temperature": 1.5, "seed": 4}):
        (whole,) = model.generate([PROMPTS[1]], max_tokens=30, **drawn)
        stream = model.stream(PROMPTS[1], max_tokens=30, **drawn)
        with pytest.raises(GenerationError, match="still being written"):
            stream.completion  # noqa: B018
        pieces = list(stream)
        assert "".join(pieces) == whole.text == stream.completion.text
        assert len(pieces) > 2
        assert stream.completion.usage.passes == whole.usage.passes


def test_a_closed_stream_computes_nothing_more() -> None:
    model = made("qwen2")
    passes: list[int] = []
    model.net.model.register_forward_hook(lambda *_: passes.append(1))
    stream = model.stream("The pump", max_tokens=50)
    assert not passes
    next(stream)
    stream.close()
    known = len(passes)
    assert list(stream) == []
    assert len(passes) == known < 10


def test_batches_keep_within_their_budget() -> None:
    small = made("qwen2", batch_tokens=64)
    widths: list[tuple[int, ...]] = []
    small.net.model.register_forward_pre_hook(lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    prompts = [CORPUS[i % 5][: 20 + i] for i in range(20)]
    texts = [c.text for c in small.generate(prompts, max_tokens=5)]
    assert texts == [c.text for c in made("qwen2").generate(prompts, max_tokens=5)]
    assert all(rows * width <= 64 for rows, width in widths)
    assert max(rows for rows, _ in widths) > 1


def test_a_prompt_too_long_is_named_before_anything_is_computed() -> None:
    model = made("qwen2", context=60)
    calls: list[int] = []
    model.net.model.register_forward_hook(lambda *_: calls.append(1))
    prompts = ["The pump", "gasket " * 40]
    tokens = model.count_tokens(prompts[1])
    with pytest.raises(ContextOverflow, match="prompt 1 has") as caught:
        model.generate(prompts, max_tokens=20)
    assert (caught.value.tokens, caught.value.limit) == (tokens, 40)
    with pytest.raises(ContextOverflow):
        model.next_token_logprobs(["gasket " * 80], [("A",)])
    with pytest.raises(ContextOverflow, match="prompt 0"):
        model.continuation_logprobs(["gasket " * 30], [" pump" * 40])
    assert not calls
    assert model.context == 60
    assert made("qwen2").context == 512


def test_nan_weights_are_told_with_the_prompt() -> None:
    model = made("qwen2")
    ids = model.encode("A")
    with torch.no_grad():
        model.net.model.get_input_embeddings().weight[ids[0]] = float("nan")
    with pytest.raises(GenerationError, match=r"'qwen2' computed no numbers .NaN. for prompt 1"):
        model.next_token_logprobs(["The pump", "A"], [("B",)])
    with pytest.raises(GenerationError, match="prompt 1"):
        model.generate(["The pump", "A"], max_tokens=3)
    with pytest.raises(GenerationError, match="prompt 0"):
        model.continuation_logprobs(["A", "The pump"], [" pump", " pump"])


MESSAGES = [Message("system", "You rank."), Message("user", "  Query: pump?\n"), Message("assistant", "Yes."), Message("user", "Why? ")]


@pytest.mark.parametrize("prefill", [None, "[", "Because "])
@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_conversations_are_arranged_by_the_template(name: str, prefill: str | None) -> None:
    model = made(name)
    turns = [*(MESSAGES if name == "qwen2" else MESSAGES[1:]), *([] if prefill is None else [Message("assistant", prefill)])]
    if name == "qwen2":
        text = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in turns[: None if prefill is None else -1])
        text += "<|im_start|>assistant\n" + (prefill or "")
    else:
        text = "<s>[INST] Query: pump? [/INST] Yes.</s>[INST] Why? [/INST]" + (f" {prefill}" if prefill else "")
    assert model.encode(turns) == model.tokens.tokenizer(text, add_special_tokens=False).input_ids
    assert model.count_tokens(turns) == len(model.encode(turns))


def test_where_a_template_knows_no_system_it_is_the_users() -> None:
    model = made("llama")
    joined = Message("user", "You rank.\n\nPump?")
    assert model.encode([Message("system", "You rank."), Message("user", "Pump?")]) == model.encode([joined])
    with pytest.raises(InputError, match="refuses a conversation of system"):
        model.encode([Message("system", "You rank.")])


USERS_ALONE = "{% for m in messages %}{% if m['role'] == 'user' %}<{{ m['content'] }}>{% endif %}{% endfor %}"


def test_a_turn_that_a_template_leaves_out_is_not_lost() -> None:
    model = TransformersModel(*gpt2(), name="gpt2", chat_template=USERS_ALONE)
    told = model.encode([Message("system", "RULES"), Message("user", "Why?")])
    assert model.tokens.tokenizer.decode(told) == "<RULES\n\nWhy?>"
    for turns in (
        [Message("system", "RULES")],
        [Message("user", "Why?"), Message("assistant", "So."), Message("user", "And?")],
        [Message("user", "Why?"), Message("assistant", "Because")],
        [Message("system", "RULES"), Message("user", "Why?"), Message("system", "Briefly.")],
    ):
        roles = ", ".join(m.role for m in turns[1 if turns[0].role == "system" and len(turns) > 1 else 0 :])
        with pytest.raises(
            InputError, match=rf"refuses a conversation of {roles} \(it leaves out what these turns say: (system|assistant)\)"
        ):
            model.encode(turns)


def test_another_template_is_another_model() -> None:
    own, other = (made("qwen2", chat_template=t) for t in (USERS_ALONE, USERS_ALONE.replace("<", "[")))
    assert len({made("qwen2").fingerprint, own.fingerprint, other.fingerprint}) == 3
    assert own.fingerprint == made("qwen2", chat_template=USERS_ALONE).fingerprint
    given = [TransformersModel(*qwen2(), name="q", fingerprint="files", chat_template=t).fingerprint for t in (None, USERS_ALONE)]
    assert given[0] == "files" != given[1]


def test_without_a_template_conversations_have_a_plain_form() -> None:
    model = made("gpt2")
    assert model.tokens.tokenizer.decode(model.encode(MESSAGES)) == (
        "System: You rank.\n\nUser:   Query: pump?\n\n\nAssistant: Yes.\n\nUser: Why? \n\nAssistant:"
    )
    opened = model.encode([Message("user", "Why?"), Message("assistant", "[")])
    assert model.tokens.tokenizer.decode(opened) == "User: Why?\n\nAssistant: ["
    own = TransformersModel(*gpt2(), name="gpt2", chat_template="{% for m in messages %}<{{ m['content'] }}>{% endfor %}")
    assert own.tokens.tokenizer.decode(own.encode([Message("user", "Why?")])) == "<Why?>"


CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<think>"]


@hypothesis_settings(max_examples=60)
@given(
    st.lists(st.sampled_from([*CONTROL, " ", "system\n", "gasket", "阀", "</", "s>"]), max_size=8).map("".join),
    st.sampled_from(sorted(MODELS)),
)
def test_no_content_smuggles_control_tokens(content: str, name: str) -> None:
    tokens = _tokens(name)
    control = set(tokens.tokenizer.all_special_ids) | set(tokens.tokenizer.added_tokens_decoder)
    tame, told = (tokens.encode([Message("user", f"Passage: {c}."), Message("assistant", f"So {c}")]) for c in ("a pump", content))
    assert [i for i in told if i in control] == [i for i in tame if i in control]
    text = tokens.tokenizer.decode(told, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert f"Passage: {content}." in text
    assert not set(tokens.plain(content)) & control
    assert not set(tokens.continuing(content)) & control


_known: dict[str, PromptTokens] = {}


def _tokens(name: str) -> PromptTokens:
    if name not in _known:
        _known[name] = PromptTokens(MODELS[name]()[1])
    return _known[name]


def test_a_candidate_needs_a_spelling_of_one_token() -> None:
    for name in MODELS:
        model = made(name)
        with pytest.raises(InputError, match=r"no spelling of the candidate \['gaskets and pumps', 'B B'\]"):
            model.next_token_logprobs(["The pump"], [("A",), ("gaskets and pumps", "B B")])
        assert model.next_token_logprobs(["The pump"], [("A", "many tokens long")]).logprobs.shape == (1, 1)
        with pytest.raises(InputError, match="a list of spellings"):
            model.next_token_logprobs(["The pump"], ["A"])


def test_spellings_are_the_words_as_they_stand_in_a_text() -> None:
    """In a tokenizer that marks beginnings of words, "A" behind a bracket is another token than "A" behind a space."""
    model = made("llama")
    vocabulary = model.tokens.tokenizer.get_vocab()
    prompt = "Answer with its letter: ["
    expected = next_logprobs(model.net.model, model.encode(prompt))[-1]
    scored = model.next_token_logprobs([prompt], [("A",), (" A",)]).logprobs[0]
    assert scored[0] == pytest.approx(float(max(expected[vocabulary["A"]], expected[vocabulary["▁A"]])), abs=1e-4)
    assert scored[1] == pytest.approx(float(expected[vocabulary["▁A"]]), abs=1e-4)


def test_settings_that_make_no_sense_are_refused() -> None:
    model = made("qwen2")
    for settings, told in (
        ({"max_tokens": 0}, "max_tokens must be >= 1"),
        ({"temperature": -1.0}, "temperature must be >= 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"stop": [""]}, "stop must be a list of texts"),
        ({"stop": "end"}, "stop must be a list of texts"),
    ):
        with pytest.raises(InputError, match=told):
            model.generate(["The pump"], **settings)
    with pytest.raises(InputError, match="list of prompts"):
        model.generate("The pump")
    with pytest.raises(InputError, match="list of prompts"):
        model.generate([Message("user", "Pump?")])  # type: ignore[list-item]
    with pytest.raises(InputError, match="prompt is empty"):
        model.generate([""])
    with pytest.raises(InputError, match="prompt 0 must be text or a list of Message"):
        model.generate([[]])
    assert model.generate([]) == []
    assert model.next_token_logprobs([], [("A",)]).logprobs.shape == (0, 1)


def test_models_on_disk(tmp_path: Path) -> None:
    model, tokenizer = qwen2()
    model.save_pretrained(tmp_path / "safe")
    tokenizer.save_pretrained(tmp_path / "safe")
    loaded = load_transformers(str(tmp_path / "safe"), device="cpu")
    memory = TransformersModel(model, tokenizer, name="memory")
    assert [c.text for c in loaded.generate(PROMPTS, max_tokens=9)] == [c.text for c in memory.generate(PROMPTS, max_tokens=9)]
    again = load_transformers(str(tmp_path / "safe"), device="cpu")
    half = load_transformers(str(tmp_path / "safe"), device="cpu", dtype="bfloat16")
    assert loaded.fingerprint == again.fingerprint != half.fingerprint
    assert memory.fingerprint == TransformersModel(*qwen2(), name="other").fingerprint
    assert memory.fingerprint != TransformersModel(*qwen2(seed=8), name="memory").fingerprint

    (tmp_path / "pickled").mkdir()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "pickled" / name).write_bytes((tmp_path / "safe" / name).read_bytes())
    with pytest.raises(InputError, match="holds no language model that transformers can load"):
        load_transformers(str(tmp_path / "pickled"), device="cpu")
    (tmp_path / "pickled" / "model.safetensors").write_bytes((tmp_path / "safe" / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(InputError, match="holds no language model that transformers can load"):  # a file that was cut off
        load_transformers(str(tmp_path / "pickled"), device="cpu")
    with pytest.raises(InputError, match="no folder and no hub id"):
        load_transformers("gpt2")
    with pytest.raises(InputError, match="dtype must be"):
        load_transformers(str(tmp_path / "safe"), dtype="float13")


def test_no_code_of_a_model_is_run(tmp_path: Path) -> None:
    model, tokenizer = qwen2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    auto = '"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}, "model_type": "evil",'
    (tmp_path / "config.json").write_text(config.replace('"model_type": "qwen2",', auto))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InputError, match="holds no language model"):
        load_transformers(str(tmp_path), device="cpu")


def test_threads_share_a_model() -> None:
    model = made("qwen2")
    prompts = [CORPUS[i % 5] + f" {i}" for i in range(8)]
    expected = [model.generate([p], max_tokens=8)[0].text for p in prompts]
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        found[i] = model.generate([prompts[i]], max_tokens=8)[0].text

    threads = [Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == expected


def test_half_precision_differs_only_where_two_tokens_are_near() -> None:
    model, tokenizer = qwen2()
    exact = TransformersModel(model, tokenizer, name="exact")
    half = TransformersModel(qwen2()[0].to(torch.bfloat16), tokenizer, name="half")
    for a, b, prompt in zip(
        exact.generate(PROMPTS, max_tokens=16, logprobs=True), half.generate(PROMPTS, max_tokens=16, logprobs=True), PROMPTS, strict=True
    ):
        same = next((k for k, (x, y) in enumerate(zip(a.logprobs, b.logprobs, strict=False)) if x.token != y.token), None)
        if same is not None:
            ids = [*exact.encode(prompt), *greedy(model, exact.encode(prompt), same)]
            first, second = next_logprobs(model, ids)[-1].topk(2).values.tolist()
            assert first - second < 0.2


def test_transformers_5_is_what_was_checked() -> None:
    assert int(transformers.__version__.partition(".")[0]) >= 5
