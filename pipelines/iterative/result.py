"""What iterative generation gives: the text, the passages that it was written with, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ragkit.errors import GenerationError
from ragkit.generation.usage import Usage
from ragkit.pipelines.iterative.scheduler import Estimates, Measured, kept_strides, round_seconds
from ragkit.types import Passage


@dataclass(frozen=True)
class Round:
    """Some strides and the search that verified them.

    steps       strides that the scheduler wished for
    written     strides that were written, beside one that the round before had written ahead
    kept        strides that the text has of them, that one included
    queries     searched for at once; 0 where the text ended with the first stride
    matches     passages of the cache that were right, before the first that was not
    mismatch    whether one was not
    beside      whether a stride was written beside the search
    asking      seconds of making queries and asking the cache
    writing     seconds of the model
    ahead       those of them that were spent on that stride; None where it was given up
    searching   seconds of the search
    waiting     seconds in which nothing was written, or in vain, because of it
    """

    steps: int
    written: int
    kept: int
    queries: int
    matches: int
    mismatch: bool
    beside: bool
    asking: float
    writing: float
    ahead: float | None
    searching: float
    waiting: float

    @property
    def measured(self) -> Measured:
        """What the scheduler learns of it."""
        return Measured(
            self.matches,
            self.mismatch,
            self.written - (self.ahead is not None),
            self.asking + self.writing - (self.ahead or 0.0),
            self.searching if self.queries else None,
            self.beside,
            self.ahead,
        )


@dataclass(frozen=True)
class IterativeTrace:
    """How a text came about.

    mode      "plain", "synchronous" or "asynchronous"
    strides   of the text; discarded: others that were written with a wrong passage and taken back
    searches  of the index; retrievals: queries in all of them
    cached    rows in the local cache at the end
    passes    forward passes of the model
    seconds   asking (making queries, and asking the cache), writing (the model), searching (the index), waiting (for a search,
              while nothing was written), total
    rounds    of speculation; none in the plain loop
    """

    mode: Literal["plain", "synchronous", "asynchronous"]
    strides: int
    discarded: int
    searches: int
    retrievals: int
    cached: int
    passes: int
    seconds: dict[str, float]
    rounds: tuple[Round, ...] = ()

    @property
    def mismatches(self) -> int:
        """Rounds in which a passage of the cache was not the right one."""
        return sum(r.mismatch for r in self.rounds)

    @property
    def gamma(self) -> float | None:
        """How often a passage of the cache was the right one, of those that were compared; None where none was."""
        return self._estimates.gamma

    @property
    def stride_seconds(self) -> float | None:
        """Mean seconds of a stride, with its query, while no search was under way: the scheduler's a. None where there was none."""
        if self.mode == "plain":
            return (self.seconds["asking"] + self.seconds["writing"]) / self.strides
        return self._estimates.a

    @property
    def search_seconds(self) -> float:
        """Mean seconds of a search: the scheduler's b; 0 where there was none."""
        return self.seconds["searching"] / self.searches if self.searches else 0.0

    @property
    def predicted_seconds(self) -> float:
        """What the scheduler's model says that these strides take, from the a, b and gamma of the whole.

        Each round is expected to keep E(k) strides; what all rounds cost is divided by what they keep, and one search comes first.
        Where nothing was guessed, the parts are added up.
        """
        known = self._estimates
        a, b, gamma, beside = self.stride_seconds, known.b, known.gamma, known.beside
        if gamma is None or a is None or b is None:  # nothing was guessed: there is nothing to expect
            return self.seconds["searching"] + self.seconds["asking"] + self.seconds["writing"]
        cost = sum(round_seconds(r.steps, a, b, gamma, asynchronous=r.beside, beside=beside) for r in self.rounds)
        return self._first + self.strides * cost / sum(kept_strides(r.steps, gamma) for r in self.rounds)

    @property
    def _first(self) -> float:
        """Seconds of the search before the first round."""
        return self.seconds["searching"] - sum(r.searching for r in self.rounds)

    @property
    def _estimates(self) -> Estimates:
        made = Estimates(window=None)
        if self.rounds:
            made.search(self._first)
        for one in self.rounds:
            made.add(one.measured)
        return made

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, with what is derived."""
        told = ("mismatches", "gamma", "stride_seconds", "search_seconds", "predicted_seconds")
        made = {**asdict(self), **{name: getattr(self, name) for name in told}}
        return {**made, "rounds": [asdict(r) for r in self.rounds]}


@dataclass(frozen=True)
class Iterated:
    """A text and the passages that it was written with.

    text      what was written behind the prompt
    tokens    the same as the model's numbers
    finish    "stop" where the model ended it, "length" where max_tokens were written
    passages  of each stride; None for one that was written without
    trace     how it came about
    usage     of the model
    """

    text: str
    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]
    passages: tuple[Passage | None, ...]
    trace: IterativeTrace
    usage: Usage = field(compare=False)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; a passage as its document and the characters that it stands at."""
        places = [None if p is None else {"document": p.document, "start": p.start, "end": p.end} for p in self.passages]
        return {
            "text": self.text,
            "tokens": list(self.tokens),
            "finish": self.finish,
            "passages": places,
            "trace": self.trace.to_dict(),
            "usage": self.usage.to_dict(),
        }


class Writing(Iterator[str]):
    """A text as it is written: iterate for the pieces, whose passages are all verified, then read `result`; `close` stops it."""

    def __init__(self, pieces: Generator[str], finished: Callable[[], Iterated]) -> None:
        self._pieces, self._finished = pieces, finished
        self._ended = self._broken = False

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration:
            self._ended = not self._broken
            raise
        except BaseException:
            self._broken = True
            raise

    @property
    def result(self) -> Iterated:
        """The whole, once the pieces have ended; raises GenerationError before, and where they failed or were closed."""
        if not self._ended:
            why = (
                "was broken off, by a failure or by close; ask for it again"
                if self._broken
                else "is still being written; read it to its end"
            )
            raise GenerationError(f"the text {why}")
        return self._finished()

    def close(self) -> None:
        """Stop writing; a search that is under way is waited for, so that no thread is left behind."""
        self._broken = not self._ended
        self._pieces.close()
