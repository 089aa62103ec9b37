"""The loop that writes: choose a token for every row, let finished rows go, compute the next logits.

`Row` holds one prompt's text as it grows; `decode` drives a `Batch` of them, whatever model is behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from ragkit.generation.local.detokenise import Detokeniser
from ragkit.generation.local.sampling import Allowed, Sampling, check_numbers
from ragkit.generation.stops import StopSearch
from ragkit.generation.types import TokenLogprob


class Batch(Protocol):
    """Rows of a model that are computed side by side."""

    passes: int

    def start(self, keep: int = 1) -> Any:
        """Logits float32 (R, keep, V) after the prompts."""
        ...

    def step(self, tokens: Sequence[int]) -> Any:
        """Logits float32 (R, V) after one more token a row."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows."""
        ...


class Guide(Protocol):
    """Lets through only those tokens that a rule allows.

    done  the text is complete
    text  what was written, where the rule knows it better than the tokens do; else None
    """

    done: bool

    @property
    def text(self) -> str | None: ...
    def allowed(self) -> Allowed: ...
    def take(self, token: int) -> None: ...


class Row:
    """One prompt and what is written after it.

    number  of the prompt in its call
    ends    tokens that mean the end
    """

    def __init__(
        self,
        number: int,
        *,
        max_tokens: int,
        ends: frozenset[int],
        writer: Detokeniser,
        stops: StopSearch,
        guide: Guide | None,
        generator: Any,
    ) -> None:
        self.number, self.guide, self.generator = number, guide, generator
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish: Literal["stop", "length"] | None = None
        self._most, self._ends, self._writer, self._stops = max_tokens, ends, writer, stops
        self._text: list[str] = []
        self._told = 0

    @property
    def left(self) -> int:
        """Tokens that may still be written."""
        return self._most - len(self.tokens)

    @property
    def text(self) -> str:
        """All that was written and can be told."""
        known = None if self.guide is None else self.guide.text
        return "".join(self._text) if known is None else known

    def fresh(self) -> str:
        """What was written since this was asked last."""
        pieces = self._text[self._told :]
        self._told = len(self._text)
        return "".join(pieces)

    def take(self, token: int, logprob: float | None) -> bool:
        """Write a token; False where it was the last."""
        if self.guide is not None:
            self.guide.take(token)
        if token in self._ends:
            return self._end("stop")
        self.tokens.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        self._text.append(self._stops.add(self._writer.add(token)))
        if self._stops.stopped or (self.guide is not None and self.guide.done):
            return self._end("stop")
        return len(self.tokens) < self._most or self._end("length")

    def _end(self, finish: Literal["stop", "length"]) -> bool:
        if not self._stops.stopped:
            self._text.append(self._stops.add(self._writer.end()))
        if not self._stops.stopped:
            self._text.append(self._stops.end())
        self.finish = "stop" if self._stops.stopped else finish
        return False


def decode(batch: Batch, rows: Sequence[Row], sampling: Sampling, *, model: str, logprobs: bool = False) -> Iterator[None]:
    """Write all rows to their ends; yields after every token.

    raises   GenerationError, naming the model and the prompt, where logits are NaN
    """
    live = list(rows)
    logits = batch.start()[:, -1]
    while True:
        check_numbers(logits, [row.number for row in live], model)
        tokens = sampling.choose(logits, [row.generator for row in live], [row.guide.allowed() if row.guide else None for row in live])
        known = logprobs_of(logits, tokens) if logprobs else [None] * len(live)
        going = [i for i, row in enumerate(live) if row.take(tokens[i], known[i])]
        yield
        if not going:
            return
        if len(going) < len(live):
            batch.keep(going)
            live = [live[i] for i in going]
        logits = batch.step([row.tokens[-1] for row in live])


def logprobs_of(logits: Any, tokens: Sequence[int]) -> list[float]:
    """Of the tokens that were chosen, in the model's own distribution over the whole vocabulary."""
    chosen = logits.new_tensor(tokens).long()[:, None]
    out: list[float] = (logits.gather(-1, chosen)[:, 0] - logits.logsumexp(-1)).tolist()
    return out


def token_logprobs(tokenizer: Any, row: Row) -> tuple[TokenLogprob, ...]:
    """A row's tokens as text with their log-probabilities."""
    return tuple(TokenLogprob(_spell(tokenizer, t), p) for t, p in zip(row.tokens, row.logprobs, strict=bool(row.logprobs)))


def _spell(tokenizer: Any, token: int) -> str:
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if "▁" in piece:
        return piece.replace("▁", " ")
    return str(tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
