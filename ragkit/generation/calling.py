"""A function of your own as a language model: whatever writes text after a prompt can stand where a model is asked for."""

from __future__ import annotations

import hashlib
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ragkit.chunking import count_tokens
from ragkit.errors import InputError, ReplyError
from ragkit.generation.arguments import check_prompt, check_prompts, check_sampling, check_spellings, is_begun, lacks
from ragkit.generation.stops import StopSearch
from ragkit.generation.types import Completion, Message, Prompt, Scored, Stream
from ragkit.generation.usage import Usage

if TYPE_CHECKING:
    from ragkit.generation.constraints import Constraint

Writer = Callable[..., str | Iterable[str]]
"""function(prompt, **settings) -> the text, or an iterator of its pieces."""

NextToken = Callable[[str | list[Message], list[str]], Mapping[str, float]]
"""next_token(prompt, spellings) -> the natural-log probability of each spelling that is one token."""

_SETTINGS = ("max_tokens", "temperature", "top_p", "stop", "seed")


class CallableModel:
    """A language model made of a function.

    function    is given the prompt as it came, text or a list of Message, and those of max_tokens, temperature, top_p, stop and seed
                that it takes by name; the feature "seed" is there if it takes that. It returns the text or its pieces one by one. Stop
                strings are applied to what it returns; max_tokens is not: a function that doesn't take it writes as much as it likes
    name        stands for the function in caches: give another where the function writes otherwise
    context     tokens that it reads and writes at most, if you know it
    next_token  gives log-probabilities (see `NextToken`); the feature "next_token" is there if this is

    Tokens are words and marks as `ragkit.chunking` counts them. Prompts are put one after the other. What the function raises comes
    through as it is, and nothing is tried again. Share the model between threads only if the function bears it.

    >>> echo = CallableModel(lambda prompt: f"You said {prompt!r}. END", name="echo")
    >>> echo.generate(["hello"], stop=[" END"])[0].text
    "You said 'hello'."
    """

    def __init__(self, function: Writer, *, name: str, context: int | None = None, next_token: NextToken | None = None) -> None:
        if not callable(function):
            raise InputError(f"function must be callable with a prompt, got {type(function).__name__}")
        if not name:
            raise InputError("name must not be empty; it stands for the function in caches")
        self.name, self.context = name, context
        self.fingerprint = hashlib.sha256(f"function:{name}".encode()).hexdigest()
        self._function, self._next_token = function, next_token
        self._takes = _named(function)
        self.features = frozenset({"seed"} & self._takes | ({"next_token"} if next_token is not None else set()))

    def __repr__(self) -> str:
        return f"CallableModel(name={self.name!r})"

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        constraint: Constraint | Sequence[Constraint] | None = None,
        schema: Mapping[str, Any] | None = None,
        logprobs: bool = False,
    ) -> list[Completion]:
        """What the function writes after each prompt; see `ragkit.protocols.LanguageModel`."""
        check_sampling(max_tokens, temperature, top_p, stop)
        for feature, asked in (("constraint", constraint), ("schema", schema), ("logprobs", logprobs or None)):
            if asked is not None:
                raise lacks(self.name, self.features, feature)
        checked = self._checked(prompts)
        settings = self._settings(max_tokens=max_tokens, temperature=temperature, top_p=top_p, stop=list(stop), seed=seed)
        return [self._read(prompt, settings, stop) for prompt in checked]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Stream:
        """The same for one prompt, in the pieces that the function returns; closing the stream closes its iterator."""
        check_sampling(max_tokens, temperature, top_p, stop)
        (checked,) = self._checked([prompt])
        settings = self._settings(max_tokens=max_tokens, temperature=temperature, top_p=top_p, stop=list(stop), seed=seed)
        whole: list[Completion] = []
        return Stream(self._write(checked, settings, stop, whole), lambda: whole[0])

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        """(P, C) log-probabilities as the function `next_token` gives them; InputError for a candidate of which it gives no spelling."""
        if self._next_token is None:
            raise lacks(self.name, self.features, "next_token", "give next_token where the model is made")
        checked, spellings = self._checked(prompts), check_spellings(candidates)
        begun, every = time.perf_counter(), sorted({s for c in spellings for s in c})
        values = np.zeros((len(checked), len(spellings)), np.float32)
        for i, prompt in enumerate(checked):
            told = self._next_token(prompt, every)
            for j, c in enumerate(spellings):
                if not told.keys() & set(c):
                    raise InputError(f"no spelling of the candidate {list(c)} is one token of {self.name}")
                values[i, j] = max(told.get(s, -math.inf) for s in c)
        read = sum(self.count_tokens(p) for p in checked)
        return Scored(values, Usage(calls=len(checked), prompt_tokens=read, seconds=time.perf_counter() - begun))

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        """A function tells no probabilities of longer texts: raises InputError."""
        raise lacks(self.name, self.features, "continuation")

    def count_tokens(self, prompt: Prompt) -> int:
        """Words and marks of the prompt, of all turns together; at least 1."""
        checked = check_prompt(prompt)
        return max(1, sum(count_tokens(t) for t in ([checked] if isinstance(checked, str) else [m.content for m in checked])))

    def _checked(self, prompts: Sequence[Prompt]) -> list[str | list[Message]]:
        checked = check_prompts(prompts)
        if any(map(is_begun, checked)):
            raise lacks(self.name, self.features, "prefill")
        return checked

    def _settings(self, **settings: Any) -> dict[str, Any]:
        if settings["seed"] is not None and "seed" not in self.features:
            raise lacks(self.name, self.features, "seed", "let the function take a seed by name")
        return {name: settings[name] for name in _SETTINGS if name in self._takes}

    def _read(self, prompt: str | list[Message], settings: dict[str, Any], stop: Sequence[str]) -> Completion:
        whole: list[Completion] = []
        for _ in self._write(prompt, settings, stop, whole):
            pass
        return whole[0]

    def _write(self, prompt: str | list[Message], settings: dict[str, Any], stop: Sequence[str], whole: list[Completion]) -> Iterator[str]:
        """The pieces up to the first stop string; then the completion stands in whole."""
        begun, search, given = time.perf_counter(), StopSearch(stop), ""
        written = self._function(prompt, **settings)
        pieces = _pieces(written, self.name)
        try:
            for piece in pieces:
                if ready := search.add(piece):
                    given += ready
                    yield ready
                if search.stopped:
                    break
        finally:
            close = getattr(written, "close", None)  # the function's own clean-up runs now, not when it is collected
            if close is not None:
                close()
        if not search.stopped and (rest := search.end()):
            given += rest
            yield rest
        tokens = count_tokens(given)
        full = "max_tokens" in settings and tokens >= settings["max_tokens"] and not search.stopped
        used = Usage(calls=1, prompt_tokens=self.count_tokens(prompt), generated_tokens=tokens)
        whole.append(Completion(given, "length" if full else "stop", replace(used, seconds=time.perf_counter() - begun)))


def _named(function: Writer) -> set[str]:
    """The settings that a function takes by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return set()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return set(_SETTINGS)
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} & set(_SETTINGS)


def _pieces(written: Any, name: str) -> Iterator[str]:
    if isinstance(written, Mapping | Message) or not isinstance(written, Iterable):  # their names or roles are no pieces of text
        raise ReplyError(f"the function of {name} returned {type(written).__name__}; it must return text or pieces of text")
    for piece in (written,) if isinstance(written, str) else written:
        if not isinstance(piece, str):
            raise ReplyError(f"the function of {name} gave a piece that is {type(piece).__name__}; pieces must be text")
        yield piece
