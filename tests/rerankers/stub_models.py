"""Language models that are no networks: they read the worth written in each passage ("worth 17") and answer by it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ragkit.errors import ContextOverflow, InputError
from ragkit.generation import Choices, Completion, Constraint, Permutation, Prompt, Scored, Stream, Usage

_WORTH = re.compile(r"worth (\d+)")

Reply = Callable[[list[int], list[str]], str]
"""From the positions of the passages, best first, and their labels, to the text of an answer."""


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


def bracketed(order: list[int], labels: list[str]) -> str:
    return " > ".join(f"[{labels[i]}]" for i in order)


class StubModel:
    """Orders passages by their worth; `judge` changes the values that it sees, `reply` how it writes."""

    def __init__(
        self,
        *,
        features: Sequence[str] = ("next_token", "constraint", "prefill", "continuation"),
        context: int | None = None,
        judge: Callable[[list[float]], list[float]] = lambda values: values,
        reply: Reply = bracketed,
        name: str = "stub",
    ) -> None:
        self.name, self.fingerprint, self.context, self.features = name, f"stub:{name}", context, frozenset(features)
        self.judge, self.reply = judge, reply
        self.prompts: list[Prompt] = []

    def _values(self, prompt: Prompt) -> list[float]:
        self.prompts.append(prompt)
        if self.context is not None and (tokens := self.count_tokens(prompt)) > self.context:
            raise ContextOverflow(f"{tokens} tokens", tokens=tokens, limit=self.context)
        return self.judge([float(v) for v in _WORTH.findall(text_of(prompt))])

    def generate(
        self, prompts: Sequence[Prompt], *, max_tokens: int = 256, constraint: Constraint | Sequence[Constraint] | None = None, **_: Any
    ) -> list[Completion]:
        out = []
        for n, prompt in enumerate(prompts):
            values = self._values(prompt)
            order = sorted(range(len(values)), key=lambda i: -values[i])
            held = constraint[n] if isinstance(constraint, Sequence) else constraint
            if isinstance(held, Permutation):
                text = held.separator.join(held.pieces[i] for i in order).removeprefix(held.begin)
            elif isinstance(held, Choices):
                text = held.texts[order[0]]
            else:
                letters = "[A]" in text_of(prompt) or "Passage A" in text_of(prompt)
                text = self.reply(order, [chr(65 + i) if letters else str(i + 1) for i in range(len(values))])
            usage = Usage(calls=1, prompt_tokens=self.count_tokens(prompt), generated_tokens=len(text.split()))
            out.append(Completion(text, usage=usage))
        return out

    def stream(self, prompt: Prompt, **settings: Any) -> Stream:
        done = self.generate([prompt], **settings)[0]
        return Stream(iter([done.text]), lambda: done)

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scored:
        rows = []
        for prompt in prompts:
            values = self._values(prompt)
            if len(values) == 1 and len(candidates) == 2:  # pointwise: the more worth, the likelier the first label
                values = [values[0], 0.0]
            elif len(values) == 1:  # grades, the best first
                values = [-abs(values[0] - grade) for grade in range(len(candidates) - 1, -1, -1)]
            padded = [*values, *[-math.inf] * (len(candidates) - len(values))]
            rows.append(np.array(padded) - np.logaddexp.reduce(padded))
        logprobs = np.array(rows, np.float32).reshape(len(rows), len(candidates))
        return Scored(logprobs, Usage(calls=len(prompts), passes=1, prompt_tokens=sum(map(self.count_tokens, prompts))))

    def continuation_logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> Scored:
        if len(prompts) != len(continuations):
            raise InputError("one continuation a prompt")
        found = [-100.0 + self._values(p)[0] for p in prompts]
        return Scored(np.array(found, np.float32)[:, None], Usage(calls=len(prompts)))

    def count_tokens(self, prompt: Prompt) -> int:
        return len(text_of(prompt).split())


def passages(worths: Sequence[int], words: int = 3) -> list[str]:
    """Texts that say what they are worth, in the given order."""
    return [f"worth {w} " + " ".join(["and"] * words) + f" number {n}" for n, w in enumerate(worths)]
