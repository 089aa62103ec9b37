"""Query likelihood: a passage is as good as the query is probable after it (Ponte & Croft, 1998; UPR, Sachan et al., EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.prompts import PointwisePrompt
from ragkit.rerankers.reorder import Ranking, scored_ranking
from ragkit.rerankers.single_token import need
from ragkit.rerankers.stage import Candidates, LLMReranker
from ragkit.rerankers.templates import QUERY_LIKELIHOOD, template


@dataclass(frozen=True, kw_only=True)
class QueryLikelihood(LLMReranker):
    """Scores each passage by the mean log-probability of the query's tokens after it. Needs no instruction-following model.

    prompt      "query_likelihood" or a PointwisePrompt that ends where the query is to follow
    max_words   of each passage that are shown
    source      Sachan et al., EMNLP 2022, eq. 1; effectiveness was seen to fall as models grow
    """

    prompt: str | PointwisePrompt = "query_likelihood"
    max_words: int | None = 300
    scale: ClassVar[str] = "logit"

    def __post_init__(self) -> None:
        super().__post_init__()
        template(QUERY_LIKELIHOOD, self.prompt)

    @cached_property
    def template(self) -> PointwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(QUERY_LIKELIHOOD, self.prompt)

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """Query by query, all passages of one in one call."""
        need(asking, "continuation")
        return [scored_ranking(self._scores(asking, c)) for c in candidates]

    def _scores(self, asking: Asking, candidates: Candidates) -> list[float | None]:
        reserve = asking.model.count_tokens(" " + candidates.asked) + 1

        def question(text: str) -> Question:
            return Question(
                (text,), lambda shown: self.template.build("", shown[0], "", prefill=True), words=self.max_words, reserve=reserve
            )

        asking.counts["passages"] += len(candidates.texts)
        return asking.likelihoods([question(text) for text in candidates.texts], " " + candidates.asked)
