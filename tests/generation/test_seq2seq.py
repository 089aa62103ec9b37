"""Encoder-decoder models: scores and texts as one plain pass a prompt gives them, and what they can't do is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragkit.errors import ContextOverflow, GenerationError, InputError
from ragkit.generation import Choices, Message, Permutation
from ragkit.generation.local.seq2seq_model import Seq2SeqModel
from ragkit.generation.local.transformers_model import load_transformers
from ragkit.testing import check_language_model
from tests.generation.tiny_models import one_thread, t5, torch

__all__ = ["one_thread"]

PROMPTS = ["Query: pump Document: The pump has two gaskets. Relevant:", "I", "Which passage answers the question best? " * 4]


def made() -> Seq2SeqModel:
    return Seq2SeqModel(*t5(), name="tiny-t5")


def plain(model: Seq2SeqModel, prompt: str, written: list[int]) -> np.ndarray:
    """Log-probabilities (len(written) + 1, V), with no batch, no cache and no mask."""
    ids = model.tokens.tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model.model(input_ids=ids, decoder_input_ids=torch.tensor([[0, *written]]), use_cache=False).logits
    made: np.ndarray = logits[0].log_softmax(-1).numpy()
    return made


def test_scores_of_the_first_token() -> None:
    model = made()
    vocabulary = model.tokens.tokenizer.get_vocab()
    scored = model.next_token_logprobs(PROMPTS, [("true",), ("false",)])
    expected = [[plain(model, p, [])[0, vocabulary[w]] for w in ("▁true", "▁false")] for p in PROMPTS]
    np.testing.assert_allclose(scored.logprobs, expected, atol=1e-4)
    assert (scored.usage.calls, scored.usage.passes) == (3, 1)


def test_mean_scores_of_continuations() -> None:
    model = made()
    texts = ["The pump has two gaskets", "yes", "I think no"]
    scored = model.continuation_logprobs(PROMPTS, texts)
    for i, (prompt, text) in enumerate(zip(PROMPTS, texts, strict=True)):
        ids = model.tokens.plain(text)
        rows = plain(model, prompt, ids)
        assert scored.logprobs[i, 0] == pytest.approx(np.mean([rows[k, t] for k, t in enumerate(ids)]), abs=1e-4)


def test_texts_are_those_of_plain_passes() -> None:
    model = made()
    done = model.generate(PROMPTS, max_tokens=16)
    for prompt, completion in zip(PROMPTS, done, strict=True):
        written: list[int] = []
        while len(written) < 16 and (token := int(plain(model, prompt, written)[-1].argmax())) not in model.ends:
            written.append(token)
        assert completion.text == model.tokens.tokenizer.decode(written, skip_special_tokens=True)
        assert completion.usage.generated_tokens == len(written)
    drawn = [model.generate([p], max_tokens=16, temperature=1.0, seed=3)[0].text for p in PROMPTS]
    assert [c.text for c in model.generate(PROMPTS, max_tokens=16, temperature=1.0, seed=3)] == drawn


def test_batches_and_rows_that_end_early() -> None:
    model = Seq2SeqModel(*t5(), name="tiny-t5", batch_tokens=30)
    prompts = [p for p in PROMPTS for _ in range(3)]
    rules = [Choices(("yes", "no")) if i % 2 else Permutation(tuple("ABCDEF")) for i in range(9)]
    done = [c.text for c in model.generate(prompts, max_tokens=40, constraint=rules)]
    assert done == [made().generate([p], max_tokens=40, constraint=r)[0].text for p, r in zip(prompts, rules, strict=True)]
    assert all(text in ("yes", "no") for text in done[1::2])
    assert all(sorted(text.split(" > ")) == list("ABCDEF") for text in done[::2])


def test_a_lone_user_is_the_text_itself() -> None:
    model = made()
    assert model.encode([Message("user", PROMPTS[0])]) == model.encode(PROMPTS[0])
    assert model.encode(PROMPTS[0])[-1] == model.tokens.tokenizer.eos_token_id
    told = model.encode([Message("user", "The </s> pump")])
    assert told.count(1) == 1
    assert told[-1] == 1
    turns = model.encode([Message("system", "You rank."), Message("user", "Pump?")])
    assert turns == model.tokens.tokenizer("System: You rank.\n\nUser: Pump?\n\nAssistant:").input_ids


def test_what_it_can_not_do_is_refused() -> None:
    model = made()
    assert "prefill" not in model.features
    with pytest.raises(InputError, match="'prefill'"):
        model.generate([[Message("user", "Rank."), Message("assistant", "[")]])
    small = Seq2SeqModel(*t5(), name="tiny-t5", context=20)
    with pytest.raises(ContextOverflow, match="prompt 2"):
        small.next_token_logprobs(PROMPTS[1:2] * 2 + PROMPTS[2:], [("true",)])
    assert model.context is None
    broken = made()
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[broken.encode("I")[0]] = float("nan")  # of the decoder's logits too
    with pytest.raises(GenerationError, match=r"'tiny-t5' computed no numbers \(NaN\) for prompt 0"):
        broken.next_token_logprobs(PROMPTS[:1], [("true",)])
    with pytest.raises(InputError, match="lacks the feature 'schema'"):
        model.generate(PROMPTS[:1], schema={"type": "boolean"})


def test_what_is_written_has_its_own_limit_and_sentence() -> None:
    small = Seq2SeqModel(*t5(), name="tiny-t5", context=20)
    with pytest.raises(InputError, match="max_tokens is 50, but 'tiny-t5' writes at most 20 tokens; ask for fewer"):
        small.generate(["I"], max_tokens=50)
    with pytest.raises(InputError, match="max_tokens is 21"):
        small.stream("I", max_tokens=21)
    assert small.generate([" ".join(["I"] * 19)], max_tokens=20)[0].usage.generated_tokens == 20  # a full prompt takes nothing from it
    with pytest.raises(ContextOverflow, match="prompt 1 has 21 tokens, but") as error:
        small.generate(["I", " ".join(["I"] * 20)], max_tokens=1)
    assert (error.value.tokens, error.value.limit) == (21, 20)
    assert small.continuation_logprobs(["I"], [" ".join(["yes"] * 20)]).logprobs.shape == (1, 1)
    with pytest.raises(ContextOverflow, match="continuation 1 has 21 tokens, but 'tiny-t5' writes at most 20; shorten it") as error:
        small.continuation_logprobs(["I", "I"], ["yes", " ".join(["yes"] * 21)])
    assert (error.value.tokens, error.value.limit) == (21, 20)


def test_logits_of_continuations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = made(), [" ".join(["yes"] * 20), "The pump has two gaskets", "I", "no", "yes"]
    wanted = model.continuation_logprobs(["I"] * 5, texts).logprobs
    shapes: list[tuple[int, ...]] = []
    model.model.register_forward_pre_hook(lambda _, __, given: shapes.append(tuple(given["decoder_input_ids"].shape)), with_kwargs=True)
    width = model.model.get_input_embeddings().weight.shape[0]
    monkeypatch.setattr("ragkit.generation.local.batches.SCORES", 45 * width, raising=False)  # two rows of the longest, 20 tokens
    np.testing.assert_allclose(model.continuation_logprobs(["I"] * 5, texts).logprobs, wanted, atol=1e-4)
    assert [rows for rows, _ in shapes] == [2, 2, 1]
    assert all(rows * positions <= 45 for rows, positions in shapes)


def test_another_template_is_another_model() -> None:
    templates = [None, "{{ messages[0]['content'] }}", "Q: {{ messages[0]['content'] }}"]
    assert len({Seq2SeqModel(*t5(), name="tiny-t5", fingerprint="files", chat_template=t).fingerprint for t in templates}) == 3


def test_it_keeps_the_promises_of_a_language_model() -> None:
    check_language_model(made())


def test_loading_tells_the_kinds_apart(tmp_path: Path) -> None:
    model, tokenizer = t5()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_transformers(str(tmp_path), device="cpu", attention="eager")
    assert isinstance(loaded, Seq2SeqModel)
    assert [c.text for c in loaded.generate(PROMPTS, max_tokens=9)] == [c.text for c in made().generate(PROMPTS, max_tokens=9)]
