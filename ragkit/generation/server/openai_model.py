"""A model behind a server that speaks OpenAI's protocol: OpenAI itself, vLLM, llama.cpp, `transformers serve` and their kind.

`OpenAIModel` sends one request a prompt, some of them side by side, repeats what may succeed later, and raises ragkit's errors. What a
server refuses by name (max_tokens, stream_options, more top_logprobs than it gives) is sent in the other known form and kept to from then.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import numpy as np

from ragkit.errors import InputError
from ragkit.generation.arguments import FEATURES, check_prompt, check_prompts, check_sampling, check_spellings, is_begun, lacks
from ragkit.generation.server import errors, replies
from ragkit.generation.server.calls import Calls, Dialect
from ragkit.generation.server.prices import Prices
from ragkit.generation.server.streams import heard
from ragkit.generation.server.token_counts import Counter
from ragkit.generation.server.where import Where
from ragkit.generation.stops import StopSearch
from ragkit.generation.types import Completion, Message, Prompt, Scored, Stream
from ragkit.generation.usage import FREE, Usage
from ragkit.registry import need

if TYPE_CHECKING:
    from ragkit.generation.constraints import Constraint

T = TypeVar("T")

OPENAI = "https://api.openai.com/v1"
_STOPS = 4  # a request names at most so many stop strings at OpenAI; all of them are applied to the reply as well
_API_FEATURES = {
    "chat": {"next_token", "schema", "seed", "logprobs"},
    "completions": {"next_token", "continuation", "seed", "logprobs", "prefill"},
}


class OpenAIModel:
    """A language model on a server; `llm("openai:NAME")` makes one.

    model        the model's name on the server
    base_url     the server, as "http://127.0.0.1:8000/v1"; default: OPENAI_BASE_URL, else OpenAI's own
    api_key      default: OPENAI_API_KEY; a server given by base_url may need none
    api          "chat", or "completions" for text that is gone on from as it stands. The chat API gets a text as one user turn; the
                 completions API gets turns as "System: ...", "User: ...", "Assistant: ..." with empty lines between and "Assistant:" last
    timeout      seconds to wait for a connection, and for each part of a reply
    retries      times that a request is sent again after 408, 409, 429, 5xx, a failed connection or a timeout
    backoff      seconds: the n-th wait is drawn from 0 to backoff * 2^(n-1), 30 at most; a server's Retry-After is kept to instead
    concurrency  requests of this object that run side by side at most; one that waits to be sent again keeps its place. Streams run beside
    context      tokens that the model reads and writes at most, if you know it
    prices       money for a million tokens: (prompt, generated) or (prompt, generated, cached)
    tokenizer    folder of the model's tokenizer, for exact `count_tokens`; without it words and marks x 1.3, and 4 a turn
    prefill      True where a chat server goes on from an assistant's turn (it is sent continue_final_message, as vLLM wants it); the
                 completions API always can
    without      features that this server lacks, of those that OpenAI's has: "next_token", "continuation", "schema", "seed", "logprobs"
    extra        fields added to every request; they win over ours, as {"temperature": 1} for a model that takes no other
    raises       MissingDependencyError without the package openai, InputError without a key where one is needed

    Token counts are the server's; where it tells none they are estimated by `count_tokens`. Log-probabilities of next tokens are those of
    the 20 most probable at best, matched by their text: a candidate beyond them gets -inf.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api: Literal["chat", "completions"] = "chat",
        timeout: float = 60.0,
        retries: int = 4,
        backoff: float = 0.5,
        concurrency: int = 8,
        context: int | None = None,
        prices: Sequence[float] | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        prefill: bool | None = None,
        without: Collection[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        _check(model, api, timeout, retries, backoff, concurrency, without)
        given = base_url or os.environ.get("OPENAI_BASE_URL")
        self.base_url = _url(given or OPENAI)
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or ""
        if not (self._key or given):
            raise InputError(f"no key for {OPENAI}: set OPENAI_API_KEY or give api_key; for a server of your own give base_url")
        self.model, self.api, self.context = model, api, context
        self.name = f"openai:{model}"
        self.timeout, self.retries, self.backoff, self.concurrency = timeout, retries, backoff, concurrency
        begins = {"prefill"} if (prefill is None and api == "completions") or prefill else set()
        self.features = frozenset((_API_FEATURES[api] - {"prefill"} | begins) - set(without))
        self._extra = dict(extra or {})
        try:
            deciding = json.dumps([self.base_url, model, api, sorted(self.features), self._extra], sort_keys=True)
        except TypeError as exc:
            raise InputError(f"extra must be plain JSON, got {extra!r:.80}") from exc
        self.fingerprint = hashlib.sha256(deciding.encode()).hexdigest()
        self._prices = None if prices is None else Prices.of(prices)
        self._counter = Counter(tokenizer, chat=api == "chat")
        openai = need("openai", extra="llm", why="A model behind a server")
        client = openai.OpenAI(base_url=self.base_url, api_key=self._key or "none", timeout=timeout, max_retries=0)
        weakref.finalize(self, client.close)  # else its connections would be closed whenever the collector comes by, with a warning
        where = Where(f"the server at {self.base_url}", model, timeout, self._blacken)
        self._calls = Calls(client, where, retries=retries, backoff=backoff, concurrency=concurrency)

    def __repr__(self) -> str:
        return f"OpenAIModel({self.model!r}, base_url={self.base_url!r}, api={self.api!r})"

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
        """What the model writes after each prompt; see `ragkit.protocols.LanguageModel`.

        The first failure is raised and cancels what has not been sent; requests under way end unheard.
        raises  ContextOverflow, ServerError, ReplyError, OfflineError, each naming the server; InputError for a feature that it lacks
        """
        check_sampling(max_tokens, temperature, top_p, stop)
        for feature, asked in (("constraint", constraint), ("schema", schema), ("seed", seed), ("logprobs", logprobs or None)):
            if asked is not None:
                self._require(feature)
        checked = self._checked(prompts)

        def one(i: int, halt: threading.Event) -> Completion:
            def fields(dialect: Dialect) -> dict[str, Any]:
                made = self._fields(checked[i], dialect, max_tokens, temperature, top_p, stop, seed)
                if schema is not None:
                    form = {"name": "reply", "schema": dict(schema), "strict": True}
                    made["response_format"] = {"type": "json_schema", "json_schema": form}
                if logprobs:  # some servers give none without a number of alternatives
                    made |= {"logprobs": True, "top_logprobs": 1} if self.api == "chat" else {"logprobs": 1}
                return made

            reply, repeats = self._reply(fields, halt, f"prompt {i}")
            choice = replies.choice_of(reply, self._calls.where)
            whole, finish = replies.text_of(choice, self._calls.where)
            search = StopSearch(stop)
            text = search.add(whole) + ("" if search.stopped else search.end())
            written = replies.written_logprobs(choice, self._calls.where) if logprobs else ()
            if search.stopped:
                ends = np.cumsum([len(t.token) for t in written])
                written, finish = written[: int(np.searchsorted(ends, len(text))) + 1 if text else 0], "stop"
            return Completion(text, finish, self._usage(reply, checked[i], whole, repeats, max_tokens), written)

        begun = time.perf_counter()
        made = self._calls.each(one, len(checked))
        return [replace(c, usage=self._timed(c.usage, begun)) if i == 0 else c for i, c in enumerate(made)]

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
        """The same for one prompt, piece by piece; the request is sent when the first piece is asked for, and again until it is answered.

        raises  ServerError where the server breaks off before its finish; closing the stream closes the connection
        """
        check_sampling(max_tokens, temperature, top_p, stop)
        if seed is not None:
            self._require("seed")
        (checked,) = self._checked([prompt])

        def fields(dialect: Dialect) -> dict[str, Any]:
            made = self._fields(checked, dialect, max_tokens, temperature, top_p, stop, seed)
            usage = {"stream_options": {"include_usage": True}} if dialect.usage_in_streams else {}
            return made | {"stream": True} | usage

        whole: list[Completion] = []
        return Stream(self._pieces(checked, fields, stop, max_tokens, whole), lambda: whole[0])

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        """(P, C) log-probabilities among the most probable next tokens; -inf for a candidate beyond them, or where the model ended at once.

        With a local `tokenizer` a candidate of which no spelling is one token raises InputError; without, only the server knows.
        raises  ReplyError where the server returns no log-probabilities
        """
        self._require("next_token")
        spellings = check_spellings(candidates)
        self._counter.check_single(spellings)

        def one(i: int, halt: threading.Event) -> tuple[list[float], Usage]:
            def fields(dialect: Dialect) -> dict[str, Any]:
                asked = {"logprobs": True, "top_logprobs": dialect.top} if self.api == "chat" else {"logprobs": dialect.top}
                return self._fields(checked[i], dialect, 1, 0.0, 1.0, (), None) | asked

            reply, repeats = self._reply(fields, halt, f"prompt {i}")
            told = replies.next_logprobs(replies.choice_of(reply, self._calls.where), self._calls.where)
            row = [max(told.get(s, -math.inf) for s in c) for c in spellings]
            return row, self._usage(reply, checked[i], "", repeats, 1)

        checked = self._checked(prompts)
        return self._scored(one, len(checked), len(spellings))

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        """(P, 1) mean log-probability per token of continuation i after prompt i, by the completions API's echo.

        A token that holds characters of both counts as the continuation's. Each request writes one token more, which is not used.
        raises  ReplyError where the server echoes no log-probabilities
        """
        self._require("continuation")
        checked = self._checked(prompts)
        if len(checked) != len(continuations) or not all(continuations):
            raise InputError(
                f"each prompt needs one continuation, not empty; got {len(checked)} prompts and {len(continuations)} continuations"
            )

        def one(i: int, halt: threading.Event) -> tuple[list[float], Usage]:
            def fields(dialect: Dialect) -> dict[str, Any]:
                made = self._fields(checked[i], dialect, 1, 0.0, 1.0, (), None)
                return made | {"prompt": made["prompt"] + continuations[i], "echo": True, "logprobs": 1}

            reply, repeats = self._reply(fields, halt, f"prompt {i}")
            choice = replies.choice_of(reply, self._calls.where)
            mean = replies.echoed_mean(choice, flattened(checked[i]), continuations[i], self._calls.where)
            return [mean], self._usage(reply, checked[i], "", repeats, 1)

        return self._scored(one, len(checked), 1)

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt: exact with a local `tokenizer` (and its chat template), else words and marks x 1.3, and 4 a turn."""
        return self._counter(check_prompt(prompt))

    def models(self) -> list[str]:
        """Names of the server's models; empty where it doesn't tell."""
        return self._calls.models()

    def _require(self, feature: str) -> None:
        if feature not in self.features:
            hint = "give prefill=True if the server goes on from an assistant's turn" if feature == "prefill" else ""
            raise lacks(self.name, self.features, feature, hint)

    def _checked(self, prompts: Sequence[Prompt]) -> list[str | list[Message]]:
        checked = check_prompts(prompts)
        if any(map(is_begun, checked)):
            self._require("prefill")
        return checked

    def _fields(
        self,
        prompt: str | list[Message],
        dialect: Dialect,
        max_tokens: int,
        temperature: float,
        top_p: float,
        stop: Sequence[str],
        seed: int | None,
    ) -> dict[str, Any]:
        """A request's fields, those of the client's `create`."""
        made: dict[str, Any] = {"model": self.model, "temperature": temperature}
        beyond: dict[str, Any] = {}
        if self.api == "completions":
            made |= {"prompt": flattened(prompt), "max_tokens": max_tokens}
        else:
            turns = [Message("user", prompt)] if isinstance(prompt, str) else prompt
            made |= {"messages": [t._asdict() for t in turns], dialect.limit: max_tokens}
            if is_begun(prompt):
                beyond = {"continue_final_message": True, "add_generation_prompt": False}
        if top_p != 1:
            made["top_p"] = top_p
        if stop:
            made["stop"] = list(stop[:_STOPS])
        if seed is not None:
            made["seed"] = seed
        return made | {"extra_body": beyond | self._extra}

    def _reply(self, fields: Callable[[Dialect], dict[str, Any]], halt: threading.Event, prompt: str) -> tuple[dict[str, Any], int]:
        """The server's reply as JSON, and how often the request was repeated."""
        create = self._endpoint().with_raw_response.create
        return self._calls.reply(lambda dialect: create(**fields(dialect)), halt, prompt)

    def _endpoint(self) -> Any:
        client = self._calls.client
        return client.chat.completions if self.api == "chat" else client.completions

    def _pieces(
        self,
        prompt: str | list[Message],
        fields: Callable[[Dialect], dict[str, Any]],
        stop: Sequence[str],
        max_tokens: int,
        whole: list[Completion],
    ) -> Iterator[str]:
        begun, search, given = time.perf_counter(), StopSearch(stop), ""
        raw: list[str] = []
        finish: str | None = None
        counted: dict[str, Any] = {}
        events, repeats = self._calls.repeated(lambda dialect: self._endpoint().create(**fields(dialect)), threading.Event(), "")
        with events:
            for event in heard(events, self._calls.where, raw):
                counted = event if event.get("usage") else counted
                piece, reason = replies.piece_of(event)
                finish = reason or finish
                raw.append(piece)
                if not search.stopped and (ready := search.add(piece)):  # after a stop string the server's counts are waited for
                    given += ready
                    yield ready
        if finish is None:
            raise errors.broken_off(None, self._calls.where, sum(map(len, raw)))
        if rest := search.end():
            given += rest
            yield rest
        usage = self._timed(self._usage(counted, prompt, "".join(raw), repeats, max_tokens), begun)
        whole.append(Completion(given, "stop" if search.stopped else replies.finish_of(finish), usage))

    def _scored(self, work: Callable[[int, threading.Event], tuple[list[float], Usage]], rows: int, columns: int) -> Scored:
        begun = time.perf_counter()
        made = self._calls.each(work, rows)
        values = np.array([row for row, _ in made], np.float32).reshape(rows, columns)
        return Scored(values, self._timed(sum((usage for _, usage in made), FREE), begun) if made else FREE)

    def _usage(self, reply: Mapping[str, Any], prompt: str | list[Message], text: str, repeats: int, limit: int) -> Usage:
        read, written, cached = replies.counted(reply)
        read = self._counter(prompt) if read is None else read
        written = min(self._counter.of_text(text), limit) if written is None else written
        cost = 0.0 if self._prices is None else self._prices.cost(prompt=read, cached=cached, generated=written)
        return Usage(calls=1, prompt_tokens=read, cached_tokens=cached, generated_tokens=written, retries=repeats, cost=cost)

    def _timed(self, usage: Usage, begun: float) -> Usage:
        return usage + Usage(seconds=time.perf_counter() - begun)

    def _blacken(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= 8 else text  # a word like "none" is no secret


def flattened(prompt: str | Sequence[Message]) -> str:
    """Turns as plain text for the completions API; a last assistant's turn is left open, text is left as it is.

    >>> flattened([Message("system", "Be short."), Message("user", "Why?")])
    'System: Be short.\\n\\nUser: Why?\\n\\nAssistant:'
    >>> flattened([Message("user", "Why?"), Message("assistant", "Because")])
    'User: Why?\\n\\nAssistant: Because'
    """
    if isinstance(prompt, str):
        return prompt
    turns = [f"{t.role.capitalize()}: {t.content}" for t in prompt]
    return "\n\n".join(turns if is_begun(prompt) else [*turns, "Assistant:"])


def _check(model: str, api: str, timeout: float, retries: int, backoff: float, concurrency: int, without: Collection[str]) -> None:
    if not model:
        raise InputError("the model's name on the server is empty; give it as in 'openai:gpt-4.1-mini'")
    if api not in _API_FEATURES:
        raise InputError(f"api must be one of {', '.join(_API_FEATURES)}, got {api!r}")
    if not (timeout > 0 and retries >= 0 and backoff >= 0 and concurrency >= 1):
        raise InputError(
            f"timeout must be > 0, retries and backoff >= 0 and concurrency >= 1, got {timeout}, {retries}, {backoff} and {concurrency}"
        )
    unknown = set(without) - set(FEATURES) if not isinstance(without, str) else {without}
    if unknown:
        raise InputError(f"without must be a list of features ({', '.join(FEATURES)}), got {sorted(unknown)}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password:  # they would stand in logs and errors
        raise InputError("base_url must not hold a user or a password; give what the server wants as api_key")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"base_url must be an address as http://127.0.0.1:8000/v1, got {text!r}")
    return text.rstrip("/")
