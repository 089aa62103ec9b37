"""Constraints and schemas: whatever the model and the draw, what comes out is what was allowed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.generation import Choices, Message, Permutation
from ragkit.generation.local.constrained import ConstraintGuide, Pieces
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.transformers_model import TransformersModel
from tests.generation.tiny_models import byte_tokenizer, gpt2, llama, next_logprobs, one_thread, qwen2, sentence_tokenizer

__all__ = ["one_thread"]

_known: dict[str, TransformersModel] = {}


def model_of(kind: Any) -> TransformersModel:
    if kind.__name__ not in _known:
        _known[kind.__name__] = TransformersModel(*kind(), name=kind.__name__)
    return _known[kind.__name__]


@hypothesis_settings(max_examples=40)
@given(
    kind=st.sampled_from([qwen2, llama]),
    n=st.integers(1, 12),
    begin=st.sampled_from(["", "["]),
    separator=st.sampled_from([" > ", "\n", ", "]),
    temperature=st.sampled_from([0.0, 0.7, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_a_permutation_is_always_one(kind: Any, n: int, begin: str, separator: str, temperature: float, seed: int) -> None:
    model = model_of(kind)
    pieces = tuple(f"[{i}]" for i in range(1, n + 1))
    prompt = [Message("user", "Rank."), Message("assistant", begin)] if begin else [Message("user", "Rank.")]
    rule = Permutation(pieces, separator=separator, begin=begin)
    (done,) = model.generate([prompt], max_tokens=200, temperature=temperature, seed=seed, constraint=rule, logprobs=True)
    assert sorted((begin + done.text).split(separator)) == sorted(pieces)
    assert done.finish == "stop"
    assert done.usage.passes == done.usage.generated_tokens == len(done.logprobs)  # every token is a pass of its own


@dataclass(frozen=True)
class Words:
    """Up to so many of the pieces, end to end, at least one."""

    pieces: tuple[str, ...]
    most: int

    def after(self, written: Sequence[str]) -> Sequence[str]:
        return self.pieces if len(written) < self.most else ()


def texts_of(rule: Any, written: tuple[str, ...] = ()) -> set[str]:
    following = rule.after(written)
    return {t for piece in following for t in texts_of(rule, (*written, piece))} if following else {"".join(written)}


@hypothesis_settings(max_examples=60)
@given(
    kind=st.sampled_from([qwen2, llama, gpt2]),
    pieces=st.lists(st.text(alphabet="ab 阀1", min_size=1, max_size=4), min_size=1, max_size=5, unique=True),
    most=st.integers(1, 3),
    temperature=st.sampled_from([0.0, 1.0, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_only_allowed_texts_are_written(kind: Any, pieces: list[str], most: int, temperature: float, seed: int) -> None:
    rule = Words(tuple(pieces), most)
    (done,) = model_of(kind).generate(["The"], max_tokens=100, temperature=temperature, seed=seed, constraint=rule)
    assert done.text in texts_of(rule)
    assert done.finish == "stop"


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), sentence_tokenizer()])
def test_a_piece_whose_tokens_begin_anothers_can_be_reached(tokenizer: Any) -> None:
    tokens = PromptTokens(tokenizer)
    pieces, ends = Pieces(tokens, goes_on=True), frozenset([tokenizer.eos_token_id])
    short, long = "xz", "xzqy"
    a, b = pieces.of(short, first=True), pieces.of(long, first=True)
    assert b[: len(a)] == a
    assert len(b) > len(a)

    def walk(text: str, finish: bool) -> ConstraintGuide:
        guide = ConstraintGuide(Choices((short, long)), pieces, ends)
        for token in pieces.of(text, first=True):
            assert token in guide.allowed()
            guide.take(token)
        if finish:
            assert tokenizer.eos_token_id in guide.allowed()
            guide.take(tokenizer.eos_token_id)
        return guide

    for text, finish in ((short, True), (long, False)):
        guide = walk(text, finish)
        assert guide.done
        assert guide.text == text
    assert set(walk(short, False).allowed()) == {tokenizer.eos_token_id, b[len(a)]}

    model = model_of(qwen2 if "Ġt" in tokenizer.get_vocab() else llama)
    seen = {model.generate(["The"], max_tokens=20, temperature=3.0, seed=s, constraint=Choices((short, long)))[0].text for s in range(60)}
    assert seen == {short, long}


def test_the_next_piece_may_begin_as_the_last_one_would_go_on() -> None:
    """After "a", is "b" the rest of "ab", or the next piece? Both readings are followed until one is left."""
    tokens = PromptTokens(byte_tokenizer())
    pieces = Pieces(tokens, goes_on=True)

    class Rule:
        def after(self, written: Sequence[str]) -> Sequence[str]:
            if not written:
                return ("zq", "zqx")
            return ("xw",) if list(written) == ["zq"] else ("v",) if list(written) == ["zqx"] else ()

    for wanted in (["zq", "xw"], ["zqx", "v"]):
        guide = ConstraintGuide(Rule(), pieces, frozenset())
        for piece in wanted:
            for token in pieces.of(piece, first=False):
                assert token in guide.allowed()
                guide.take(token)
        assert guide.done
        assert guide.text == "".join(wanted)


def test_the_most_probable_choice_token_by_token() -> None:
    model = model_of(qwen2)
    choices = ("yes", "no", "true", "false")
    ids = model.encode("The pump")
    spelled = {c: model.tokens.continuing(c) for c in choices}
    row = next_logprobs(model.net.model, ids)[-1]
    first = max({t[0] for t in spelled.values()}, key=lambda t: float(row[t]))
    (done,) = model.generate(["The pump"], max_tokens=10, constraint=Choices(choices), logprobs=True)
    assert spelled[done.text][0] == first
    assert done.logprobs[0].logprob == pytest.approx(float(row[first]), abs=1e-4)  # of the whole vocabulary


def test_each_prompt_its_own_constraint() -> None:
    model = model_of(qwen2)
    rules = [Permutation(tuple("ABCDE"[:n]), separator=" > ") for n in (2, 5, 3)]
    prompts = ["The pump", "Query: gasket? " * 6, "A"]
    together = model.generate(prompts, max_tokens=40, constraint=rules, temperature=1.0, seed=5)
    assert [len(c.text.split(" > ")) for c in together] == [2, 5, 3]
    alone = [model.generate([p], max_tokens=40, constraint=r, temperature=1.0, seed=5)[0].text for p, r in zip(prompts, rules, strict=True)]
    assert [c.text for c in together] == alone


def test_a_limit_cuts_behind_a_whole_piece() -> None:
    rule = Permutation(("[1]", "[2]", "[3]"))
    whole = model_of(llama).generate(["Rank: "], max_tokens=60, constraint=rule)[0]
    for limit in range(1, whole.usage.generated_tokens):
        (cut,) = model_of(llama).generate(["Rank: "], max_tokens=limit, constraint=rule)
        assert cut.finish == "length"
        assert whole.text.startswith(cut.text)
        assert cut.text == "" or cut.text.endswith("]")


def test_constraints_that_can_not_be_followed_are_refused() -> None:
    model = model_of(qwen2)

    class Nothing:
        def after(self, written: Sequence[str]) -> Sequence[str]:
            return ()

    with pytest.raises(InputError, match="lets nothing be written"):
        model.generate(["The"], constraint=Nothing())
    with pytest.raises(InputError, match="2 constraints were given for 1 prompts"):
        model.generate(["The"], constraint=[Choices(("a",))] * 2)
    with pytest.raises(InputError, match="no stop strings and no schema"):
        model.generate(["The"], constraint=Choices(("a",)), stop=["b"])


def test_a_constraint_costs_little_beside_a_pass() -> None:
    """Twenty pieces: far below the 20 ms of a pass of a small model on a CPU (processor time, median over the steps)."""
    tokens = PromptTokens(byte_tokenizer())
    pieces = Pieces(tokens, goes_on=True)
    rule = Permutation(tuple(f"[{i}]" for i in range(1, 21)))
    rng, spent = np.random.default_rng(7), []
    for _ in range(3):
        guide = ConstraintGuide(rule, pieces, frozenset([0]))
        while not guide.done:
            began = time.process_time_ns()
            guide.take(int(rng.choice(guide.allowed())))
            spent.append(time.process_time_ns() - began)
    assert np.median(spent[len(spent) // 3 :]) < 1e6


SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "maxLength": 12},
        "citations": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}, "maxItems": 4},
        "sure": {"type": "boolean"},
        "kind": {"enum": ["fact", "guess"]},
    },
    "required": ["answer", "citations", "sure", "kind"],
    "additionalProperties": False,
}


@hypothesis_settings(max_examples=12)
@given(kind=st.sampled_from([qwen2, llama, gpt2]), temperature=st.sampled_from([0.0, 1.0, 3.0]), seed=st.integers(0, 2**31))
def test_json_fits_its_schema(kind: Any, temperature: float, seed: int) -> None:
    pytest.importorskip("llguidance")
    done = model_of(kind).generate(["The pump", "A"], max_tokens=300, temperature=temperature, seed=seed, schema=SCHEMA)
    for one in done:
        assert one.finish == "stop"
        made = json.loads(one.text)
        assert set(made) == {"answer", "citations", "sure", "kind"}
        assert len(made["answer"]) <= 12
        assert isinstance(made["sure"], bool)
        assert made["kind"] in ("fact", "guess")
        assert len(made["citations"]) <= 4
        assert all(isinstance(i, int) and 1 <= i <= 9 for i in made["citations"])


def test_json_that_meets_the_limit_says_so() -> None:
    pytest.importorskip("llguidance")
    (cut,) = model_of(qwen2).generate(["The pump"], max_tokens=4, schema=SCHEMA)
    assert cut.finish == "length"
    with pytest.raises(InputError, match="schema can't be followed"):
        model_of(qwen2).generate(["The pump"], schema={"type": "nonsense"})
