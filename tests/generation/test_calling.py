"""A function as a language model: what it is given, what is done to what it returns, and how it fails."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import GenerationError, InputError, ReplyError
from ragkit.generation import Choices, Message, Stream, llm
from ragkit.generation.calling import CallableModel

TEXT = "One two three. Four five six."


def test_the_prompt_comes_as_it_is() -> None:
    seen: list[Any] = []
    model = CallableModel(lambda prompt: seen.append(prompt) or "ok", name="f")  # type: ignore[func-returns-value]
    turns = (Message("system", "Be short."), Message("user", "Why?"))
    made = model.generate(["text", turns])
    assert seen == ["text", list(turns)]
    assert [c.text for c in made] == ["ok", "ok"]
    assert [c.usage.prompt_tokens for c in made] == [1, 5]
    assert llm(model) is model


def test_it_is_given_the_settings_that_it_takes_by_name() -> None:
    def some(prompt: str, *, max_tokens: int, stop: list[str]) -> str:
        return f"{max_tokens} {stop}"

    def all_of_them(prompt: str, **settings: Any) -> str:
        return " ".join(f"{k}={v}" for k, v in settings.items())

    assert CallableModel(some, name="f").generate(["p"], max_tokens=7, stop=["x"])[0].text == "7 ['"  # cut before its own stop string
    every = CallableModel(all_of_them, name="f").generate(["p"], temperature=0.5, top_p=0.5, seed=3)[0].text
    assert every == "max_tokens=256 temperature=0.5 top_p=0.5 stop=[] seed=3"
    assert CallableModel(functools.partial(some, stop=[]), name="f").generate(["p"], max_tokens=7)[0].text == "7 []"
    assert CallableModel(str.upper, name="f").generate(["p"])[0].text == "P"


def test_seed_is_a_feature_of_functions_that_take_one() -> None:
    with_seed = CallableModel(lambda prompt, seed: f"{seed}", name="f")
    assert with_seed.features == {"seed"}
    assert with_seed.generate(["p"], seed=5)[0].text == "5"
    for ask in (lambda m: m.generate(["p"], seed=5), lambda m: m.stream("p", seed=5)):
        with pytest.raises(InputError, match="lacks the feature 'seed'"):
            ask(CallableModel(lambda prompt: "x", name="f"))


@given(st.lists(st.text("ab ", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_pieces_are_cut_where_the_whole_text_is(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    ends = [at for s in stops if (at := whole.find(s)) >= 0]
    wanted = whole[: min(ends, default=len(whole))]
    at_once, streamed = CallableModel(lambda p: whole, name="f"), CallableModel(lambda p: iter(pieces), name="f")
    for model in (at_once, streamed):
        assert model.generate(["p"], stop=stops)[0].text == wanted
        stream = model.stream("p", stop=stops)
        assert "".join(stream) == wanted == stream.completion.text
        assert stream.completion.finish == "stop"


def test_a_stream_hands_on_pieces_as_they_come_and_closes_the_function() -> None:
    log: list[str] = []

    def write(prompt: str) -> Iterator[str]:
        try:
            for word in ("one ", "two ", "three"):
                log.append(word)
                yield word
        finally:
            log.append("closed")

    model = CallableModel(write, name="f")
    stream = model.stream("p")
    assert log == []
    assert next(stream) == "one "
    assert log == ["one "]
    with pytest.raises(GenerationError, match="still being written"):
        _ = stream.completion
    stream.close()
    assert log == ["one ", "closed"]
    log.clear()
    assert model.generate(["p"], stop=["wo"])[0].text == "one t"
    assert log == ["one ", "two ", "closed"]  # no piece is asked for beyond the stop string


def test_a_limit_that_is_not_taken_is_not_applied() -> None:
    made = CallableModel(lambda p: TEXT, name="f").generate(["p"], max_tokens=2)[0]
    assert (made.text, made.finish, made.usage.generated_tokens) == (TEXT, "stop", 8)
    taking = CallableModel(lambda p, max_tokens: " ".join(TEXT.split()[:max_tokens]), name="f")
    made = taking.generate(["p"], max_tokens=2)[0]
    assert (made.text, made.finish, made.usage.generated_tokens) == ("One two", "length", 2)


def test_errors_of_the_function_come_through_and_it_is_called_once() -> None:
    calls: list[Any] = []

    def fails(prompt: str) -> str:
        calls.append(prompt)
        raise ConnectionError("mine")

    model = CallableModel(fails, name="f")
    with pytest.raises(ConnectionError, match=r"^mine$"):
        model.generate(["a", "b"])
    with pytest.raises(ConnectionError, match=r"^mine$"):
        list(model.stream("a"))
    assert calls == ["a", "a"]


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "returned NoneType"),
        (7, "returned int"),
        ({"text": "hi"}, "returned dict"),
        (Message("assistant", "hi"), "returned Message"),
        ([b"x"], "gave a piece that is bytes"),
    ],
)
def test_what_is_not_text_is_refused(returned: Any, sentence: str) -> None:
    with pytest.raises(ReplyError, match=f"the function of f {sentence}; .* must"):
        CallableModel(lambda p: returned, name="f").generate(["p"])


def test_a_single_prompt_in_place_of_a_list_is_refused() -> None:
    calls: list[Any] = []
    model = CallableModel(calls.append, name="f", next_token=lambda prompt, spellings: calls.append(prompt) or {})  # type: ignore
    for single in ("Why?", Message("user", "Why?"), [Message("user", "Why?")], 7):
        for ask in (model.generate, lambda p: model.next_token_logprobs(p, [("A",)])):
            with pytest.raises(InputError, match="must be a list of prompts; put a single one into a list, got"):
                ask(single)  # type: ignore[operator]
    assert calls == []


def test_a_stream_that_failed_or_was_closed_has_no_completion() -> None:
    def dies(prompt: str) -> Iterator[str]:
        yield "one"
        raise ConnectionError("mine")

    def broken_off(stream: Stream) -> None:
        for _ in range(2):
            assert next(stream, None) is None
            with pytest.raises(GenerationError, match="was broken off, by a failure or by close; ask for it again"):
                _ = stream.completion

    stream = CallableModel(dies, name="f").stream("p")
    with pytest.raises(ConnectionError, match="mine"):
        list(stream)
    broken_off(stream)
    for begun in (False, True):
        stream = CallableModel(lambda p: iter(["one", "two"]), name="f").stream("p")
        if begun:
            assert next(stream) == "one"
        stream.close()
        broken_off(stream)
    whole = CallableModel(lambda p: "one", name="f").stream("p")
    assert list(whole) == ["one"]
    whole.close()  # after the end it takes nothing away
    assert list(whole) == []
    assert whole.completion.text == "one"


def test_log_probabilities_of_the_next_token() -> None:
    table = {"A": math.log(0.5), " A": math.log(0.25), "B": math.log(0.125)}
    asked: list[Any] = []

    def next_token(prompt: Any, spellings: list[str]) -> dict[str, float]:
        asked.append((prompt, spellings))
        return {s: table[s] for s in spellings if s in table}

    model = CallableModel(lambda p: "x", name="f", next_token=next_token)
    assert "next_token" in model.features
    scored = model.next_token_logprobs(["p", "q"], [("B", "b"), (" A", "A")])
    np.testing.assert_allclose(np.exp(scored.logprobs), [[0.125, 0.5]] * 2, rtol=1e-6)
    assert scored.logprobs.dtype == np.float32
    assert scored.usage.calls == 2
    assert asked == [("p", [" A", "A", "B", "b"]), ("q", [" A", "A", "B", "b"])]
    with pytest.raises(InputError, match=r"no spelling of the candidate \['C', ' C'\]"):
        model.next_token_logprobs(["p"], [("A",), ("C", " C")])


def test_what_a_function_can_not_do() -> None:
    model = CallableModel(lambda p: "x", name="f")
    assert model.features == frozenset()
    for feature, ask in {
        "constraint": lambda: model.generate(["p"], constraint=Choices(("a",))),
        "schema": lambda: model.generate(["p"], schema={}),
        "logprobs": lambda: model.generate(["p"], logprobs=True),
        "prefill": lambda: model.generate([[Message("user", "a"), Message("assistant", "b")]]),
        "next_token": lambda: model.next_token_logprobs(["p"], [("A",)]),
        "continuation": lambda: model.continuation_logprobs(["p"], ["q"]),
    }.items():
        with pytest.raises(InputError, match=f"f lacks the feature '{feature}'"):
            ask()


def test_names() -> None:
    a, b = (CallableModel(lambda p: "x", name=n) for n in "ab")
    assert a.fingerprint == CallableModel(lambda p: "y", name="a").fingerprint != b.fingerprint
    assert repr(a) == "CallableModel(name='a')"
    for wrong in ({"function": "x", "name": "a"}, {"function": len, "name": ""}):
        with pytest.raises(InputError, match="must"):
            CallableModel(**wrong)
