"""What goes into a language model and what comes out: messages, completions, scores, streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import GenerationError
from ragkit.generation.usage import FREE, Usage

if TYPE_CHECKING:
    from ragkit.generation.speculative.report import Speculation
    from ragkit.protocols import ContinuationIndex


class Message(NamedTuple):
    """One turn of a conversation. A last turn of the assistant is a beginning that the model goes on from."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | Sequence[Message]
"""Text that the model goes on from as it stands, or the turns of a conversation, which the model's own chat template arranges."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token that was written and its natural-log probability."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Sources:
    """Texts that an answer may quote, which a model that speculates drafts from.

    passages  as they stand in the prompt
    corpus    many more, as an n-gram index of the model's tokens
    short     the prompt with few of its passages, for a drafter that reads it in place of the prompt (`RAPID`)
    learn     whose text this is, prompt and answer, where a draft model may learn from it (`OnlineDraft`) and so shape what it drafts
              for others; "": it may not
    """

    passages: tuple[str, ...] = ()
    corpus: ContinuationIndex | None = None
    short: Prompt | None = None
    learn: str = ""


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    text      without the stop string; for a prompt that ends in an assistant's turn, what follows that beginning
    finish    "stop" (the model ended, or met a stop string, or a constraint was fulfilled), "length" (max_tokens
              were written), "filtered" (a server withheld the rest)
    usage     what it cost; in a batch the shared costs (passes, seconds) stand in the first completion alone, so that sums are true
    logprobs  of the tokens written, where they were asked for
    speculation  what drafts did for it, where the model speculates
    """

    text: str
    finish: Literal["stop", "length", "filtered"] = "stop"
    usage: Usage = FREE
    logprobs: tuple[TokenLogprob, ...] = ()
    speculation: Speculation | None = None


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of candidates, and what they cost.

    logprobs  float32 (P, C): natural-log probability of each candidate for each prompt; -inf where a server did not tell
    """

    logprobs: NDArray[np.float32]
    usage: Usage = FREE


@dataclass
class Stream(Iterator[str]):
    """Text as it is written: iterate for the pieces, then read `completion`; `close` stops the model early.

    >>> stream = Stream(iter(["The ", "end"]), lambda: Completion("The end"))
    >>> "".join(stream), stream.completion.finish
    ('The end', 'stop')
    """

    pieces: Iterator[str]
    finished: Callable[[], Completion]
    _ended: bool = field(default=False, init=False)
    _broken: bool = field(default=False, init=False)

    def __next__(self) -> str:
        try:
            return next(self.pieces)
        except StopIteration:  # after a failure or `close` as well, and then nothing is whole
            self._ended = not self._broken
            raise
        except BaseException:
            self._broken = True
            raise

    @property
    def completion(self) -> Completion:
        """The whole, once the pieces have ended; raises GenerationError before, and where they failed or were closed."""
        if self._broken:
            raise GenerationError("the text was broken off, by a failure or by close; ask for it again")
        if not self._ended:
            raise GenerationError("the text is still being written; read the stream to its end before you ask for its completion")
        return self.finished()

    def close(self) -> None:
        """Stop writing; what was written so far is lost, unless it had ended."""
        self._broken = not self._ended
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()
