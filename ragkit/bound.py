"""A pipeline bound to a collection: call it with questions, ask it for answers, combine it with others of the same collection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ragkit.compile import compile_pipeline
from ragkit.errors import InputError
from ragkit.events import Asking, Done, Event, in_thread, reader_for
from ragkit.run import Run, Source
from ragkit.stage import Stage, as_stage
from ragkit.types import Answer, Query

if TYPE_CHECKING:
    from ragkit.protocols import LanguageModel, Reader


class Searchable(Protocol):
    """What a pipeline can be bound to: a collection, by its current snapshot."""

    @property
    def version(self) -> Source: ...


@dataclass(frozen=True)
class Bound:
    """A pipeline over a collection: call it with questions. Operators combine pipelines of one collection."""

    stage: Stage
    collection: Searchable

    def __call__(self, queries: str | Query | Sequence[str | Query]) -> Run:
        """The run of these questions in the collection's current snapshot."""
        return compile_pipeline(self.stage)(Run.of(queries, self.collection.version))

    def ask(
        self,
        question: str | Query,
        *,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Answer:
        """Answer a question from all hits of the pipeline; cut it with ``% k``. See `ragkit.Collection.ask`."""
        return self._asking(question, reader, model, history).answer()

    def stream(
        self,
        question: str | Query,
        *,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Generator[Event]:
        """The same step by step: Retrieved, Reranked where a later stage changed the hits, Token by Token, then Done with the answer.

        Work is done as events are asked for; closing the generator stops the model.
        """
        return self._asking(question, reader, model, history).events()

    async def aask(
        self,
        question: str | Query,
        *,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Answer:
        """`ask` in a thread of its own, step by step, so that cancelling the task stops the model at its next piece."""
        asking = self._asking(question, reader, model, history)
        answer: Answer | None = None
        async for event in in_thread(asking.events):
            if isinstance(event, Done):
                answer = event.answer
        if answer is None:
            raise InputError(f"{type(asking.reader).__name__}.stream ended without an answer; its last event has to be Done")
        return answer

    def astream(
        self,
        question: str | Query,
        *,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> AsyncGenerator[Event]:
        """`stream` in a thread of its own, for ``async for``; closing it, or cancelling its task, stops the model at its next piece."""
        return in_thread(self._asking(question, reader, model, history).events)

    def _asking(
        self, question: str | Query, reader: str | Reader | None, model: str | LanguageModel | None, history: Sequence[Any]
    ) -> Asking:
        query = question if isinstance(question, Query) else Query("0", question)
        if not query.text.strip():
            raise InputError("the question is empty; ask something, as in ask('How is data stored?')")
        return Asking(query, self.stage, self.collection.version, reader_for(reader, model, history))

    def _with(self, other: Any, operator: str) -> Stage:
        if isinstance(other, Bound):
            if other.collection is not self.collection:
                raise InputError(f"{operator} combines pipelines of one collection; bind both to the same object")
            return other.stage
        return as_stage(other, operator)

    def __rshift__(self, other: Any) -> Bound:
        return Bound(self.stage >> self._with(other, ">>"), self.collection)

    def __mod__(self, k: int) -> Bound:
        return Bound(self.stage % k, self.collection)

    def __rmul__(self, weight: float) -> Bound:
        return Bound(weight * self.stage, self.collection)

    def __add__(self, other: Any) -> Bound:
        return Bound(self.stage + self._with(other, "+"), self.collection)

    def __or__(self, other: Any) -> Bound:
        return Bound(self.stage | self._with(other, "|"), self.collection)

    def __and__(self, other: Any) -> Bound:
        return Bound(self.stage & self._with(other, "&"), self.collection)

    def __xor__(self, other: Any) -> Bound:
        return Bound(self.stage ^ self._with(other, "^"), self.collection)
