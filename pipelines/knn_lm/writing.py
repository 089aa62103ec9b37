"""What one request writes, token by token, and how tokens are taken back.

A model's numbers depend, in their last bits, on the pieces that a text was read in. Here it is always the prompt, and then one token
after the other; taking tokens back leaves what was read before as it was. The random number that a token is drawn by belongs to its
place in the text. So two ways to the same text, one of which tried other tokens in between, choose the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import ContextOverflow, GenerationError
from ragkit.generation.local.causal import CausalBatch
from ragkit.generation.local.sampling import Sampling, check_numbers
from ragkit.pipelines.knn_lm.keys import ContextKeys


class Text:
    """The tokens of one request.

    tokens     written so far, those that may be taken back included
    finish     "stop" where the model ended it, "length" where max_tokens are written; None: it goes on
    passes     of the model
    raises     ContextOverflow where the prompt leaves no room for max_tokens
    """

    def __init__(self, keys: ContextKeys, prompt: Sequence[int], *, max_tokens: int, sampling: Sampling, goes_back: bool) -> None:
        model = keys.model
        if model.context is not None and len(prompt) > model.context - max_tokens:
            raise ContextOverflow(
                f"the prompt has {len(prompt)} tokens, and {max_tokens} are to be written, but {model.name!r} reads and writes at most "
                f"{model.context}; shorten the prompt, or write less",
                tokens=len(prompt),
                limit=model.context - max_tokens,
            )
        self.tokens: list[int] = []
        self.finish: Literal["stop", "length"] | None = None
        self.passes = 0
        self._keys, self._model, self._prompt, self._most, self._sampling = keys, model, len(prompt), max_tokens, sampling
        self._batch = CausalBatch(model.net, [list(prompt)], None, max_tokens)
        self._goes_back = goes_back
        self._generator = sampling.generator()
        self._states: list[Any] = []

    def look(self) -> tuple[Any, NDArray[np.float32]]:
        """Read the last token, or at first the prompt; (the model's logits (1, V), the context's key (1, D)).

        raises  GenerationError where logits or key are no numbers; the token then is not read
        """
        before = self._batch.size
        first = self.passes == 0
        self.passes += 1
        try:
            step = (lambda: self._batch.start()[:, -1]) if first else (lambda: self._batch.step(self.tokens[-1:]))
            logits, keys = self._keys.watch(step)
            check_numbers(logits, [0], self._model.name)
        except GenerationError:
            if self._goes_back and not first:
                self._batch.cut(before)
            raise
        if first and self._goes_back:
            self._batch.remember()
        return logits, keys[-1:]

    def choose(self, logits: Any, place: int) -> int:
        """The token at a place of the text, by logits (1, V) and the place's own random number."""
        if self._generator is not None:
            if place == len(self._states):  # places are come to in order, each for the first time once
                self._states.append(self._generator.get_state())
            else:
                self._generator.set_state(self._states[place])
        (token,) = self._sampling.choose(logits, [self._generator], [None])
        return token

    def write(self, token: int) -> None:
        """Write a token, or where it ends texts, end."""
        if token in self._model.ends:
            self.finish = "stop"
            return
        self.tokens.append(token)
        if len(self.tokens) == self._most:
            self.finish = "length"

    def back_to(self, count: int) -> None:
        """Take all but the first tokens back; nothing but the last of these may be unread afterwards."""
        del self.tokens[count:]
        self.finish = None

    def settle(self) -> None:
        """Take what is written as final: the model forgets what it read and is not written."""
        self._batch.cut(min(self._batch.size, self._prompt + len(self.tokens)))
