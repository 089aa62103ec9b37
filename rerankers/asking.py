"""Asking a language model many things at once, with failures kept apart, and everything counted.

`Asking` holds one stage's model, its counters and its rule for errors. What is asked are `Question`s: passages and a way to
make a prompt of them, so that a prompt that is too long for the model can be made again of shorter passages.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from ragkit.errors import ContextOverflow, GenerationError, ReplyError, ServerError
from ragkit.generation import Constraint, Prompt, Scored, Usage
from ragkit.protocols import LanguageModel
from ragkit.rerankers.scrub import count_words, first_words

_log = logging.getLogger(__name__)
_Reply = TypeVar("_Reply")

FEWEST_WORDS = 8
"""A passage is not cut below so many words; where that is still too much, the judgement fails."""

OF_ONE_PROMPT = (400, 413, 422)
"""Statuses by which a server refuses one prompt (too long, filtered, malformed) and not whoever asks."""

NOTES = 5
"""Different failures that a report tells in words; all are counted."""


@dataclass(frozen=True)
class Question:
    """One prompt to be: made of passages, and made again of shorter ones where it does not fit.

    texts    scrubbed passages
    build    makes the prompt of them
    words    of each passage at most; None for all
    reserve  tokens that the answer may need
    constraint  all that may be answered
    about    what is asked about the passages, for those that build their prompt otherwise
    """

    texts: tuple[str, ...]
    build: Callable[[Sequence[str]], Prompt]
    words: int | None = None
    reserve: int = 1
    constraint: Constraint | None = None
    about: str = ""

    def prompt(self) -> Prompt:
        """The prompt of the passages, cut to the words allowed."""
        return self.build([first_words(t, self.words) for t in self.texts])


class Asking:
    """One stage's conversation with a model during one call; not shared between threads.

    counts   "failed" judgements, "shortened" prompts, and what the stage itself counts
    usage    of all calls
    notes    why judgements failed, each reason once
    """

    def __init__(self, model: LanguageModel, on_error: Literal["keep", "raise"]) -> None:
        self.model, self.on_error = model, on_error
        self.counts: Counter[str] = Counter()
        self.usage = Usage()
        self.notes: list[str] = []

    def next_tokens(
        self, questions: Sequence[Question], candidates: Sequence[Sequence[str]], *, a_text: bool = False
    ) -> list[list[float] | None]:
        """Log-probability of each candidate as the next token, a list a question; None where that failed, or none is told of.

        a_text  candidates stand for the question's texts, so that a question of fewer texts has fewer candidates
        """
        found = self._ask(questions, lambda _, prompts: self._scored(self.model.next_token_logprobs(prompts, candidates)))
        rows = [row if row is None or not a_text else row[: len(q.texts)] for q, row in zip(questions, found, strict=True)]
        return [self._told(row, candidates) for row in rows]

    def _told(self, row: list[float] | None, candidates: Sequence[Sequence[str]]) -> list[float] | None:
        if row is None or max(row) > -math.inf:
            return row
        self.unread(f"tells of none of {', '.join(repr(c[0]) for c in candidates[:3])}… among its most probable next tokens")
        return None

    def unread(self, what: str) -> None:
        """Count one judgement that says nothing as failed, or raise ReplyError: the model, and what it does."""
        self.fail(ReplyError(f"{self.model.name!r} {what}; use another prompt, or a model that follows it"))

    def likelihoods(self, questions: Sequence[Question], continuation: str) -> list[float | None]:
        """Mean log-probability per token of a continuation after each prompt; None where that failed."""
        found = self._ask(
            questions, lambda _, prompts: self._scored(self.model.continuation_logprobs(prompts, [continuation] * len(prompts)))
        )
        return [None if one is None else one[0] for one in found]

    def write(self, questions: Sequence[Question]) -> list[str | None]:
        """What the model writes after each prompt, by the question's constraint where it has one; None where that failed."""
        return self._ask(questions, self._written)

    def each(self, questions: Sequence[Question], call: Callable[[Question], tuple[Scored, _Reply]]) -> list[tuple[Scored, _Reply] | None]:
        """What a call of the caller's own finds for each question, one at a time; None where it failed."""

        def one_by_one(asked: Sequence[Question], _: list[Prompt]) -> list[tuple[Scored, _Reply]]:
            found = [call(question) for question in asked]
            self.usage = sum((scored.usage for scored, _ in found), self.usage)
            return found

        return self._ask(questions, one_by_one)

    def _written(self, questions: Sequence[Question], prompts: list[Prompt]) -> list[str]:
        limits = [q.constraint for q in questions if q.constraint is not None]
        done = self.model.generate(prompts, max_tokens=max(q.reserve for q in questions), constraint=limits or None)
        self.usage = sum((c.usage for c in done), self.usage)
        return [c.text for c in done]

    def _scored(self, scored: Scored) -> list[list[float]]:
        self.usage = self.usage + scored.usage
        found: list[list[float]] = scored.logprobs.tolist()
        return found

    def _ask(self, questions: Sequence[Question], call: Callable[[Sequence[Question], list[Prompt]], list[_Reply]]) -> list[_Reply | None]:
        """The replies in order; a question that fails does not take the others with it."""
        out: list[_Reply | None] = [None] * len(questions)
        fitting: list[tuple[int, Question]] = []
        for place, question in enumerate(questions):
            try:
                fitting.append((place, self.fit(question)))
            except ContextOverflow as exc:
                self.fail(exc)
        for place, reply in self._answered(fitting, call):
            out[place] = reply
        return out

    def _answered(
        self, asked: Sequence[tuple[int, Question]], call: Callable[[Sequence[Question], list[Prompt]], list[_Reply]]
    ) -> list[tuple[int, _Reply]]:
        """Replies with their places. Where a batch fails, its halves are asked apart, so that only what fails alone is lost."""
        if not asked:
            return []
        places, questions = zip(*asked, strict=True)
        try:
            return list(zip(places, call(questions, [q.prompt() for q in questions]), strict=True))
        except GenerationError as exc:
            if isinstance(exc, ServerError) and exc.status not in OF_ONE_PROMPT:
                self.fail(exc, len(asked))  # it has been tried again already, and would be as unreachable for each half
                return []
            if len(asked) > 1:
                half = len(asked) // 2
                return [*self._answered(asked[:half], call), *self._answered(asked[half:], call)]
            shorter = self._shorter(questions[0]) if isinstance(exc, ContextOverflow) else None
            if shorter is None:
                self.fail(exc)
                return []
            return self._answered([(places[0], shorter)], call)

    def fit(self, question: Question) -> Question:
        """The question with its passages cut so far that prompt and answer fit the model; raises ContextOverflow if that can't be.

        The cap on words shrinks by max(1, overflow / (4 × passages)) at a time, in the manner of RankGPT's followers.
        """
        limit = self.model.context
        if limit is None:
            return question
        whole = question
        while (overflow := self.model.count_tokens(question.prompt()) + question.reserve - limit) > 0:
            words = _longest(question)
            if words <= FEWEST_WORDS:
                raise ContextOverflow(
                    f"{len(question.texts)} passages of {words} words and the answer take {overflow} tokens more than the {limit} that "
                    f"{self.model.name!r} reads; use a smaller window or a model that reads more",
                    tokens=limit + overflow,
                    limit=limit,
                )
            less = max(1, overflow // (4 * max(1, len(question.texts))))
            question = replace(question, words=max(FEWEST_WORDS, words - less))
        if question is not whole:
            self.counts["shortened"] += 1
        return question

    def _shorter(self, question: Question) -> Question | None:
        """The question with half the words, for a server that did not tell how much it reads; None where that is too few."""
        words = _longest(question)
        if words <= FEWEST_WORDS:
            return None
        self.counts["shortened"] += 1
        return replace(question, words=max(FEWEST_WORDS, words // 2))

    def fail(self, exc: GenerationError, n: int = 1) -> None:
        """Count n failed judgements, or raise where the stage was told to."""
        if self.on_error == "raise":
            raise exc
        self.counts["failed"] += n
        note = str(exc)
        if note not in self.notes and len(self.notes) < NOTES:
            self.notes.append(note)
            _log.warning("a judgement failed, and the prior order stands in for it: %s", note)


def _longest(question: Question) -> int:
    """Words of the longest passage as it is shown."""
    longest = max(map(count_words, question.texts), default=0)
    return longest if question.words is None else min(longest, question.words)
