"""What one request writes, stride by stride, each with a passage of its own, and how strides are taken back.

Keys and values of a passage's prompt are kept for some strides: where the passage comes again, only what was written since is
read. A model's numbers depend, in their last bits, on the pieces that a text was read in; so these depend here on nothing but
the passages of the strides before, and taking strides back restores what was there. Two ways to the same strides, one of
which tried others in between, compute the same numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ragkit.errors import ContextOverflow
from ragkit.generation.local.causal import CausalBatch
from ragkit.generation.local.sampling import Sampling, check_numbers
from ragkit.generation.local.transformers_model import TransformersModel

KEPT = 8
"""Strides for which the keys and values of a passage that doesn't come again are kept."""

_GREEDY = Sampling(0.0, 1.0, None)


class Abandoned(Exception):
    """A stride was given up half written: its passage is known to be wrong."""


@dataclass
class _Read:
    """A prompt with its passage, read by the model.

    prompt   its tokens, a number
    written  tokens read behind it
    used     the last stride that used it
    """

    batch: CausalBatch
    prompt: int
    written: int
    used: int


@dataclass(frozen=True)
class _Stride:
    """What a stride changed: the first token that it wrote, and what was kept of its passage before."""

    row: int
    start: int
    before: _Read | None
    written: int
    used: int


class Text:
    """The tokens of one request.

    tokens   written so far, strides that may be taken back included
    finish   "stop" where the model ended it, "length" where max_tokens are written; None: it goes on
    passes   forward passes of the model
    """

    def __init__(self, model: TransformersModel, *, stride: int, max_tokens: int) -> None:
        self._model, self._stride, self._most = model, stride, max_tokens
        self.tokens: list[int] = []
        self.finish: Literal["stop", "length"] | None = None
        self.passes = 0
        self._strides: list[_Stride] = []
        self._read: dict[int, _Read] = {}

    def __len__(self) -> int:
        """Strides written so far."""
        return len(self._strides)

    @property
    def rows(self) -> list[int]:
        """The passage of each stride."""
        return [s.row for s in self._strides]

    def write(self, row: int, prompt: list[int], name: str, wrong: Callable[[], bool] = lambda: False) -> None:
        """One stride more behind a prompt with the passage of that row; name is what an error calls the passage.

        wrong   asked between the passes of the model: whether the stride is to be given up
        raises  ContextOverflow where the prompt leaves no room for max_tokens, GenerationError where logits are NaN, Abandoned;
                the text is then as it was before
        """
        self._check_room(len(prompt), name)
        number, known = len(self._strides), self._read.get(row)
        before = (None, 0, 0) if known is None else (known, known.written, known.used)
        self._strides.append(_Stride(row, len(self.tokens), *before))
        try:
            read, logits = self._begin(row, prompt, number)
            self._write(read, logits, wrong)
        except BaseException:
            self.back_to(number)
            raise

    def _begin(self, row: int, prompt: list[int], number: int) -> tuple[_Read, Any]:
        """What was read of the passage's prompt, now with all that is written, and the logits of what follows."""
        read = self._read.get(row)
        self.passes += 1
        if read is not None and number - read.used <= KEPT:
            logits = read.batch.read(self.tokens[read.written :])
        else:
            batch = CausalBatch(self._model.net, [[*prompt, *self.tokens]], None, self._most - len(self.tokens))
            read = _Read(batch, len(prompt), 0, number)
            logits = batch.start()[:, -1]
        read.written, read.used = len(self.tokens), number
        if self._model.net.reusable:
            self._read[row] = read
        return read, logits

    def _write(self, read: _Read, logits: Any, wrong: Callable[[], bool]) -> None:
        for left in range(self._stride - 1, -1, -1):
            check_numbers(logits, [0], self._model.name)
            (token,) = _GREEDY.choose(logits, [None], [None])
            if token in self._model.ends:
                self.finish = "stop"
                return
            self.tokens.append(token)
            if len(self.tokens) == self._most:
                self.finish = "length"
                return
            if left and wrong():
                raise Abandoned
            if left:
                logits = read.batch.step([token])
                read.written += 1
                self.passes += 1

    def back_to(self, strides: int) -> None:
        """Take all but the first strides back."""
        while len(self._strides) > strides:
            last = self._strides.pop()
            del self.tokens[last.start :]
            self.finish = None
            if last.before is None:
                self._read.pop(last.row, None)
            else:
                last.before.written, last.before.used = last.written, last.used
                self._read[last.row] = last.before
        for read in self._read.values():
            read.batch.cut(read.prompt + read.written)

    def commit(self) -> None:
        """Take what is written as final: nothing of it is taken back, and what no later stride can use is forgotten."""
        self._read = {row: read for row, read in self._read.items() if len(self._strides) - read.used <= KEPT}

    def _check_room(self, prompt: int, name: str) -> None:
        context = self._model.context
        if context is not None and prompt > context - self._most:
            raise ContextOverflow(
                f"the prompt with {name} has {prompt} tokens, and {self._most} are to be written, but {self._model.name!r} reads and "
                f"writes at most {context}; cut smaller passages, or shorten the prompt",
                tokens=prompt,
                limit=context - self._most,
            )
