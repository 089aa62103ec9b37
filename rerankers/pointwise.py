"""Pointwise reranking: each passage by itself, scored by the probabilities of answer words (yes/no, grades, monoT5, ProRank, Qwen3).

No text is generated: one forward pass tells how probable each label is as the next word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.prompts import PointwisePrompt
from ragkit.rerankers.reorder import Ranking, scored_ranking
from ragkit.rerankers.single_token import need
from ragkit.rerankers.stage import Candidates, LLMReranker
from ragkit.rerankers.templates import POINTWISE, template


@dataclass(frozen=True, kw_only=True)
class Pointwise(LLMReranker):
    """Scores each passage by the labels of its prompt.

    With two labels the score is the difference of their logits (scale "logit"): monotone in the probability of the first among the
    two, and free of the ties that a bare yes or no would give. With more labels it is the expected grade.

    prompt      name of a template ("yes_no", "graded", "mono_t5", "prorank", "mxbai_rerank_v2", "qwen3_reranker", "follow_ir"), or a
                PointwisePrompt
    max_words   of each passage that are shown; None for as many as the model reads
    raises      InputError where the model tells no probabilities of next tokens
    source      Nogueira et al., monoT5, 2020; Zhuang et al., 2023 (grades); ProRank; a query's instruction goes into the prompt (FollowIR)
    """

    prompt: str | PointwisePrompt = "yes_no"
    max_words: int | None = None
    scale: ClassVar[str] = "logit"

    def __post_init__(self) -> None:
        super().__post_init__()
        template(POINTWISE, self.prompt)

    @cached_property
    def template(self) -> PointwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(POINTWISE, self.prompt)

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """Query by query: the prompts of one query share their beginning, which is then computed once."""
        need(asking, "next_token")
        if self.template.prefill and not self.template.raw:
            need(asking, "prefill")
        return [scored_ranking(self._scores(asking, c)) for c in candidates]

    def _scores(self, asking: Asking, candidates: Candidates) -> list[float | None]:
        def question(text: str) -> Question:
            return Question(
                (text,),
                lambda shown: self.template.build(candidates.query, shown[0], candidates.instruction, prefill=True),
                words=self.max_words,
            )

        asking.counts["passages"] += len(candidates.texts)
        found = asking.next_tokens([question(text) for text in candidates.texts], self.template.answers)
        return [None if row is None else worth(row, self.template.grades) for row in found]


def worth(logprobs: Sequence[float], grades: Sequence[float]) -> float:
    """What the labels' log-probabilities say, at least one of which is told: their difference for two, else the expected grade.

    >>> round(worth([math.log(0.6), math.log(0.2)], (1.0, 0.0)), 4), worth([0.0, -math.inf, -math.inf], (2.0, 1.0, 0.0))
    (1.0986, 2.0)
    """
    if len(grades) == 2:
        low = -50.0  # stands in for what a server did not tell, below all that it tells
        return max(logprobs[0], low) - max(logprobs[1], low) if grades[0] > grades[1] else max(logprobs[1], low) - max(logprobs[0], low)
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return sum(w * g for w, g in zip(weights, grades, strict=True)) / sum(weights)
