"""Drafts in transformers' own generate: the text is that of plain generate, and what can't be drafted for is refused by name."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError, MissingDependencyError
from ragkit.indexes.ngram.tokens import TokenSuffixes
from tests.generation.drafters import Free, Scattered
from tests.generation.test_speculative import model_of
from tests.generation.test_speculative_sampling import LENGTH, PROMPT, SAMPLING, V, exact, p_value, tiny
from tests.generation.tiny_models import CORPUS, gpt2, llama, mistral, one_thread, qwen2, t5, torch, transformers

from ragkit.generation.speculative import transformers_generate as module  # isort: skip
from ragkit.generation.speculative import transformers_route as route  # isort: skip
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified  # isort: skip
from ragkit.generation.speculative.draft_model import DraftModel  # isort: skip
from ragkit.generation.speculative.drafters import REST, Fused, SuffixAutomatonDrafter, TokenRecycling, TriGramDrafter  # isort: skip
from ragkit.generation.speculative.fused import Fused as _Fused  # isort: skip
from ragkit.generation.speculative.report import Speculation  # isort: skip
from ragkit.generation.speculative.speculator import Speculator  # isort: skip
from ragkit.generation.speculative.transformers_generate import speculative_generate  # isort: skip
from ragkit.generation.types import Sources  # isort: skip
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria, StopStringCriteria  # isort: skip

__all__ = ["one_thread"]

SHAPES = {"llama": llama, "qwen2": qwen2}
WORDS = " ".join(CORPUS).split()


def inputs(tokenizer: Any, text: str) -> dict[str, Any]:
    return dict(tokenizer(text, return_tensors="pt"))


def prompts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 30)))) for _ in range(count)]


def free(model: Any, drafter: Any, ends: Sequence[int]) -> Any:
    """Let every draft be verified, however long passes take."""
    drafters = tuple(_Fused(drafter))
    width = model.get_input_embeddings().weight.shape[0]
    made = Speculator(drafters, width=width, ends=frozenset(ends), trees=False, timed=Free)
    module._KNOWN[model] = (tuple(map(id, drafters)), frozenset(ends)), made
    return drafter


def ends_of(model: Any) -> list[int]:
    return [] if model.generation_config.eos_token_id is None else [model.generation_config.eos_token_id]


def both(model: Any, tokenizer: Any, text: str, drafter: Any, **how: Any) -> tuple[list[int], Speculation]:
    """The tokens that plain generate writes, after a look that drafts give the same, and what they did."""
    how = {"do_sample": False, "max_new_tokens": 40, **how}
    asked = inputs(tokenizer, text)
    plain = model.generate(**asked, **how)
    reports: list[Speculation] = []
    found = model.generate(
        **asked, **how, custom_generate=speculative_generate, drafter=drafter, text_tokenizer=tokenizer, report=reports.append
    )  # fmt: skip
    assert found.tolist() == plain.tolist()
    written = plain[0, asked["input_ids"].shape[1] :].tolist()
    assert reports[0].tokens == len(written) - (written[-1] in ends_of(model))
    assert reports[0].passes <= max(0, len(written) - 1)
    assert "_get_candidate_generator" not in vars(model)
    return written, reports[0]


def drafters_for(tokenizer: Any) -> dict[str, Any]:
    corpus = TokenSuffixes.build([tokenizer(t, add_special_tokens=False).input_ids for t in CORPUS])
    return {
        "suffix automaton": SuffixAutomatonDrafter(),
        "REST": REST(corpus),
        "token recycling": TokenRecycling(),
        "tri-grams": TriGramDrafter(slots=1 << 10),
        "fused": Fused(SuffixAutomatonDrafter(), REST(corpus), TokenRecycling()),
    }


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("name", ["suffix automaton", "REST", "token recycling", "tri-grams", "fused"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_text_is_that_of_plain_generate(shape: str, name: str, penalty: float) -> None:
    model, tokenizer = SHAPES[shape]()
    drafter = free(model, drafters_for(tokenizer)[name], ends_of(model))
    drafted = 0
    for text in prompts(5, 3):
        drafted += both(model, tokenizer, text, drafter, repetition_penalty=penalty)[1].drafted
    assert drafted > 20 or name == "REST"


@pytest.mark.parametrize("make", [gpt2, mistral])
def test_other_shapes(make: Any) -> None:
    """Learnt positions; a window that slides, past its end."""
    model, tokenizer = make()
    drafter = free(model, Fused(SuffixAutomatonDrafter(), TokenRecycling()), ends_of(model))
    assert sum(both(model, tokenizer, text, drafter)[1].drafted for text in prompts(4, 5)) > 20


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0], ids=["useless", "mixed", "perfect"])
def test_perfect_and_useless_drafts(shape: str, share: float) -> None:
    model, tokenizer = SHAPES[shape]()
    for text in prompts(4, 7):
        asked = inputs(tokenizer, text)["input_ids"]
        right = model.generate(asked, do_sample=False, max_new_tokens=40)[0, asked.shape[1] :].tolist()
        spec = Scattered({tuple(asked[0].tolist()): right}, share, width=tokenizer.vocab_size, chain=True)
        written, report = both(model, tokenizer, text, free(model, spec, ends_of(model)))
        accepted = sum(report.accepted.values())
        assert written == right
        if share == 1 and len(right) > 10:
            assert report.passes < len(right) // 2
            assert accepted == report.drafted
        if share == 0:
            assert accepted < 4
        assert len(right) == 1 + report.passes + accepted


def test_a_text_that_repeats_itself_is_drafted_from_itself_and_from_sources() -> None:
    """Timed as it is: without the tests' free passes."""
    model, tokenizer = repeating()
    written, report = both(model, tokenizer, CORPUS[0], SuffixAutomatonDrafter(), max_new_tokens=120)
    assert len(set(written)) < 60
    assert sum(report.accepted.values()) > 20
    assert report.text == "".join(p.text for p in report.pieces)
    passages = (CORPUS[1], tokenizer.decode(written[:60]))
    reports: list[Speculation] = []
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": 60, "drafter": free(model, SuffixAutomatonDrafter(), ends_of(model))}
    how |= {"sources": Sources(passages), "text_tokenizer": tokenizer, "report": reports.append}
    model.generate(**inputs(tokenizer, CORPUS[0]), custom_generate=speculative_generate, **how)
    assert any(run.passage == 1 for run in reports[0].runs)
    for run in reports[0].runs:
        if run.passage is not None:
            assert run.at is not None
            assert passages[run.passage][run.at : run.at + len(run.text)] == run.text


def repeating() -> tuple[Any, Any]:
    """A model whose greedy text soon runs in circles: its weights are less sharp."""
    model, tokenizer = qwen2(seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.div_(2)
    model.generation_config.eos_token_id = None
    return model, tokenizer


@pytest.mark.parametrize("shape", SHAPES)
def test_stop_strings_inside_a_draft(shape: str) -> None:
    """transformers looks for them at the end of a pass alone."""
    model, tokenizer = SHAPES[shape]()
    stopped = 0
    for text in prompts(6, 11):
        asked = inputs(tokenizer, text)["input_ids"]
        right = model.generate(asked, do_sample=False, max_new_tokens=40)[0, asked.shape[1] :].tolist()
        spec = Scattered({tuple(asked[0].tolist()): right}, 1.0, width=tokenizer.vocab_size, chain=True)
        whole = tokenizer.decode(right)
        for at in (2, len(whole) // 2):
            criteria = [StopStringCriteria(tokenizer, [whole[at : at + 3] or "?"])]
            written, _ = both(model, tokenizer, text, free(model, spec, ends_of(model)), stopping_criteria=criteria)
            stopped += len(written) < len(right)
    assert stopped > 3


@pytest.mark.parametrize("shape", SHAPES)
def test_an_end_and_a_limit_inside_a_draft(shape: str) -> None:
    model, tokenizer = SHAPES[shape]()
    for text in prompts(4, 13):
        asked = inputs(tokenizer, text)["input_ids"]
        right = model.generate(asked, do_sample=False, max_new_tokens=40, eos_token_id=None)[0, asked.shape[1] :].tolist()
        for limit in (1, 2, 3, 7):
            spec = Scattered({tuple(asked[0].tolist()): right}, 1.0, width=tokenizer.vocab_size, chain=True)
            written, report = both(model, tokenizer, text, free(model, spec, ends_of(model)), max_new_tokens=limit)
            assert len(written) <= limit
            assert report.drafted <= max(0, limit - 2)
        end = right[9]
        spec = Scattered({tuple(asked[0].tolist()): right}, 1.0, width=tokenizer.vocab_size, chain=True)
        how = {"do_sample": False, "max_new_tokens": 40, "eos_token_id": end}
        plain = model.generate(asked, **how)
        found = model.generate(asked, **how, custom_generate=speculative_generate, drafter=free(model, spec, [end]))
        assert found.tolist() == plain.tolist()
        assert found[0, -1] == end


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.ended = 0

    def put(self, value: Any) -> None:
        self.given.append(value.reshape(-1).tolist())

    def end(self) -> None:
        self.ended += 1


def test_streaming_is_that_of_plain_generate() -> None:
    model, tokenizer = qwen2()
    for text in prompts(4, 17):
        asked = inputs(tokenizer, text)
        drafter = free(model, Fused(SuffixAutomatonDrafter(), TokenRecycling()), ends_of(model))
        plain, found = Sink(), Sink()
        whole = model.generate(**asked, do_sample=False, max_new_tokens=40, streamer=plain)
        model.generate(**asked, do_sample=False, max_new_tokens=40, custom_generate=speculative_generate, drafter=drafter, token_sink=found)
        assert found.given == plain.given
        assert list(itertools.chain(*found.given)) == whole[0].tolist()
        assert found.ended == plain.ended == 1
        texts = []
        for name, more in (("streamer", {}), ("token_sink", {"custom_generate": speculative_generate, "drafter": drafter})):
            streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
            model.generate(**asked, do_sample=False, max_new_tokens=40, **{name: streamer}, **more)
            texts.append(list(streamer))
        assert texts[0] == texts[1]


class Watching:
    """Another drafter's drafts; keeps what it is told, and looks at it."""

    name: ClassVar[str] = "watching"
    lossless: ClassVar[bool] = True

    def __init__(self, other: Any) -> None:
        self.other, self.written, self.passes, self.right = other, list[int](), 0, 0

    def begin(self, request: Request) -> Watching:
        made = Watching(self.other.begin(request))
        self.made = made
        made.prompt = list(request.prompt)
        return made

    def propose(self, budget: Budget) -> Draft:
        assert self.written  # the first token is chosen without a draft
        draft: Draft = self.other.propose(budget)
        return draft

    def observe(self, verified: Verified) -> None:
        self.other.observe(verified)
        if not self.written:
            assert len(verified.tokens) == len(verified.path) == 0
            assert len(verified.written) == 1
        else:
            assert verified.tokens[0] == self.written[-1]
            assert verified.parents.tolist() == list(range(-1, len(verified.tokens) - 1))
            assert len(verified.logits) == len(verified.tokens)
            taken = len(verified.written) - 1
            assert list(verified.path) == list(range(taken + 1))
            assert verified.tokens[1 : taken + 1].tolist() == list(verified.written[:-1])
            assert verified.logits[: taken + 1].argmax(-1).tolist() == list(verified.written)
            self.right += taken
            self.passes += 1
        self.written += verified.written

    def passage_of(self, place: int) -> None:
        """In no passage."""


@pytest.mark.parametrize("shape", SHAPES)
def test_drafters_are_told_what_was_written_and_nothing_else(shape: str) -> None:
    model, tokenizer = SHAPES[shape]()
    right = 0
    for text in prompts(5, 19):
        asked = inputs(tokenizer, text)["input_ids"]
        known = model.generate(asked, do_sample=False, max_new_tokens=30)[0, asked.shape[1] :].tolist()
        spec = Watching(Scattered({tuple(asked[0].tolist()): known}, 0.7, width=tokenizer.vocab_size, chain=False))
        for penalty in (1.0, 1.3):
            written, report = both(model, tokenizer, text, free(model, spec, ends_of(model)), max_new_tokens=30, repetition_penalty=penalty)
            assert spec.made.written == written
            assert spec.made.prompt == asked[0].tolist()
            assert (spec.made.passes, spec.made.right) == (report.passes, sum(report.accepted.values()))
            right += spec.made.right
    assert right > 30


class Until(transformers.StoppingCriteria):  # type: ignore[misc]
    """Stops at a token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
        return input_ids[:, -1] == self.token


def test_criteria_of_ones_own_are_asked_of_every_drafted_token() -> None:
    model, tokenizer = SMALL
    for text in prompts(4, 23):
        asked = inputs(tokenizer, text)["input_ids"]
        right = model.generate(asked, do_sample=False, max_new_tokens=40)[0, asked.shape[1] :].tolist()
        spec = Scattered({tuple(asked[0].tolist()): right}, 1.0, width=tokenizer.vocab_size, chain=True)
        size, at = asked.shape[1], len(right) // 2
        for one in (Until(right[at]), MaxLengthCriteria(size + at), EosTokenCriteria([right[at]])):
            written, _ = both(model, tokenizer, text, free(model, spec, ends_of(model)), stopping_criteria=[one])
            assert len(written) < len(right)


@given(seed=st.integers(0, 10**6), penalty=st.sampled_from([1.0, 1.1, 1.5]), count=st.integers(1, 50), ngram=st.sampled_from([0, 3]))
@settings(max_examples=25, deadline=None)
def test_processors_are_asked_of_every_drafted_token(seed: int, penalty: float, count: int, ngram: int) -> None:
    model, tokenizer = SMALL
    drafter = free(model, Fused(SuffixAutomatonDrafter(), TokenRecycling()), ends_of(model))
    how = {"repetition_penalty": penalty, "max_new_tokens": count, "no_repeat_ngram_size": ngram, "min_new_tokens": count // 2}
    both(model, tokenizer, prompts(1, seed)[0], drafter, **how)


SMALL = qwen2()


def test_scores_and_a_cache_of_ones_own() -> None:
    model, tokenizer = SMALL
    asked = inputs(tokenizer, CORPUS[0])
    drafter = free(model, Fused(SuffixAutomatonDrafter(), TokenRecycling()), ends_of(model))
    how = {"do_sample": False, "max_new_tokens": 20, "return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    plain = model.generate(**asked, **how)
    found = model.generate(**asked, **how, custom_generate=speculative_generate, drafter=drafter)
    assert found.sequences.tolist() == plain.sequences.tolist()
    for name in ("scores", "logits"):
        assert torch.allclose(torch.cat(getattr(found, name)), torch.cat(getattr(plain, name)), atol=1e-3)
    caches = [transformers.DynamicCache(config=model.config) for _ in range(2)]
    how = {"do_sample": False, "max_new_tokens": 20}
    model.generate(**asked, **how, past_key_values=caches[0])
    model.generate(**asked, **how, past_key_values=caches[1], custom_generate=speculative_generate, drafter=drafter)
    assert caches[0].get_seq_length() == caches[1].get_seq_length()
    for a, b in zip(caches[0].layers, caches[1].layers, strict=True):
        assert torch.allclose(a.keys, b.keys, atol=1e-4)
        assert torch.allclose(a.values, b.values, atol=1e-4)


@pytest.mark.parametrize("name", ["suffix automaton", "stubborn", pytest.param("draft model", marks=pytest.mark.slow)])
def test_drawn_texts_follow_the_model(name: str) -> None:
    """Guesses without logits: transformers draws each token from the model, and looks whether it was guessed."""
    model = tiny(1)
    made: dict[str, Any] = {
        "suffix automaton": SuffixAutomatonDrafter(),
        "stubborn": Stubborn(),
        "draft model": DraftModel(tiny(5), depth=2),
    }
    assert p_value(drawn(model.net.model, free(model.net.model, made[name], [])), exact(model)) > 1e-3


class Stubborn:
    """Drafts one token for ever."""

    name: ClassVar[str] = "stubborn"
    lossless: ClassVar[bool] = True

    def begin(self, request: Request) -> Stubborn:
        return self

    def propose(self, budget: Budget) -> Draft:
        return Draft.chain([3] * min(budget.nodes, budget.depth))

    def observe(self, verified: Verified) -> None:
        """Nothing is learnt."""

    def passage_of(self, place: int) -> None:
        """In no passage."""


def drawn(net: Any, drafter: Any) -> np.ndarray:
    """How often each text of three tokens was written, among eight hundred."""
    torch.manual_seed(3)
    prompt = torch.tensor([PROMPT])
    how: dict[str, Any] = {"do_sample": True, "temperature": SAMPLING.temperature, "top_k": 0, "top_p": 1.0, "max_new_tokens": LENGTH}
    how |= {"pad_token_id": 0, "custom_generate": speculative_generate, "drafter": drafter}
    counts = np.zeros((V,) * LENGTH)
    for _ in range(800):
        counts[tuple(net.generate(prompt, **how)[0, len(PROMPT) :].tolist())] += 1
    return counts


def refused(match: str, *, model: Any = None, text: Any = CORPUS[0], kind: type[Exception] = InputError, **how: Any) -> None:
    asked = dict(SMALL[1](text, return_tensors="pt", padding=True)) if model is None else {"input_ids": torch.tensor([[5, 6, 7]])}
    model = SMALL[0] if model is None else model
    with pytest.raises(kind, match=match):
        model.generate(**asked, **{"do_sample": False, "max_new_tokens": 4, "custom_generate": speculative_generate, **how})
    assert "_get_candidate_generator" not in vars(model)


class Lossy(SuffixAutomatonDrafter):
    name: ClassVar[str] = "lossy"
    lossless: ClassVar[bool] = False


class Heads(SuffixAutomatonDrafter):
    name: ClassVar[str] = "heads"
    reads_hidden: ClassVar[bool] = True


def test_what_cannot_be_drafted_for_is_refused_by_name() -> None:
    refused("2 texts were to be written at once .* call generate for each", text=CORPUS[:2])
    refused("3 texts were to be written at once", num_return_sequences=3, do_sample=True)
    refused("2 texts were to be written at once", num_beams=2)
    refused("not with contrastive search", penalty_alpha=0.6, top_k=4)
    refused("'lossy' changes what is written", drafter=Lossy())
    refused("'heads' goes by hidden states", drafter=Heads())
    refused("speculate must be 'auto'", drafter="fast")
    refused("tuple is no drafter", drafter=("REST",))
    refused("give the model's tokenizer as text_tokenizer=", sources=Sources(("a",)))
    refused("give the model's tokenizer as text_tokenizer=", report=print)
    refused("UnbatchedClassifierFreeGuidanceLogitsProcessor remembers", guidance_scale=2.0)
    refused("'llama' can't draft here: it cuts texts into other tokens", drafter=DraftModel(model_of("llama")), text_tokenizer=SMALL[1])
    drawing = free(SMALL[0], DraftModel(model_of("qwen2", seed=9), drawn=True), ends_of(SMALL[0]))
    refused("'draft model' draws its tokens, and here drafts are guesses", drafter=drawing, do_sample=True, max_new_tokens=9)
    model, tokenizer = SMALL
    assert both(model, tokenizer, CORPUS[0], drawing)[1].drafted > 0  # greedy drafts are guesses
    embedded = model.get_input_embeddings()(torch.tensor([[5, 6]]))
    with pytest.raises(InputError, match="give input_ids in place of inputs_embeds"):
        model.generate(inputs_embeds=embedded, custom_generate=speculative_generate, max_new_tokens=3)


def test_caches_that_cannot_forget_are_refused_by_name() -> None:
    model, config = SMALL[0], SMALL[0].config
    for name in ("static", "offloaded"):
        refused(f"cache_implementation is '{name}'", cache_implementation=name)
    quantised = transformers.GenerationConfig(cache_implementation="quantized")
    with pytest.raises(InputError, match="cache_implementation is 'quantized'"):  # generate itself asks for a package of quantisers before
        module._check_cache(model, quantised, {"use_cache": True})
    refused("the StaticCache given has layers StaticLayer", past_key_values=transformers.StaticCache(config=config, max_cache_len=64))
    made = transformers.QuantizedCache(backend="fp8", config=config)
    refused("the QuantizedCache given has layers Fp8QuantizedLayer", past_key_values=made)
    refused("leave use_cache at True", use_cache=False)
    refused("leave prefill_chunk_size out", prefill_chunk_size=4)


def test_a_begun_cache_is_refused_for_transformers_own_loop_goes_wrong() -> None:
    model, tokenizer = SMALL
    begun = transformers.DynamicCache(config=model.config)
    asked = inputs(tokenizer, CORPUS[0])
    with torch.no_grad():
        model(input_ids=asked["input_ids"][:, :3], past_key_values=begun)
    refused("the cache given holds 3 tokens", past_key_values=copy.deepcopy(begun))
    how = {"do_sample": False, "max_new_tokens": 20}
    plain = model.generate(**asked, **how)
    assert model.generate(**asked, **how, past_key_values=copy.deepcopy(begun)).tolist() == plain.tolist()
    looked_up = model.generate(**asked, **how, past_key_values=begun, prompt_lookup_num_tokens=3)
    assert looked_up.tolist() != plain.tolist()  # where this is equal one day, the refusal can go


def test_models_that_cannot_forget_are_refused_by_name() -> None:
    small = {"vocab_size": 640, "hidden_size": 32, "num_hidden_layers": 2}
    mamba = transformers.MambaForCausalLM(transformers.MambaConfig(**small, state_size=4)).eval()
    refused("MambaForCausalLM can't be given drafts: its recurrent layers", model=mamba)
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    moving = transformers.LlamaConfig(**small, intermediate_size=48, num_attention_heads=2, rope_parameters=rope)
    refused("LlamaForCausalLM can't be given drafts: its rotary embedding", model=transformers.LlamaForCausalLM(moving).eval())
    refused("T5ForConditionalGeneration is an encoder-decoder model", model=t5()[0])


class OwnLoop(transformers.Qwen2ForCausalLM):  # type: ignore[misc]
    """A model that brings its own loop."""

    def _assisted_decoding(self, *args: Any, **more: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize("name", ["_assisted_decoding", "_get_candidate_generator"])
def test_a_transformers_without_the_way_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(transformers.GenerationMixin, name)
        missing = f"transformers {transformers.__version__} can't be given drafts: its GenerationMixin has no {name}; write with ragkit.llm"
        refused(missing, kind=MissingDependencyError)
        refused(missing, kind=MissingDependencyError)  # every time
    with monkeypatch.context() as patch:
        patch.setattr(transformers.GenerationMixin, "_assisted_decoding", lambda self, more: None)
        refused("on a tiny model it failed .TypeError", kind=MissingDependencyError)
    both(*SMALL, CORPUS[0], SuffixAutomatonDrafter())


def test_a_transformers_that_behaves_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = transformers.GenerationMixin._assisted_decoding

    def greedy(self: Any, input_ids: Any, **more: Any) -> Any:
        return self._sample(input_ids, **more)

    def careless(self: Any, input_ids: Any, **more: Any) -> Any:
        return whole(self, input_ids, **more)[:, :-1]

    def mute(self: Any, input_ids: Any, streamer: Any = None, **more: Any) -> Any:
        return whole(self, input_ids, **more)

    for other, why in ((greedy, "took other drafts"), (careless, "wrote another text"), (mute, "streamed other tokens")):
        with monkeypatch.context() as patch:
            patch.setattr(transformers.GenerationMixin, "_assisted_decoding", other)
            refused(f"on a tiny model it {why}", kind=MissingDependencyError)
    refused("OwnLoop has a _assisted_decoding of its own", model=OwnLoop(SMALL[0].config).eval())
    both(*SMALL, CORPUS[0], SuffixAutomatonDrafter())


def test_the_look_at_transformers_changes_nothing_else() -> None:
    model, tokenizer = SMALL
    route._try.cache_clear()
    asked = inputs(tokenizer, CORPUS[0])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        model.generate(**asked, do_sample=False, max_new_tokens=3, custom_generate=speculative_generate)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(3), expected)
    assert route._try.cache_info().misses == 1
    model.generate(**asked, do_sample=False, max_new_tokens=3, custom_generate=speculative_generate)
    assert route._try.cache_info().misses == 1


class Asking(Sink):
    """Calls the model that is writing: with prompt lookup of transformers' own, and with drafts."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls, self.texts = calls, list[Any]()

    def put(self, value: Any) -> None:
        super().put(value)
        if len(self.given) <= 2:
            self.texts += [call() for call in self.calls]


def test_other_calls_of_a_model_that_is_writing_get_their_own_candidates() -> None:
    model, tokenizer = SMALL
    asked = inputs(tokenizer, CORPUS[0])
    drafter = free(model, Fused(SuffixAutomatonDrafter(), TokenRecycling()), ends_of(model))

    def write(**more: Any) -> Any:
        return model.generate(**asked, do_sample=False, max_new_tokens=24, **more).tolist()

    plain = write()
    ways: list[dict[str, Any]] = [{"prompt_lookup_num_tokens": 3}, {"custom_generate": speculative_generate, "drafter": drafter}]
    sink = Asking([partial(write, **way) for way in ways])
    assert write(**ways[1], token_sink=sink) == plain
    assert sink.texts == [plain] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: write(**ways[n % 2]), range(16))) == [plain] * 16
    assert "_get_candidate_generator" not in vars(model)


def test_a_method_of_ones_own_on_the_model_is_left_there() -> None:
    model, tokenizer = qwen2()
    asked = inputs(tokenizer, CORPUS[0])
    usual, calls = model._get_candidate_generator, []

    def own(**given: Any) -> Any:
        calls.append(given)
        return usual(**given)

    model._get_candidate_generator = own
    how = {"do_sample": False, "max_new_tokens": 9}
    sink = Asking([partial(model.generate, **asked, **how, prompt_lookup_num_tokens=3)])
    model.generate(**asked, **how, custom_generate=speculative_generate, token_sink=sink)
    assert vars(model)["_get_candidate_generator"] is own
    assert len(calls) == 2  # those of the sink


def test_a_failure_leaves_the_model_as_it_was() -> None:
    model, tokenizer = SMALL

    class Full(Sink):
        def put(self, value: Any) -> None:
            super().put(value)
            if len(self.given) == 3:
                raise OSError("full")

    with pytest.raises(OSError, match="full"):
        model.generate(
            **inputs(tokenizer, CORPUS[0]), do_sample=False, max_new_tokens=9, custom_generate=speculative_generate, token_sink=Full()
        )
    assert "_get_candidate_generator" not in vars(model)
    both(model, tokenizer, CORPUS[0], SuffixAutomatonDrafter())


def test_what_was_learnt_is_kept_for_the_same_drafter() -> None:
    model, tokenizer = SMALL
    one = SuffixAutomatonDrafter()
    both(model, tokenizer, CORPUS[0], one)
    first = module._KNOWN[model][1]
    both(model, tokenizer, CORPUS[1], one)
    assert module._KNOWN[model][1] is first
    both(model, tokenizer, CORPUS[1], SuffixAutomatonDrafter())
    assert module._KNOWN[model][1] is not first
    for preset in ("auto", "passages", "corpus"):
        both(model, tokenizer, CORPUS[1], preset)
