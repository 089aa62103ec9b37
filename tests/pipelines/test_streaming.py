"""Streaming: the events of an answer in order, closed and cancelled in time, the same in a loop as without one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from ragkit import Answer, Collection, Document, Query, Retrieve, Run, Stage
from ragkit.errors import InputError, ServerError
from ragkit.events import Done, Event, Reranked, Retrieved, Token
from ragkit.generation.calling import CallableModel
from ragkit.pipelines.answering import LLMReader
from ragkit.pipelines.extractive import NOT_FOUND, Extractive
from tests.pipelines import stub_model as stub

QUESTION = "How often is the outer gasket replaced?"
GASKET = "The outer gasket is replaced every 200 hours of running."


@pytest.fixture
def manuals(tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "c")
    made.add([Document(f"The pump has two gaskets. {GASKET}", id="pump.txt"), Document("Another outer gasket.", id="other.txt")])
    return made


@dataclass(frozen=True)
class Reversed(Stage):
    """Turns each query's hits round."""

    def apply(self, run: Run, /) -> Run:
        hits = np.concatenate([np.arange(run.hits_of(q).start, run.hits_of(q).stop)[::-1] for q in range(len(run))])
        return replace(run.take(run.indptr, hits), scores=-np.arange(len(hits), dtype=np.float32), scale="rank", floor=None)


@dataclass(frozen=True)
class Shouting(Stage):
    """Rewrites the question, as stages before a retrieval do."""

    def apply(self, run: Run, /) -> Run:
        return replace(run, queries=tuple(replace(q, text=q.text.upper(), original=q) for q in run.queries))


class Slow:
    """A model that writes until it is stopped, and knows whether it was."""

    def __init__(self) -> None:
        self.written, self.stopped, self.threads = 0, threading.Event(), set[int]()
        self.model = CallableModel(self._write, name="slow")

    def _write(self, prompt: stub.Prompt) -> Iterator[str]:
        self.threads.add(threading.get_ident())
        try:
            for _ in range(10_000):
                self.written += 1
                yield "word "
                time.sleep(0.001)
        finally:
            self.stopped.set()


def kinds(events: list[Event]) -> list[str]:
    names = [type(e).__name__ for e in events]
    return [name for n, name in enumerate(names) if n == 0 or name != "Token" or names[n - 1] != "Token"]


def plain(answer: Answer) -> Answer:
    """Without the seconds that it took."""
    usage = {**answer.trace.get("usage", {}), "seconds": 0}
    return replace(answer, trace={**answer.trace, "usage": usage})


def test_the_events_of_an_answer(manuals: Collection) -> None:
    events = list(manuals.stream(QUESTION, model=stub.model(stub.thinks)))
    assert kinds(events) == ["Retrieved", "Token", "Done"]
    assert [h.id for h in events[0].hits] == ["pump.txt", "other.txt"]  # type: ignore[union-attr]
    assert "".join(e.text for e in events if isinstance(e, Token)) == f"{GASKET} [1]"
    assert isinstance(events[-1], Done)
    assert plain(events[-1].answer) == plain(manuals.ask(QUESTION, model=stub.model(stub.thinks)))


def test_thinking_that_a_template_opened_is_shown_and_is_no_answer(manuals: Collection) -> None:
    """Before its end comes, nothing tells it from a reply."""
    *tokens, last = list(manuals.stream(QUESTION, model=stub.model(lambda prompt: f"Hm.</think>{GASKET} [1]")))[1:]
    assert "".join(e.text for e in tokens if isinstance(e, Token)) == f"Hm.</think>{GASKET} [1]"
    assert isinstance(last, Done)
    assert last.answer.text == f"{GASKET} [1]"


@pytest.mark.parametrize(
    "behaviour",
    [stub.honest, stub.without_marks, stub.wrong_numbers, stub.other_passage, stub.refuses, stub.thinks, stub.invents, stub.paints],
)
def test_the_last_event_is_what_ask_gives(manuals: Collection, behaviour: stub.Behaviour) -> None:
    for history in ([], [("Where is it?", "On the pump.")]):
        *_, last = manuals.stream(QUESTION, model=stub.model(behaviour), history=history)
        assert isinstance(last, Done)
        answer = manuals.ask(QUESTION, model=stub.model(behaviour), history=history)
        told, asked = plain(last.answer), plain(answer)
        for a in (told, asked):
            a.trace.pop("condensed", None)  # it holds seconds
        assert told == asked


def test_the_extractive_reader_is_done_after_retrieval(manuals: Collection) -> None:
    events = list(manuals.stream(QUESTION))
    assert kinds(events) == ["Retrieved", "Done"]
    assert events[1] == Done(manuals.ask(QUESTION))
    assert list(manuals.stream(QUESTION, reader=Extractive(sentences=1)))[1] == Done(manuals.ask(QUESTION, reader=Extractive(sentences=1)))


def test_nothing_found_is_done_without_tokens(manuals: Collection) -> None:
    events = list(manuals.stream("Xyzzy?", model=stub.model()))
    assert kinds(events) == ["Retrieved", "Done"]
    assert events[1].answer.text == NOT_FOUND  # type: ignore[union-attr]


def test_hits_are_shown_before_and_after_a_reranker(manuals: Collection) -> None:
    for pipeline in (
        Retrieve("bm25") >> Reversed(),
        (Retrieve("bm25") % 5 >> Reversed()) % 2,
        Shouting() >> Retrieve("bm25") >> Reversed(),
    ):
        events = list(pipeline.on(manuals).stream(QUESTION, model=stub.model()))
        assert kinds(events) == ["Retrieved", "Reranked", "Token", "Done"]
        first, second = events[:2]
        assert isinstance(first, Retrieved)
        assert isinstance(second, Reranked)
        assert [h.id for h in first.hits] == [h.id for h in second.hits][::-1] == ["pump.txt", "other.txt"]
    for pipeline in (Retrieve("bm25"), Retrieve("bm25") % 1, 2 * Retrieve("bm25") + Retrieve("bm25"), Shouting() >> Retrieve("bm25")):
        assert kinds(list(pipeline.on(manuals).stream(QUESTION))) == ["Retrieved", "Done"]
    assert kinds(list(manuals.stream(QUESTION, using=Retrieve("bm25") >> Reversed(), k=1))) == ["Retrieved", "Reranked", "Done"]


def test_a_rewritten_question_is_answered_as_it_was_asked(manuals: Collection) -> None:
    pipeline = (Shouting() >> Retrieve("bm25")).on(manuals)
    assert pipeline.ask(Query("a", QUESTION), model=stub.model()).question == QUESTION


def test_hits_come_before_the_model_is_asked(manuals: Collection) -> None:
    events = manuals.stream(QUESTION, model=stub.model(lambda prompt: pytest.fail("the model was asked")))
    assert isinstance(next(events), Retrieved)
    events.close()


def test_closing_stops_the_model(manuals: Collection) -> None:
    slow = Slow()
    events = manuals.stream(QUESTION, model=slow.model)
    assert kinds([next(events) for _ in range(4)]) == ["Retrieved", "Token"]
    assert not slow.stopped.is_set()
    events.close()
    assert slow.stopped.is_set()
    assert slow.written <= 4


def test_closing_stops_a_model_whose_stream_others_hold(manuals: Collection) -> None:
    """Not by luck of the collector: the stream and the reader's generator are closed by name."""
    slow, held = Slow(), []

    class Held(CallableModel):
        def stream(self, prompt, **settings):  # type: ignore[no-untyped-def]
            held.append(slow.model.stream(prompt, **settings))
            return held[-1]

    class Reader:
        def read(self, run: Run) -> list[Answer]:
            raise NotImplementedError

        def stream(self, run: Run) -> Iterator[Token | Done]:
            held.append(LLMReader(Held(stub.honest, name="held")).stream(run))
            return held[-1]  # type: ignore[no-any-return]

    events = manuals.stream(QUESTION, reader=Reader())
    assert kinds([next(events) for _ in range(3)]) == ["Retrieved", "Token"]
    events.close()
    assert slow.stopped.is_set()


def test_wrong_arguments_are_told_at_once(manuals: Collection) -> None:
    for call in (manuals.stream, manuals.astream, (Retrieve("bm25") % 2).on(manuals).stream):
        with pytest.raises(InputError, match="question is empty"):
            call(" ")
        with pytest.raises(InputError, match="needs a language model"):
            call(QUESTION, reader="llm")
    with pytest.raises(InputError, match="one question can be streamed"):
        next(LLMReader(stub.model()).stream(manuals.search(["a", "b"])))  # type: ignore[call-overload]


def test_asyncio_gives_the_same(manuals: Collection) -> None:
    async def main() -> tuple[list[Event], Answer]:
        events = [e async for e in manuals.astream(QUESTION, model=stub.model())]
        return events, await manuals.aask(QUESTION, model=stub.model())

    events, answer = asyncio.run(main())
    assert kinds(events) == ["Retrieved", "Token", "Done"]
    asked = plain(manuals.ask(QUESTION, model=stub.model()))
    assert plain(events[-1].answer) == plain(answer) == asked  # type: ignore[union-attr]
    assert asyncio.run(manuals.aask(QUESTION)) == manuals.ask(QUESTION)
    pipeline = (Retrieve("bm25") % 2).on(manuals)
    assert plain(asyncio.run(pipeline.aask(QUESTION, model=stub.model()))) == asked


def test_the_model_runs_beside_the_loop_and_starts_none(manuals: Collection) -> None:
    def write(prompt: stub.Prompt) -> Iterator[str]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        threads.append(threading.get_ident())
        for _ in range(20):
            time.sleep(0.005)
            yield "The pump has two gaskets. "

    threads: list[int] = []
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        async for _ in manuals.astream(QUESTION, model=CallableModel(write, name="write")):
            pass
        ticking.cancel()
        manuals.ask(QUESTION, model=stub.model())  # inside a loop, as in a notebook

    asyncio.run(main())
    assert threads
    assert threads[0] != threading.get_ident()
    assert ticks >= 5


@pytest.mark.parametrize("how", ["break", "cancel", "cancel aask"])
def test_cancelling_stops_the_model(manuals: Collection, how: str) -> None:
    slow = Slow()

    async def read() -> None:
        async for event in manuals.astream(QUESTION, model=slow.model):
            if how == "break" and isinstance(event, Token):
                break

    async def main() -> float:
        task = asyncio.create_task(manuals.aask(QUESTION, model=slow.model) if how == "cancel aask" else read())  # type: ignore[arg-type]
        while not slow.written:
            await asyncio.sleep(0.002)
        begun = time.perf_counter()
        if how != "break":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        waited = time.perf_counter() - begun
        assert await asyncio.to_thread(slow.stopped.wait, 5)
        return waited

    assert asyncio.run(main()) < 1
    assert slow.written < 5000


def test_a_model_outlives_its_loop_by_one_piece(manuals: Collection) -> None:
    slow = Slow()

    async def main() -> None:
        events = manuals.astream(QUESTION, model=slow.model)
        async for event in events:
            if isinstance(event, Token):
                break
        await events.aclose()

    asyncio.run(main())  # and the loop is closed
    assert slow.stopped.wait(5)


def test_what_goes_wrong_is_raised_where_it_is_awaited(manuals: Collection) -> None:
    def fails(prompt: stub.Prompt) -> Iterator[str]:
        yield "The pump"
        raise ServerError("the server is gone")

    model = CallableModel(fails, name="fails")

    async def read() -> None:
        async for event in manuals.astream(QUESTION, model=model):
            seen.append(event)

    seen: list[Event] = []
    with pytest.raises(ServerError, match="gone"):
        asyncio.run(read())
    assert kinds(seen) == ["Retrieved", "Token"]
    with pytest.raises(ServerError, match="gone"):
        asyncio.run(manuals.aask(QUESTION, model=model))
    with pytest.raises(ServerError, match="gone"):
        list(manuals.stream(QUESTION, model=model))
