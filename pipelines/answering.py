"""The LLM reader: a language model answers from fenced passages, and every citation is an exact span.

The model is asked to cite passages by number; what is cited in the end is the sentence of the passage that supports what was said,
found by `ragkit.pipelines.attribution`, whether the model cited well, badly or not at all. A reply without support is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, PlainValidator

from ragkit.errors import ContextOverflow, InputError
from ragkit.events import Done, Token
from ragkit.generation.load import llm
from ragkit.generation.types import Completion, Message, Sources, Stream
from ragkit.generation.usage import FREE
from ragkit.pipelines.answer_prompt import AnswerPrompt, Fitted, Fitting
from ragkit.pipelines.attribution import MIN_SUPPORT, Attributed, Attribution, TermsOf
from ragkit.pipelines.condense import Condensed, History, condensed, turns
from ragkit.pipelines.drafting import check_citable, sources_of, traced
from ragkit.pipelines.extractive import NOT_FOUND, _statistics
from ragkit.pipelines.links import Allowed, strip_links
from ragkit.pipelines.reply import ThinkingFilter, parse, says_not_found, without_thinking
from ragkit.pipelines.untrusted import visible_characters
from ragkit.protocols import LanguageModel, SpeculatingModel
from ragkit.run import Run
from ragkit.spec import validated
from ragkit.types import Answer, Query

NO_PASSAGE = "no passage was found"
NO_ROOM = "the budget has room for no sentence"
MODEL_SAYS_SO = "the model says so"
NOTHING_WRITTEN = "the model wrote nothing"
NOTHING_SUPPORTED = "no sentence of the reply is supported"


@validated
class LLMReader:
    """Answers with a language model from the passages of a question, each sentence with its citations.

    model        a model, or its name as `ragkit.generation.llm` takes it; loaded at the first question
    budget       tokens of passages at most (words and marks, as the chunkers count them); None: what the model reads
    order        how the passages stand in the prompt: see `ContextBuilder`
    max_tokens   of the reply; at most half of what the model reads and writes
    temperature  0: the most probable reply
    prompt       an `AnswerPrompt`; print it to see what the model is told
    min_support  share of a sentence's words, by weight, that its source has to hold: see `ragkit.pipelines.attribution`
    abstain      "unsupported": not found where the model says so or no sentence is supported; "model": only where it says so
    history      earlier turns: see `ragkit.pipelines.condense`; the search then asks the condensed question
    draft_passages  passages, the best ones, for a drafter that reads few in place of all (`RAPID`); None: it reads all

    An answer's confidence is the share of its sentences that are supported. Its trace has: model, usage, prompt_tokens, passages
    (shown), finish, invalid_citations, unsupported, attributed and reattributed sentences, dropped_citations, removed_links, and
    where it was not found the reason and the model's reply; budget, max_tokens, turns_left_out, neutralised, encoded_runs
    and leaked_marks only where there is something to tell; speculation where the model speculates (`ragkit.llm(…, speculate=)`).
    """

    model: str | LanguageModel
    _: KW_ONLY
    budget: Annotated[int, Field(ge=1)] | None = None
    order: Literal["rank", "document", "edges"] = "rank"
    max_tokens: Annotated[int, Field(ge=1)] = 512
    temperature: Annotated[float, Field(ge=0)] = 0.0
    prompt: AnswerPrompt = AnswerPrompt()
    min_support: Annotated[float, Field(ge=0, le=1)] = MIN_SUPPORT
    abstain: Literal["unsupported", "model"] = "unsupported"
    history: Annotated[History, PlainValidator(turns)] = ()
    draft_passages: Annotated[int, Field(ge=1)] | None = None
    name: ClassVar[str] = "llm"

    def read(self, run: Run) -> list[Answer]:
        """One answer a query, each from its own hits; raises GenerationError where the model fails, for one query as for all,
        and InputError where a drafter changes what the model writes so that it may not be cited (`Judge`).

        What a batch cost that the model refused for a prompt too long is in no answer's usage: such a batch is asked again in halves.
        """
        model = llm(self.model)
        check_citable(model)
        asked = self._asked(run, model)
        put = [a for a in asked if a.fitted is not None]
        replies = iter(self._generated(model, put, run))
        return [self._answer(a, next(replies), run) if a.fitted is not None else _not_found(a, model) for a in asked]

    def stream(self, run: Run) -> Iterator[Token | Done]:
        """The reply of one query piece by piece as the model writes it, then the answer; closing the iterator stops the model.

        The pieces are the raw reply less what the model thinks between two tags: its numbers count the passages of the prompt, and
        nothing in it is checked. Thinking that only </think> closes, for its opening stands in the model's template, is known too late
        and is shown. The answer at the end is what `read` gives.
        """
        if len(run) != 1:
            raise InputError(f"one question can be streamed at a time, got a run of {len(run)}")
        model = llm(self.model)
        check_citable(model)
        [asked] = self._asked(run, model)
        if asked.fitted is None:
            yield Done(_not_found(asked, model))
            return
        shown = ThinkingFilter()
        stream, first = self._opened(model, asked, run)
        try:
            if text := shown.feed(first):
                yield Token(text)
            for piece in stream:
                if text := shown.feed(piece):
                    yield Token(text)
        finally:
            stream.close()
        if text := shown.end():
            yield Token(text)
        yield Done(self._answer(asked, stream.completion, run))

    def standalone(self, question: str) -> Condensed | None:
        """The question to search with, in the conversation of this reader; None without one."""
        return condensed(self.model, self.history, question) if self.history else None

    def in_conversation(self, history: History) -> LLMReader:
        """The same reader with other turns before the question."""
        return replace(self, history=history)

    def _asked(self, run: Run, model: LanguageModel) -> list[_Asked]:
        terms_of = TermsOf(_statistics(run)) if len(run.rows) else None
        return [self._one(run, q, model, terms_of) for q in range(len(run))]

    def _one(self, run: Run, q: int, model: LanguageModel, terms_of: TermsOf | None) -> _Asked:
        query, at = run.queries[q], run.hits_of(q)
        question = _first(query).text
        if at.start == at.stop or terms_of is None:
            return _Asked(question, query.text, reason=NO_PASSAGE)
        fitting = Fitting(
            model, self.prompt, question, run.passages_at(at), run.scores[at].tolist(),
            turns(self.history), self.order, self.budget, self.max_tokens,
        )  # fmt: skip
        fitted = fitting.fit()
        if not fitted.context.blocks:
            return _Asked(question, query.text, reason=NO_ROOM)
        return _Asked(question, query.text, fitting, fitted, terms_of)

    def _generated(self, model: LanguageModel, asked: Sequence[_Asked], run: Run) -> list[Completion]:
        """Replies in order. Where a batch is refused, its halves are asked apart, so that only those beside what is too long are lost."""
        if not asked:
            return []
        try:
            return self._call(model, asked, run)
        except ContextOverflow as exc:  # a server's tokens are estimated, and what it reads may not be known before
            for one in asked:
                if len(asked) == 1:
                    one.shrink()
                while one.prompt.tokens > exc.limit > 0:
                    one.shrink()
            half = (len(asked) + 1) // 2
            return [*self._generated(model, asked[:half], run), *self._generated(model, asked[half:], run)]

    def _call(self, model: LanguageModel, asked: Sequence[_Asked], run: Run) -> list[Completion]:
        fitted = [a.prompt for a in asked]
        longest = min(f.max_tokens for f in fitted)
        how: dict[str, Any] = {"max_tokens": longest, "temperature": self.temperature}
        if "speculation" in model.features:
            how["sources"] = [self._sources(model, a, run) for a in asked]
        return model.generate([f.messages for f in fitted], **how)

    def _sources(self, model: LanguageModel, asked: _Asked, run: Run) -> Sources:
        return sources_of(cast(SpeculatingModel, model), asked.prompt.context.blocks, run, asked.shortened(self.draft_passages))

    def _opened(self, model: LanguageModel, asked: _Asked, run: Run) -> tuple[Stream, str]:
        """The stream and its first piece, "" where there is none."""
        while True:
            fitted = asked.prompt
            stream: Stream | None = None
            try:
                how: dict[str, Any] = {"max_tokens": fitted.max_tokens, "temperature": self.temperature}
                if "speculation" in model.features:
                    how["sources"] = self._sources(model, asked, run)
                stream = model.stream(fitted.messages, **how)
                return stream, next(stream, "")
            except ContextOverflow:
                if stream is not None:
                    stream.close()
                asked.shrink()

    def _answer(self, asked: _Asked, completion: Completion, run: Run) -> Answer:
        fitted = asked.prompt
        model = llm(self.model)
        text = without_thinking(visible_characters(completion.text)[0])
        leaked = text.count(fitted.marker)
        text = text.replace(fitted.marker, "")
        trace: dict[str, Any] = {
            "reader": self.name,
            "model": model.name,
            "usage": completion.usage.to_dict(),
            "prompt_tokens": fitted.tokens,
            "passages": len(fitted.context.blocks),
            "finish": completion.finish,
            **fitted.notes,
            **({"leaked_marks": leaked} if leaked else {}),
        }
        if completion.speculation is not None:
            trace["speculation"] = traced(completion.speculation, cast(SpeculatingModel, model), fitted.context.blocks, run)
        said, removed = _attributed(text, asked, self.min_support)
        trace |= {
            "invalid_citations": said.invalid,
            "dropped_citations": said.dropped,
            "removed_links": removed,
            "unsupported": said.unsupported,
            "attributed": said.attributed,
            "reattributed": said.reattributed,
        }
        if reason := self._reason(text, said):
            trace |= {"reason": reason, "reply": text}
            return Answer(asked.question, NOT_FOUND, found=False, trace=trace)
        return Answer(asked.question, said.text, tuple(said.citations), confidence=said.confidence, trace=trace)

    def _reason(self, text: str, said: Attributed) -> str:
        """Why a reply is no answer; "" if it is one."""
        whole = parse(text, 0)
        if whole.sentences and says_not_found(whole.text[whole.sentences[0].start : whole.sentences[0].end]):
            return MODEL_SAYS_SO
        if not said.text:
            return NOTHING_WRITTEN
        return NOTHING_SUPPORTED if self.abstain == "unsupported" and said.confidence == 0 else ""


@dataclass
class _Asked:
    """One question on its way through the reader; without a prompt it is not put to the model, for the reason given."""

    question: str
    searched: str
    fitting: Fitting | None = None
    fitted: Fitted | None = None
    terms_of: TermsOf | None = None
    reason: str = ""

    @property
    def prompt(self) -> Fitted:
        if self.fitted is None:
            raise TypeError("a question without a prompt is not put to a model")
        return self.fitted

    def shortened(self, passages: int | None) -> tuple[Message, ...] | None:
        """The prompt with so many passages alone; None where that is the prompt."""
        if passages is None or self.fitting is None or passages >= len(self.prompt.context.blocks):
            return None
        return self.fitting.shortened(self.prompt, passages)

    def shrink(self) -> None:
        """Half the passages, after the model found the prompt too long; raises the ContextOverflow at hand where none are left."""
        half = self.prompt.context.tokens // 2
        fitted = self.fitting.fit(below=half) if self.fitting is not None and half >= 1 else None
        if fitted is None or not fitted.context.blocks:
            raise ContextOverflow(f"the model has no room for one sentence of the passages beside the question {self.question!r}")
        self.fitted = fitted


def _attributed(text: str, asked: _Asked, min_support: float) -> tuple[Attributed, int]:
    """(the reply with exact citations, how many links were taken out).

    Links are judged by the passages that are cited, and these are found without links.
    """
    if asked.terms_of is None:
        raise TypeError("a question without hits has nothing to be attributed to")
    blocks = asked.prompt.context.blocks
    attribution = Attribution(blocks, f"{asked.question} {asked.searched}", asked.terms_of, min_support=min_support)
    plain, all_removed = _without_links(text, attribution, Allowed([]))
    if not all_removed:
        return plain, 0
    linked, removed = _without_links(text, attribution, Allowed(blocks[n].passage.text for n in plain.cited_blocks))
    return (linked, removed) if linked.cited_blocks >= plain.cited_blocks else (plain, all_removed)


def _without_links(text: str, attribution: Attribution, allowed: Allowed) -> tuple[Attributed, int]:
    """(the reply with exact citations and no link that is not allowed, how many were taken out).

    The marks of a reply, its fences and what it says of finding nothing are cut, and what stood on both sides may be a link
    together: so it is what comes out that must have none. Each round makes it shorter.
    """
    clean, removed = strip_links(text, allowed)
    while True:
        said = attribution.attribute(clean)
        clean, more = strip_links(said.bare, allowed)
        if clean == said.bare:
            return said, removed
        removed += more


def _not_found(asked: _Asked, model: LanguageModel) -> Answer:
    trace = {"reader": LLMReader.name, "model": model.name, "usage": FREE.to_dict(), "passages": 0, "reason": asked.reason}
    return Answer(asked.question, NOT_FOUND, found=False, trace=trace)


def _first(query: Query) -> Query:
    """The question as it was asked, before any stage wrote it anew."""
    while query.original is not None:
        query = query.original
    return query
