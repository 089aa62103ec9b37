"""The conformance suite of language models: every backend passes it, and each broken promise is found and named."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragkit.errors import GenerationError, InputError
from ragkit.generation import Choices, Completion, Message, Permutation, Prompt, Scored, Stream, TokenLogprob, Usage, llm
from ragkit.generation.arguments import FEATURES, check_prompt, check_prompts, check_sampling, check_spellings, is_begun
from ragkit.generation.calling import CallableModel
from ragkit.generation.server.openai_model import OpenAIModel
from ragkit.protocols import LanguageModel
from ragkit.testing import check_language_model
from tests.generation import faults
from tests.generation.loopback import MODELS, Server

WORDS = ["", "a", "A", "I", ".", "The", "outer", "gasket", "is", "blue", "three", "bar", "and", "there", "was"][1:]


def spelled(word: str) -> str:
    return word if word == "." else f" {word}"


class Toy:
    """A language model that keeps every promise: the next word is drawn from a digest of the text before it."""

    name, context = "toy", 100_000
    fingerprint = "toy"
    features = frozenset(FEATURES)

    def _row(self, text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        digest = hashlib.sha256(text.encode()).digest()
        weights = np.array([1.0 + digest[i] for i in range(len(WORDS))])
        return np.log(weights / weights.sum())

    def _text(self, prompt: Prompt) -> str:
        checked = check_prompt(prompt)
        return checked if isinstance(checked, str) else "\n".join(f"{m.role}: {m.content}" for m in checked)

    def _written(self, prompt: Prompt, max_tokens: int, temperature: float, seed: int | None) -> list[tuple[str, float]]:
        rng, text, made = np.random.default_rng(seed), self._text(prompt), []
        for _ in range(max_tokens):
            row = self._row(text)
            at = int(row.argmax()) if temperature == 0 else int(rng.choice(len(row), p=np.exp(row)))
            made.append((spelled(WORDS[at]), float(row[at])))
            text += made[-1][0]
        return made

    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
        return [self._one(p, **settings) for p in check_prompts(prompts)]

    def _one(
        self,
        prompt: Prompt,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        constraint: Any = None,
        schema: Any = None,
        logprobs: bool = False,
    ) -> Completion:
        check_sampling(max_tokens, temperature, top_p, stop)
        tokens = self._written(prompt, max_tokens, temperature, seed)
        text = "".join(t for t, _ in tokens)
        at = min((text.find(s) for s in stop if s in text), default=-1)
        used = Usage(calls=1, passes=len(tokens), prompt_tokens=self.count_tokens(prompt), generated_tokens=len(tokens), seconds=1e-6)
        told = tuple(TokenLogprob(t, p) for t, p in tokens) if logprobs else ()
        if constraint is not None:
            written: list[str] = []
            while pieces := constraint.after(written):
                written.append(pieces[0])
            return Completion("".join(written), "stop", used, told)
        if schema is not None:
            return Completion(json.dumps({"ok": True}), "stop", used, told)
        return Completion(text if at < 0 else text[:at], "length" if at < 0 else "stop", used, told)

    def stream(self, prompt: Prompt, **settings: Any) -> Stream:
        whole: list[Completion] = []

        def pieces() -> Iterator[str]:
            whole.append(self.generate([prompt], **settings)[0])
            yield from re.findall(r"\s*\S+|\s+$", whole[0].text)

        return Stream(pieces(), lambda: whole[0])

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        spellings = check_spellings(candidates)
        rows = [dict(zip(map(spelled, WORDS), self._row(self._text(p)), strict=True)) for p in check_prompts(prompts)]
        values = [[max(row.get(s, -math.inf) for s in c) for c in spellings] for row in rows]
        return Scored(np.array(values, np.float32).reshape(len(prompts), len(spellings)), Usage(calls=len(prompts)))

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        if len(check_prompts(prompts)) != len(continuations):
            raise InputError("one each")
        values = [[self._row(self._text(p) + c).mean()] for p, c in zip(prompts, continuations, strict=True)]
        return Scored(np.array(values, np.float32).reshape(-1, 1), Usage(calls=len(prompts)))

    def count_tokens(self, prompt: Prompt) -> int:
        return len(re.findall(r"\w+|[^\w\s]", self._text(prompt)))


class Lists(Toy):
    """A constraint for each prompt, as the protocol allows."""

    def generate(self, prompts: Sequence[Prompt], *, constraint: Any = None, **settings: Any) -> list[Completion]:
        checked = check_prompts(prompts)
        each = constraint if isinstance(constraint, list) else [constraint] * len(checked)
        return [self._one(p, constraint=c, **settings) for p, c in zip(checked, each, strict=True)]


class Plain(Lists):
    """Without any feature; refuses them all."""

    features: frozenset[str] = frozenset()

    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
        for name in ("constraint", "schema", "logprobs", "seed"):
            if settings.get(name) not in (None, False):
                raise InputError(f"no feature {name!r}")
        if any(is_begun(check_prompt(p)) for p in prompts):
            raise InputError("no feature 'prefill'")
        return super().generate(prompts, **settings)

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        raise InputError("no feature 'next_token'")

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        raise InputError("no feature 'continuation'")


def speaking(prompt: str | list[Message], max_tokens: int, seed: int | None) -> Iterator[str]:
    """A function that a user may have: it writes piece by piece."""
    yield from (t for t, _ in Toy()._written(prompt, max_tokens, 0.0, seed))


def known(prompt: str | list[Message], spellings: list[str]) -> dict[str, float]:
    row = dict(zip(map(spelled, WORDS), Toy()._row(Toy()._text(prompt)), strict=True))
    return {s: row[s] for s in spellings if s in row}


@pytest.mark.parametrize(
    "model",
    [Lists(), Plain(), CallableModel(speaking, name="speaking"), CallableModel(speaking, name="speaking", next_token=known)],
    ids=["all features", "none", "function", "function with probabilities"],
)
def test_models_that_keep_their_promises_pass(model: LanguageModel) -> None:
    check_language_model(model)


@pytest.mark.parametrize("name", ["docs-7m", "docs-1m", "stories260K", "docs-7m with a chat template"])
def test_local_models_conform(name: str, served_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        check_language_model(llm(str(served_folder if name.endswith("template") else MODELS / name)))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("api", ["chat", pytest.param("completions", marks=pytest.mark.slow)])
def test_transformers_server_conforms(transformers_server: Server, api: str) -> None:
    """It gives no log-probabilities and knows no schemas: those features are left out, and must then be refused."""
    lacks = ("next_token", "continuation", "schema", "logprobs")
    check_language_model(OpenAIModel(transformers_server.model, base_url=transformers_server.base_url, api=api, without=lacks))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_transformers_server_conforms_with_log_probabilities(transformers_server: Server, api: str) -> None:
    """The real server behind a proxy that adds what it doesn't tell, computed from the same weights (`faults.telling_logprobs`)."""
    with faults.FaultProxy.before(transformers_server.base_url) as proxy:
        proxy.always = faults.telling_logprobs(transformers_server.folder)
        lacks = ("schema", "logprobs")
        check_language_model(OpenAIModel(transformers_server.model, base_url=proxy.base_url, api=api, without=lacks))  # type: ignore[arg-type]


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_llama_server_conforms(llama_server: Server, api: str) -> None:
    """Log-probabilities are its own. It knows schemas in an older form alone, into which the proxy turns the newer; its echo is shifted
    (see test_shifted_log_probabilities_are_refused)."""

    def older(fields: dict[str, Any]) -> dict[str, Any]:
        asked = fields.get("response_format")
        return fields | ({"response_format": {"type": "json_object", "schema": asked["json_schema"]["schema"]}} if asked else {})

    with faults.FaultProxy.before(llama_server.base_url) as proxy:
        proxy.always = lambda x: (faults.sent(older) if "response_format" in x.fields else faults.passed)(x)
        check_language_model(OpenAIModel("docs-7m", base_url=proxy.base_url, api=api, without=("continuation",)))  # type: ignore[arg-type]


def broken(**members: Any) -> LanguageModel:
    """The toy with some members replaced."""
    return type("Broken", (Lists,), members)()


def changing(**changes: Any) -> Callable[..., list[Completion]]:
    """generate whose completions are changed: a value, or a function of the completion."""

    def generate(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
        made = Lists.generate(self, prompts, **settings)
        return [replace(c, **{k: v(c) if callable(v) else v for k, v in changes.items()}) for c in made]

    return generate


def used(**changes: Any) -> Callable[[Completion], Usage]:
    return lambda c: replace(c.usage, **changes)


def without(**settings: Any) -> Callable[..., list[Completion]]:
    """generate that passes some settings over."""
    return lambda self, prompts, **given: Lists.generate(self, prompts, **(given | {k: v for k, v in settings.items() if k in given}))


def padded(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    return Lists.generate(self, prompts or ["x"], **settings)


def unlimited(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    """Passes the limit over, and denies it."""
    made = Lists.generate(self, prompts, **(settings | {"max_tokens": 16}))
    return [replace(c, usage=replace(c.usage, generated_tokens=1)) for c in made]


def by_limit(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    return Lists.generate(self, [f"{p} {settings['max_tokens']}" for p in prompts], **settings)


def cut_at_4(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    made = Lists.generate(self, prompts, **settings)
    return [replace(c, finish="stop") for c in made] if settings.get("max_tokens") == 4 else made


def letters(method: str) -> dict[str, Any]:
    """A text where a list of prompts is wanted is taken letter by letter."""
    return {method: lambda self, prompts, *others, **settings: getattr(Lists, method)(self, list(prompts), *others, **settings)}


def any_top_p(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    return Lists.generate(self, prompts, **(settings | {"top_p": 1.0}))


def unstopped(self: Lists, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), **settings: Any) -> list[Completion]:
    check_sampling(1, 0.0, 1.0, stop)
    return Lists.generate(self, prompts, **settings)


def stopped_early(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    made = Lists.generate(self, prompts, **settings)
    return [replace(c, text=c.text[1:]) if settings.get("stop") else c for c in made]


def no_permutation(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    if isinstance(settings.get("constraint"), Permutation):
        settings["constraint"] = Choices(("[1]",))
    return Lists.generate(self, prompts, **settings)


def repeating(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    """Writes the assistant's beginning again."""
    begun = ["" if isinstance(p, str) else p[-1].content for p in prompts]
    return [replace(c, text=b + c.text) for c, b in zip(Lists.generate(self, prompts, **settings), begun, strict=True)]


def above_0(c: Completion) -> tuple[TokenLogprob, ...]:
    return tuple(replace(t, logprob=0.5) for t in c.logprobs)


def once(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    """Another text each time."""
    return Lists.generate(self, [f"{next(COUNTER)} {p}" for p in prompts], **settings)


COUNTER = itertools.count()


def turned(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
    return Lists.generate(self, prompts, **settings)[::-1]


def in_a_batch(self: Lists, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
    made = Lists.next_token_logprobs(self, prompts, candidates)
    return replace(made, logprobs=made.logprobs - np.float32(0.1 * len(prompts)))


def flat(self: Lists, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
    made = Lists.next_token_logprobs(self, prompts, candidates)
    return made if prompts else replace(made, logprobs=made.logprobs.ravel())


def first_spelling(self: Lists, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
    check_spellings(candidates)
    return Lists.next_token_logprobs(self, prompts, [c[:1] if c[0] in (" ", "A", ".", "I") else c for c in candidates])


def scores(change: Callable[[Scored], Scored], name: str = "next_token_logprobs") -> dict[str, Any]:
    return {name: lambda self, prompts, other: change(getattr(Lists, name)(self, prompts, other))}


def values(change: Callable[[Any], Any]) -> Callable[[Scored], Scored]:
    return lambda scored: replace(scored, logprobs=change(scored.logprobs))


def lenient(self: Lists, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
    return Lists.next_token_logprobs(self, prompts, [c or ("x",) for c in candidates])


def cut_short(self: Lists, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
    n = len(continuations)
    made = Lists.continuation_logprobs(self, prompts[:n], continuations)
    return replace(made, usage=Usage(calls=len(prompts)))


class Blocks(Lists):
    """Claims what it doesn't do: its blocks see one another."""

    features = frozenset({*FEATURES, "parallel"})

    def parallel_next_token_logprobs(self, prompt: Prompt, slot: str, blocks: Sequence[str], candidates: Sequence[Sequence[str]]) -> Scored:
        assert not isinstance(prompt, str)
        whole = [Message(m.role, m.content.replace(slot, "".join(blocks))) for m in prompt]
        return self.next_token_logprobs([whole], candidates)


class Leaking(Lists):
    """Hands out the stop string before it cuts the text."""

    def stream(self, prompt: Prompt, *, stop: Sequence[str] = (), **settings: Any) -> Stream:
        return Lists.stream(self, prompt, **settings)


class Hurried(Lists):
    """Tells of the whole before it is written."""

    def stream(self, prompt: Prompt, **settings: Any) -> Stream:
        made = super().stream(prompt, **settings)
        made._ended = True
        list(inner := super().stream(prompt, **settings))
        made.finished = lambda: inner.completion
        return made


class Deaf(Lists):
    """Writes on after it was closed."""

    def stream(self, prompt: Prompt, **settings: Any) -> Stream:
        made = super().stream(prompt, **settings)
        return Stream(iter(list(made)), lambda: made.completion)


class Racing(Lists):
    """Threads disturb each other."""

    def generate(self, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
        import threading

        if threading.current_thread() is not threading.main_thread():
            prompts = [f"{p} {next(COUNTER)}" for p in prompts]
        return super().generate(prompts, **settings)


def streaming(**changes: Any) -> dict[str, Any]:
    """A stream whose completion is changed."""

    def stream(self: Lists, prompt: Prompt, **settings: Any) -> Stream:
        made = Lists.stream(self, prompt, **settings)
        return Stream(
            made.pieces, lambda: replace(made.finished(), **{k: v(made.finished()) if callable(v) else v for k, v in changes.items()})
        )

    return {"stream": stream}


def drifting(self: Lists, prompt: Prompt, **settings: Any) -> Stream:
    return Lists.stream(self, prompt if settings.get("stop") else f"{prompt}!", **settings)


PROMISES: list[tuple[str, Callable[[], Any], str]] = [
    ("protocol", lambda: object(), "lacks a part of ragkit.protocols.LanguageModel"),
    ("name", lambda: broken(name=""), "needs a name"),
    ("context", lambda: broken(context=0), "context must be None or a number"),
    ("unknown feature", lambda: broken(features=frozenset({"colour"})), "features must be among"),
    ("no prompts", lambda: broken(generate=padded), "no prompts must give no completions"),
    ("one each", lambda: broken(generate=lambda self, p, **s: Lists.generate(self, p, **s)[:3]), "one completion each"),
    ("silent", lambda: broken(generate=changing(text="")), "next to nothing"),
    ("same texts", lambda: broken(generate=once), "the same prompts must give the same texts"),
    ("order", lambda: broken(generate=turned), "in the prompts' order"),
    ("finish", lambda: broken(generate=changing(finish="eos")), "finish must be stop, length or filtered"),
    ("calls", lambda: broken(generate=changing(usage=used(calls=0))), "must count one call"),
    ("prompt tokens", lambda: broken(generate=changing(usage=used(prompt_tokens=0))), "must count the prompt's tokens"),
    ("cached tokens", lambda: broken(generate=changing(usage=used(cached_tokens=10**6))), "cached tokens must be among"),
    ("generated tokens", lambda: broken(generate=changing(usage=used(generated_tokens=99))), "at most max_tokens"),
    ("seconds", lambda: broken(generate=changing(usage=used(seconds=60.0))), "seconds must be counted once a call"),
    ("limit", lambda: broken(generate=changing(usage=used(generated_tokens=16))), "max_tokens=1 was passed over"),
    ("limit in text", lambda: broken(generate=without(max_tokens=16)), "max_tokens=1 was passed over"),
    (
        "limit in text, denied",
        lambda: broken(generate=unlimited),
        "max_tokens=1 must write less",
    ),
    (
        "limit changes text",
        lambda: broken(generate=by_limit),
        "must give the beginning of what a higher limit gives",
    ),
    (
        "cut without saying",
        lambda: broken(generate=changing(finish="stop")),
        'cut by max_tokens=1 must end with finish "length"',
    ),
    ("cut at four without saying", lambda: broken(generate=cut_at_4), 'cut by max_tokens=4 must end with finish "length", got \'stop\''),
    *(
        (f"letters to {method}", lambda method=method: broken(**letters(method)), "one text in place of a list of prompts must raise")
        for method in ("generate", "next_token_logprobs", "continuation_logprobs")
    ),
    ("settings", lambda: broken(generate=any_top_p), "'top_p': 0.0} must raise InputError"),
    ("stop", lambda: broken(generate=unstopped), "stands in the text"),
    ("stop cuts too much", lambda: broken(generate=stopped_early), "the text must end before"),
    ("stop's finish", lambda: broken(generate=changing(finish="length")), 'must have finish "stop"'),
    ("stop in a stream", Leaking, "a stream must end before the stop string"),
    ("stream ended", Hurried, "has not ended must raise GenerationError"),
    ("stream's text", lambda: broken(stream=drifting), "must join to generate's text"),
    ("stream's completion", lambda: broken(**streaming(text="x")), "must hold its whole text"),
    ("stream's usage", lambda: broken(**streaming(usage=used(calls=2))), "the usage of a stream is wrong"),
    ("stream closed", Deaf, "a closed stream must give no more pieces"),
    ("count", lambda: broken(count_tokens=lambda self, p: 1000 // (1 + len(str(p)))), "can't have"),
    ("next token's shape", lambda: broken(**scores(values(lambda a: a.T))), "next_token_logprobs must be float32"),
    ("next token's type", lambda: broken(**scores(values(lambda a: a.astype(np.float64)))), "next_token_logprobs must be float32"),
    ("probabilities", lambda: broken(**scores(values(np.exp))), "at most 0"),
    ("not a number", lambda: broken(**scores(values(lambda a: a * np.float32("nan")))), "at most 0"),
    ("sum", lambda: broken(**scores(values(lambda a: a / 9))), "must not sum to more than 1"),
    ("next token's calls", lambda: broken(**scores(lambda s: replace(s, usage=Usage()))), "must count one call a prompt"),
    ("spellings", lambda: broken(next_token_logprobs=first_spelling), "the order of a candidate's spellings"),
    ("next token in a batch", lambda: broken(next_token_logprobs=in_a_batch), "must be those of each alone"),
    ("rows for no prompts", lambda: broken(next_token_logprobs=flat), "no prompts must give no rows"),
    ("empty candidate", lambda: broken(next_token_logprobs=lenient), "a candidate without spellings must raise"),
    ("continuation's shape", lambda: broken(**scores(values(lambda a: a[:, 0]), "continuation_logprobs")), "must be float32"),
    ("continuation's values", lambda: broken(**scores(values(lambda a: a - np.inf), "continuation_logprobs")), "must be finite"),
    ("continuation's calls", lambda: broken(**scores(lambda s: replace(s, usage=Usage()), "continuation_logprobs")), "one call a prompt"),
    (
        "continuation in a batch",
        lambda: broken(**scores(values(lambda a: a - np.float32(0.1 * len(a))), "continuation_logprobs")),
        "must be those of each alone",
    ),
    ("continuations missing", lambda: broken(continuation_logprobs=cut_short), "fewer continuations than prompts"),
    ("parallel", lambda: broken(features=frozenset({*FEATURES, "parallel"})), "needs a method parallel_next_token_logprobs"),
    ("order of blocks", Blocks, "the order of blocks that don't see one another"),
    ("constraint", lambda: broken(generate=without(constraint=None)), "a constraint must be obeyed"),
    (
        "permutation",
        lambda: broken(generate=no_permutation),
        "a permutation must hold each piece once",
    ),
    ("schema", lambda: broken(generate=without(schema=None)), "must fit its schema"),
    (
        "prefill",
        lambda: broken(generate=repeating),
        "go on from the assistant's turn",
    ),
    ("seed", lambda: broken(generate=without(seed=None)), "the same seed must give the same text"),
    ("logprobs", lambda: broken(generate=without(logprobs=False)), "must be given"),
    ("logprobs' sign", lambda: broken(generate=changing(logprobs=above_0)), "a log-probability is at most 0"),
    ("logprobs' number", lambda: broken(generate=changing(logprobs=lambda c: c.logprobs * 2)), "one log-probability a token"),
    ("threads", Racing, "four threads at once"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "sentence"), [p[1:] for p in PROMISES], ids=[p[0] for p in PROMISES])
def test_a_broken_promise_is_named(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_language_model(make())


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_not_claimed_must_be_refused(feature: str) -> None:
    """A model that does it all the same breaks the promise; so does one whose error doesn't name the feature."""
    with pytest.raises(AssertionError, match=f"the feature '{feature}' is not claimed, so asking for it must raise InputError"):
        check_language_model(broken(features=frozenset(FEATURES) - {feature}))


def test_an_error_must_name_the_feature() -> None:
    def refuse(self: Plain, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        raise InputError("can't")

    with pytest.raises(AssertionError, match="the error for the absent feature 'next_token' must name it"):
        check_language_model(type("Mute", (Plain,), {"next_token_logprobs": refuse})())


def test_errors_of_the_model_itself_come_through() -> None:
    def fails(self: Lists, prompts: Sequence[Prompt], **settings: Any) -> list[Completion]:
        raise GenerationError("mine")

    with pytest.raises(GenerationError, match="mine"):
        check_language_model(broken(generate=fails))
