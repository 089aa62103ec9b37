"""IterativeRAG: a text is written with a fresh passage every few tokens, as fast as speculation can make it.

source  Ram et al., In-Context Retrieval-Augmented Language Models, TACL 2023 (the loop); Zhang et al., Accelerating
        Retrieval-Augmented Language Model Serving with Speculation, ICML 2024 (RaLMSpec: its speculation)
"""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np

from ragkit.bound import Bound
from ragkit.collection.snapshot import Snapshot
from ragkit.errors import InputError
from ragkit.filters import Filter
from ragkit.generation.load import llm
from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.types import Prompt
from ragkit.generation.usage import Usage
from ragkit.pipelines.iterative.cache import NOTHING
from ragkit.pipelines.iterative.passages import Index, Passages, Pipeline, index_of
from ragkit.pipelines.iterative.prompt import TEMPLATE, PassagePrompt, check_template
from ragkit.pipelines.iterative.result import Iterated, IterativeTrace, Writing
from ragkit.pipelines.iterative.scheduler import Scheduler
from ragkit.pipelines.iterative.speculative import Request, plain, speculative
from ragkit.pipelines.iterative.writing import Text
from ragkit.protocols import Encoder, LanguageModel, RowScorer
from ragkit.stage import check_k


@dataclass(frozen=True)
class IterativeRAG:
    """Writes on from a prompt; every `stride` tokens the best passage for the last `query_tokens` tokens is put before it.

    retriever     a pipeline of a collection: ``collection.retriever("bm25")``
    model         a causal model on this machine, or its name as `ragkit.llm` takes it; loaded at the first prompt
    stride        tokens between two searches
    query_tokens  of the end of prompt and text, whose text is the query
    max_tokens    of a text
    speculate     guess passages from those that earlier searches of the text returned, and verify several at once. The same
                  text comes out, and the same passages; it needs one exact index (BM25, Dense). False: search before every stride
    asynchronous  write on while guesses are verified, where that is faster
    prefetch      rows of each search that are kept to guess from
    steps         strides of a round of speculation; None: as many as are fastest, by what the last rounds told
    template      how a passage stands before the prompt, or for a conversation before the text of its last message
    encoder       makes the vectors of queries, for an index over given vectors

    What is written is the most probable each time. A stride whose query finds nothing is written without a passage; the first
    must find one. How fast model, searches and guesses are is measured, and the next text begins with what the last one told.
    An object may be used by several threads; their forward passes take turns.
    """

    retriever: Bound
    model: str | LanguageModel
    _: KW_ONLY
    stride: int = 4
    query_tokens: int = 32
    max_tokens: int = 256
    speculate: bool = True
    asynchronous: bool = True
    prefetch: int = 20
    steps: int | None = None
    template: str = TEMPLATE
    encoder: Encoder | None = None
    _learnt: list[Scheduler] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.retriever, Bound):
            raise InputError(f"the retriever must be bound to a collection, as collection.retriever('bm25') is, got {self.retriever!r}")
        for name in ("stride", "query_tokens", "max_tokens", "prefetch", *(() if self.steps is None else ("steps",))):
            check_k(getattr(self, name), name)
        check_template(self.template)

    def generate(self, prompt: Prompt, *, where: Filter | None = None) -> Iterated:
        """The text behind a prompt.

        where   only passages of documents for which this filter holds
        raises  ContextOverflow where a passage, the prompt and max_tokens are more than the model reads; InputError where the
                first search finds nothing, or the index is not one to speculate with
        """
        writing = self.stream(prompt, where=where)
        for _ in writing:
            pass
        return writing.result

    def stream(self, prompt: Prompt, *, where: Filter | None = None) -> Writing:
        """The same piece by piece; nothing is computed before the first piece is asked for, nor after `close`."""
        done: list[Iterated] = []
        return Writing(self._pieces(prompt, where, done), lambda: done[0])

    def _pieces(self, prompt: Prompt, where: Filter | None, done: list[Iterated]) -> Generator[str]:
        start = perf_counter()
        model = self._model()
        text = Text(model, stride=self.stride, max_tokens=self.max_tokens)
        made = PassagePrompt(model.tokens, prompt, self.template)
        passages = self._passages(where)
        request = Request(model, passages, made, text, self.query_tokens)
        writer, told = Detokeniser(model.tokens.tokenizer, made.own), 0
        pieces: list[str] = []
        scheduler = deepcopy(self._learnt[-1]) if self._learnt else Scheduler(asynchronous=self.asynchronous, steps=self.steps)
        loop = speculative(request, passages, scheduler) if isinstance(passages, Index) and self.speculate else plain(request)
        try:
            for _ in loop:
                piece = "".join(map(writer.add, text.tokens[told:]))
                told = len(text.tokens)
                pieces.append(piece)
                if piece:
                    yield piece
        finally:
            loop.close()
        pieces.append(writer.end())
        if pieces[-1]:
            yield pieces[-1]
        self._learnt[:] = [scheduler]
        done.append(self._result("".join(pieces), request, perf_counter() - start))

    def _model(self) -> TransformersModel:
        model = llm(self.model)
        if not isinstance(model, TransformersModel):
            raise InputError(f"iterative retrieval needs a causal model on this machine, whose tokens it sees; {model.name!r} is none")
        return model

    def _passages(self, where: Filter | None) -> Passages:
        snapshot, index = self.retriever.collection.version, index_of(self.retriever)
        if index is not None and isinstance(snapshot, Snapshot):
            if self.speculate or _speculable(snapshot, index):
                return Index(snapshot, index, prefetch=self.prefetch, where=where, encoder=self.encoder)
        elif self.speculate:
            raise InputError(
                f"speculation asks one index of a collection, and {self.retriever.stage!r} is made of more; "
                "use collection.retriever(name), or speculate=False"
            )
        return Pipeline(self.retriever, where)

    def _result(self, text: str, request: Request, seconds: float) -> Iterated:
        written, rounds = request.text, tuple(request.rounds)
        times = request.times
        trace = IterativeTrace(
            mode="plain" if not rounds else "asynchronous" if self.asynchronous else "synchronous",
            strides=len(written),
            discarded=request.discarded,
            searches=request.searches,
            retrievals=request.retrievals,
            cached=request.cached,
            passes=written.passes,
            seconds={
                "asking": times.asking, "writing": times.writing, "searching": times.searching, "waiting": times.waiting, "total": seconds,
            },
            rounds=rounds,
        )  # fmt: skip
        rows = written.rows
        known = request.passages.source.passages(np.array([r for r in rows if r != NOTHING], np.int64))
        passed = iter(known)
        finish: Literal["stop", "length"] = written.finish or "length"
        return Iterated(
            text,
            tuple(written.tokens),
            finish,
            tuple(None if row == NOTHING else next(passed) for row in rows),
            trace,
            Usage(
                calls=1, passes=written.passes, prompt_tokens=len(request.prompt.own), generated_tokens=len(written.tokens), seconds=seconds
            ),
        )


def _speculable(snapshot: Snapshot, index: str) -> bool:
    """Whether the plain loop can search as speculation would: then both give the same text to the last tie."""
    searcher = snapshot.searcher(index)
    return isinstance(searcher, RowScorer) and searcher.exact
