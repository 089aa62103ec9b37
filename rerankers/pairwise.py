"""Pairwise reranking: which of two passages is the better, asked both ways, and a sort on top (duoT5; PRP, Qin et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ragkit.errors import InputError
from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.labels import first_label
from ragkit.rerankers.plans import Group, PairPlan, all_pairs, drive, pair_bubble, pair_heap
from ragkit.rerankers.prompts import PairwisePrompt
from ragkit.rerankers.reorder import Ranking
from ragkit.rerankers.stage import Candidates, LLMReranker
from ragkit.rerankers.templates import PAIRWISE, template
from ragkit.stage import check_k


@dataclass(frozen=True, kw_only=True)
class Pairwise(LLMReranker):
    """Compares passages two by two, each pair in both orders; a contradiction counts as a tie.

    sort        "all": every pair, N² - N calls (duoT5); "heap" and "bubble": the k best by a sort (PRP)
    k           places at the top that are sorted, for "heap" and "bubble"; the others follow in their prior order
    max_calls   of each query; where it is spent the best order known so far stands; None for no limit
    prompt      "pairwise", "duo_t5", or a PairwisePrompt
    counts      "pairs" asked; "unread": failed judgements whose reply names neither passage. A pair without a judgement is a tie
    source      Pradeep et al., duoT5, 2021; Qin et al., NAACL Findings 2024
    """

    prompt: str | PairwisePrompt = "pairwise"
    sort: Literal["all", "heap", "bubble"] = "heap"
    k: int = 10
    max_calls: int | None = None
    max_words: int | None = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        template(PAIRWISE, self.prompt)
        check_k(self.k, "k")
        if self.max_calls is not None:
            check_k(self.max_calls, "max_calls")
        if self.sort not in ("all", "heap", "bubble"):
            raise InputError(f'sort is "all", "heap" or "bubble", got {self.sort!r}')

    @cached_property
    def template(self) -> PairwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(PAIRWISE, self.prompt)

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """The sorts of all queries side by side, round by round."""
        whole = [True] * len(candidates)

        def judge(pairs: list[tuple[int, Group]]) -> list[float]:
            found = self._preferences(asking, [self._question(asking, candidates[q], group) for q, group in pairs])
            for (q, _), preference in zip(pairs, found, strict=True):
                whole[q] &= preference is not None
            asking.counts["pairs"] += len(pairs)
            return [0.5 if preference is None else preference for preference in found]

        driven = drive([self._plan(len(c.texts)) for c in candidates], judge)
        asking.counts["rounds"] += driven.rounds
        return [Ranking(tuple(order), whole=whole[q]) for q, order in enumerate(driven.orders)]

    def _plan(self, n: int) -> PairPlan:
        if self.sort == "all":
            return all_pairs(n, max_calls=self.max_calls)
        if self.sort == "heap":
            return pair_heap(n, self.k, max_calls=self.max_calls)
        return pair_bubble(n, self.k, max_calls=self.max_calls)

    def _question(self, asking: Asking, candidates: Candidates, pair: Group) -> Question:
        prefill = "prefill" in asking.model.features
        return Question(
            tuple(candidates.texts[i] for i in pair),
            lambda shown: self.template.build(candidates.asked, shown[0], shown[1], prefill=prefill),
            words=self.max_words,
            reserve=16,
        )

    def _preferences(self, asking: Asking, questions: Sequence[Question]) -> list[float | None]:
        """P(the first of the pair is the better) of each question; None where the judgement failed."""
        if "next_token" in asking.model.features:
            found = asking.next_tokens(questions, self.template.answers)
            return [None if row is None else _first_of_two(row[0], row[1]) for row in found]
        labels = [spelt[0] for spelt in self.template.answers]
        out: list[float | None] = []
        for reply in asking.write(questions):
            place = None if reply is None else first_label(reply, labels)
            if reply is not None and place is None:
                asking.counts["unread"] += 1
                asking.unread("wrote an answer that names no passage")
            out.append(None if place is None else 1.0 - place)
        return out


def _first_of_two(first: float, second: float) -> float:
    """Probability of the first of two labels, from their log-probabilities, one of which may be -inf."""
    return 1 / (1 + math.exp(min(700.0, max(-700.0, second - first))))
