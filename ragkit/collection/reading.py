"""Reading a collection: documents, searches and answers, all from one pinned version.

A version stays as it is whatever is written meanwhile; `refresh` moves to the live one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, overload

from ragkit.bound import Bound
from ragkit.collection import strings, together, tracing
from ragkit.collection.manifest import pointer
from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.filters import Filter, as_filter
from ragkit.hits import Hits
from ragkit.matches import Matches
from ragkit.named import named_pipeline
from ragkit.protocols import LanguageModel, Reader
from ragkit.run import Run
from ragkit.stage import Retrieve, Stage, check_k
from ragkit.traces import Trace
from ragkit.types import Answer, Document, Query

if TYPE_CHECKING:
    from ragkit.collection.sync import SyncReport
    from ragkit.events import Event

FilterLike = Filter | str | Mapping[str, Any]


class Reading:
    """The reading half of a `ragkit.Collection`; safe to share between threads."""

    def __init__(self, folder: Path, *, lock_timeout: float = 10.0, auto_merge: bool = True) -> None:
        self.folder, self.lock_timeout, self.auto_merge = folder.absolute(), lock_timeout, auto_merge  # whatever the working folder becomes
        self.last_sync: SyncReport | None = None
        self._mutex, self._moving = RLock(), RLock()  # of writes, and of `refresh`, which does not wait for a write
        self._snapshot = Snapshot.live(self.folder)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is handed a collection opens it for itself, at the version that is live then."""
        return partial(type(self), lock_timeout=self.lock_timeout, auto_merge=self.auto_merge), (self.folder,)

    @property
    def version(self) -> Snapshot:
        """The version that reading calls use; pinned until `refresh` or a write through this object."""
        return self._snapshot

    def refresh(self) -> bool:
        """Move to the live version; True if it is a newer one."""
        with self._moving:
            if pointer(self.folder) == self._snapshot.pointer:
                return False
            self._snapshot = Snapshot.live(self.folder, self._snapshot)
            return True

    def __len__(self) -> int:
        """Live documents."""
        return self._snapshot.n_documents

    def __contains__(self, id: str) -> bool:
        return self._snapshot.find(id) is not None

    @overload
    def get(self, ids: str) -> Document: ...  # type: ignore[overload-overlap]  # a str is one id, though it is a sequence of str
    @overload
    def get(self, ids: Sequence[str]) -> list[Document]: ...
    def get(self, ids: str | Sequence[str]) -> Document | list[Document]:
        """The documents with these ids; raises UnknownNameError naming one that is not stored."""
        snapshot = self._snapshot
        return snapshot.get(ids) if isinstance(ids, str) else [snapshot.get(i) for i in ids]

    def iter(self, where: FilterLike | None = None) -> Iterator[Document]:
        """Every live document, or those for which a filter holds, in stored order."""
        snapshot = self._snapshot
        for segment, row in snapshot.documents(as_filter(where)):
            yield snapshot.views[segment].columns.document(row)

    __iter__ = iter

    def count(self, where: FilterLike | None = None) -> int:
        """Live documents, or those for which a filter holds."""
        condition = as_filter(where)
        return len(self) if condition is None else sum(int(mask.sum()) for mask in self._snapshot.matching(condition))

    def facets(self, field: str, *, where: FilterLike | None = None) -> dict[Any, int]:
        """How many documents have each value of a metadata field, the most frequent first; each entry of a list counts."""
        return self._snapshot.facets(field, as_filter(where))

    def grep(self, text: str, *, where: FilterLike | None = None, k: int | None = 20, context: int = 60) -> Matches:
        """Where a text stands, word for word, in the live documents or those for which a filter holds: the first k places, and how many.

        What counts as the same text is set by the collection's index of strings, `NGram`; by default capital and small letters,
        and one space and several, do. Without such an index all texts are read through.

        k        at least 1; None: all
        context  characters beside each
        """
        if k is not None:
            check_k(k)
        _check_context(context)
        return strings.grep(self._snapshot, text, where=as_filter(where), k=k, context=context)

    def together(
        self, clauses: Sequence[str | Sequence[str]], *, within: int | None = None, where: FilterLike | None = None,
        k: int | None = 20, context: int = 60,
    ) -> Matches:  # fmt: skip
        """Documents that hold all of some phrases: ``["outer gasket", ["winter", "spring"]]`` is the first and one of the others.

        Each match is the smallest stretch of a document that holds one phrase of each clause. What counts as the same text is as in `grep`.

        within  most characters of that stretch; None: the documents may be as long as they are
        k       documents to show; None: all
        """
        if k is not None:
            check_k(k)
        _check_context(context)
        return together.together(self._snapshot, clauses, within=within, where=as_filter(where), k=k, context=context)

    def occurrences(self, text: str, *, where: FilterLike | None = None) -> int:
        """How often a text stands in the live documents, or those for which a filter holds; see `grep`.

        cost  a few microseconds with an index of strings, without a filter and where nothing was deleted
        """
        return strings.count(self._snapshot, text, as_filter(where))

    def trace(self, text: str, *, least: int = 30, k: int = 3, context: int = 60) -> Trace:
        """The longest pieces of a text that the live documents hold word for word, and where: what an answer was copied from.

        What counts as the same text is as in `grep`. Without an index of strings one is made in memory, five bytes a byte of text.

        least    characters of the shortest piece
        k        places to name of each piece; context: characters beside each
        """
        check_k(k)
        _check_context(context)
        return tracing.trace(self._snapshot, text, least=least, k=k, context=context)

    def retriever(self, index: str) -> Bound:
        """One index of this collection as a pipeline to build on: ``c.retriever("bm25") % 100``."""
        self._snapshot.searcher(index)
        return Retrieve(index).on(self)

    @overload
    def search(  # type: ignore[overload-overlap]  # a str is one question
        self,
        query: str | Query,
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        group_by: Literal["document"] | None = None,
    ) -> Hits: ...
    @overload
    def search(
        self,
        query: Sequence[str | Query],
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        group_by: Literal["document"] | None = None,
    ) -> Run: ...
    def search(
        self,
        query: str | Query | Sequence[str | Query],
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        group_by: Literal["document"] | None = None,
    ) -> Hits | Run:
        """The k best passages of a question (Hits), or of each of several (a Run).

        k         at least 1; more than there is gives all there is
        where     only documents for which this filter holds: ``F.year >= 2020``, ``"year >= 2020"`` or ``{"year": {"$gte": 2020}}``
        using     an index's name or a pipeline; default the collection's
        group_by  "document" gives k documents, each by its best passage
        """
        check_k(k)
        if group_by not in (None, "document"):
            raise InputError(f'group_by is "document" or None, got {group_by!r}')
        stage = self._pipeline(using, k)
        single = isinstance(query, str | Query)
        if (condition := as_filter(where)) is not None:
            query = _filtered(query, condition)
        run = self._by_document(query, stage, k) if group_by else (stage % k).on(self)(query)
        return Hits.of(run) if single else run

    def _pipeline(self, using: str | Stage | Bound | None, k: int) -> Stage:
        """What a search goes through: a pipeline of this collection, or the named one, deep enough for k hits."""
        if isinstance(using, Bound):
            if using.collection is not self:
                raise InputError("the pipeline is bound to another collection; bind it to this one with .on(collection)")
            using = using.stage
        manifest = self._snapshot.manifest
        return using if isinstance(using, Stage) else _deepened(named_pipeline(using or manifest.default_pipeline, manifest.indexes), k)

    def _by_document(self, query: str | Query | Sequence[str | Query], stage: Stage, k: int) -> Run:
        """k documents by their best passages: looks deeper until there are k, or no more hits."""
        depth = 4 * k
        while True:
            run = (_deepened(stage, depth) % depth).on(self)(query)
            best = run.by_document().cut(k)
            short = (best.indptr[1:] - best.indptr[:-1] < k) & (run.indptr[1:] - run.indptr[:-1] >= depth)
            if not short.any():
                return best
            depth *= 4

    def ask(
        self,
        question: str,
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Answer:
        """Answer a question from the k best passages, with exact citations.

        reader   a reader or its name; default the extractive one, which quotes the best-supported sentences and says so where
                 there are none
        model    a language model or its name, to write the answer: the same as ``reader=LLMReader(model)``
        history  earlier turns of a conversation, (question, answer) pairs or answers: what is searched is then the question as
                 the model puts it for itself
        """
        bound, query = self._asked(question, k, where, using)
        return bound.ask(query, reader=reader, model=model, history=history)

    def stream(
        self,
        question: str,
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Generator[Event]:
        """`ask` step by step: Retrieved, Reranked, Token by Token, Done with the answer; see `ragkit.events`.

        Closing the generator stops the model.
        """
        bound, query = self._asked(question, k, where, using)
        return bound.stream(query, reader=reader, model=model, history=history)

    async def aask(
        self,
        question: str,
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> Answer:
        """`ask` for asyncio: it runs in a thread of its own, and cancelling the task stops the model at its next piece."""
        bound, query = self._asked(question, k, where, using)
        return await bound.aask(query, reader=reader, model=model, history=history)

    def astream(
        self,
        question: str,
        *,
        k: int = 10,
        where: FilterLike | None = None,
        using: str | Stage | Bound | None = None,
        reader: str | Reader | None = None,
        model: str | LanguageModel | None = None,
        history: Sequence[Any] = (),
    ) -> AsyncGenerator[Event]:
        """`stream` for asyncio, for ``async for``."""
        bound, query = self._asked(question, k, where, using)
        return bound.astream(query, reader=reader, model=model, history=history)

    def _asked(self, question: str, k: int, where: FilterLike | None, using: str | Stage | Bound | None) -> tuple[Bound, Query]:
        check_k(k)
        query, condition = Query("0", question), as_filter(where)
        return Bound(self._pipeline(using, k) % k, self), query if condition is None else _filtered(query, condition)

    def info(self) -> dict[str, Any]:
        """Counts, sizes and settings as plain JSON."""
        return self._snapshot.info()


@overload
def _filtered(query: str | Query, where: Filter) -> Query: ...  # type: ignore[overload-overlap]  # a str is one question
@overload
def _filtered(query: Sequence[str | Query], where: Filter) -> list[Query]: ...
def _filtered(query: str | Query | Sequence[str | Query], where: Filter) -> Query | list[Query]:
    """The same questions with a filter, beside the one that they may have."""
    if isinstance(query, str | Query):
        return _filtered([query], where)[0]
    made = [q if isinstance(q, Query) else Query(str(n), q) for n, q in enumerate(query)]
    return [replace(q, where=where if q.where is None else q.where & where) for q in made]


def _check_context(context: int) -> None:
    if isinstance(context, bool) or not isinstance(context, int) or context < 0:
        raise InputError(f"context must be a number of characters of at least 0, got {context!r}")


def _deepened(stage: Stage, depth: int) -> Stage:
    """A retriever that can return at least `depth` hits."""
    return Retrieve(stage.index, max(stage.k, depth)) if isinstance(stage, Retrieve) else stage
