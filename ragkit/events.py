"""Answers as they come about: the events of a stream, what produces them, and the same for asyncio.

`Retrieved`, where a stage orders the hits anew `Reranked`, as many `Token` as the reader writes, and `Done` with the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ragkit.compile import compile_pipeline
from ragkit.errors import InputError
from ragkit.generation.usage import Usage
from ragkit.hits import Hits
from ragkit.protocols import LanguageModel, Reader
from ragkit.registry import resolve
from ragkit.run import Run, Source
from ragkit.stage import Stage, Then
from ragkit.types import Answer, Query


@dataclass(frozen=True)
class Retrieved:
    """The first hits, before any later stage of the pipeline has changed them."""

    hits: Hits


@dataclass(frozen=True)
class Reranked:
    """The hits as they are read, where stages after the first retrieval changed them."""

    hits: Hits


@dataclass(frozen=True)
class Token:
    """Some of a model's reply as it is written: raw, not yet checked, its numbers those of the prompt."""

    text: str


@dataclass(frozen=True)
class Done:
    """The answer; what it says counts, whatever the tokens said."""

    answer: Answer


Event = Retrieved | Reranked | Token | Done


@runtime_checkable
class StreamingReader(Protocol):
    """A reader that shows what it writes while it writes it."""

    def stream(self, run: Run) -> Iterator[Token | Done]:
        """Pieces of the reply to the one query of a run, then the answer."""
        ...


class Standalone(Protocol):
    """A question that can be understood without its conversation."""

    @property
    def question(self) -> str: ...
    @property
    def usage(self) -> Usage: ...
    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class ConversationalReader(Protocol):
    """A reader that knows what was said before."""

    def in_conversation(self, history: Sequence[Any]) -> Reader: ...
    def standalone(self, question: str) -> Standalone | None: ...


def reader_for(reader: str | Reader | None, model: str | LanguageModel | None, history: Sequence[Any]) -> Reader:
    """The reader that a call asks for: by default the extractive one, and with a model the LLM reader.

    raises  InputError where a model is given to a reader that takes none, or a history to one that knows no conversation
    """
    if model is not None and reader not in (None, "llm"):
        raise InputError("a model was given beside a reader; give the model alone, or a reader that holds it, as LLMReader(model, …)")
    if reader == "llm" and model is None:
        raise InputError('the reader "llm" needs a language model; name one, as in model="openai:NAME"')
    made: Reader
    if reader is None or isinstance(reader, str):
        made = resolve("readers", "llm")(model) if model is not None else resolve("readers", reader or "extractive")()
    else:
        made = reader
    if not history:
        return made
    if not isinstance(made, ConversationalReader):
        raise InputError(f"{type(made).__name__} knows no conversation; a history needs a language model, as in model=…")
    return made.in_conversation(history)


@dataclass(frozen=True)
class Asking:
    """One question to one version of a collection, by one pipeline, for one reader."""

    query: Query
    stage: Stage
    source: Source
    reader: Reader

    def answer(self) -> Answer:
        """The answer, in one go."""
        query, standalone = self._searched()
        run = compile_pipeline(self.stage)(Run.of(query, self.source))
        return _noted(self.reader.read(run)[0], standalone)

    def events(self) -> Generator[Event]:
        """The same in steps; closing the generator stops the model."""
        query, standalone = self._searched()
        compiled = compile_pipeline(self.stage)
        run = Run.of(query, self.source)
        first: Run | None = None
        for part in compiled.stages if isinstance(compiled, Then) else (compiled,):
            run = part(run)
            if first is None and run.scale != "none":  # stages before the first retrieval change only the question
                first = run
                yield Retrieved(Hits.of(run))
        if first is None:
            yield Retrieved(Hits.of(run))
        elif len(run.report) > len(first.report):
            yield Reranked(Hits.of(run))
        if not isinstance(self.reader, StreamingReader):
            yield Done(_noted(self.reader.read(run)[0], standalone))
            return
        pieces = self.reader.stream(run)
        try:
            for event in pieces:
                yield Done(_noted(event.answer, standalone)) if isinstance(event, Done) else event
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _searched(self) -> tuple[Query, Standalone | None]:
        """What is searched: the question, or in a conversation the question that says the same by itself."""
        reader = self.reader
        standalone = reader.standalone(self.query.text) if isinstance(reader, ConversationalReader) else None
        if standalone is None or standalone.question == self.query.text:
            return self.query, standalone
        return replace(self.query, text=standalone.question, original=self.query), standalone


def _noted(answer: Answer, standalone: Standalone | None) -> Answer:
    """The answer with what was searched in its trace, and in its usage what that cost."""
    if standalone is None:
        return answer
    trace = {**answer.trace, "condensed": standalone.to_dict()}
    if "usage" in trace:
        trace["usage"] = (Usage(**trace["usage"]) + standalone.usage).to_dict()
    return replace(answer, trace=trace)


async def in_thread(start: Callable[[], Generator[Event]]) -> AsyncGenerator[Event]:
    """The events of a generator that runs in a thread of its own, so that the loop goes on meanwhile.

    Closing it, or cancelling the task that reads it, closes the generator in its thread, at its next event at the latest; the caller
    does not wait for that.
    """
    loop = asyncio.get_running_loop()
    come: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
    stopped = threading.Event()

    def hand_over(item: Event | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(come.put_nowait, item)

    def work() -> None:
        events = start()
        try:
            for event in events:
                if stopped.is_set():
                    break
                hand_over(event)
        except BaseException as exc:
            hand_over(exc)
        finally:
            events.close()
            hand_over(None)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="ragkit-stream", daemon=True).start()
    try:
        while (item := await come.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
