"""What the rerankers that order windows share: plans of all queries in lockstep, each round one batch of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragkit.errors import ContextOverflow
from ragkit.rerankers.asking import FEWEST_WORDS, Asking, Question
from ragkit.rerankers.plans import Group, drive
from ragkit.rerankers.reorder import Ranking
from ragkit.rerankers.scrub import first_words
from ragkit.rerankers.stage import Candidates, LLMReranker
from ragkit.rerankers.windows import Consistent, Full, Sliding, TopDown, Windows

TWENTY_BY_TEN = Sliding()
"""The usual windows: 20 passages, each ten before the last."""

Window = tuple[int, Group]
Orders = list[Sequence[int] | None]


@dataclass(frozen=True, kw_only=True)
class WindowReranker(LLMReranker):
    """Base of the rerankers that order windows; a subclass defines `question` and `read`.

    windows     how a list is cut: `Sliding`, `Full`, `TopDown` or `Consistent`
    max_words   of each passage that are shown; None for all
    """

    windows: Sliding | Full | TopDown | Consistent = TWENTY_BY_TEN
    max_words: int | None = 300

    def question(self, asking: Asking, candidates: Candidates, group: Group) -> Question:
        """What is asked about one window."""
        raise TypeError(f"{type(self).__name__} defines no question(asking, candidates, group)")

    def read(self, asking: Asking, questions: Sequence[Question]) -> Orders:
        """The order of each window, as positions in it; None where the judgement failed."""
        raise TypeError(f"{type(self).__name__} defines no read(asking, questions)")

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """Windows of all queries side by side, round by round."""
        whole = [True] * len(candidates)

        def judge(windows: list[Window]) -> list[Sequence[int]]:
            questions = [self.question(asking, candidates[q], group) for q, group in windows]
            orders = self.read(asking, questions)
            answers: list[Sequence[int]] = []
            for (q, group), order in zip(windows, orders, strict=True):
                whole[q] &= order is not None
                answers.append(self._unjudged(group) if order is None else order)
            return answers

        driven = drive([self._fitting(asking, c).plan(len(c.texts)) for c in candidates], judge)
        asking.counts["windows"] += driven.calls
        asking.counts["rounds"] += driven.rounds
        return [Ranking(tuple(order), whole=whole[q]) for q, order in enumerate(driven.orders)]

    def _unjudged(self, group: Group) -> Sequence[int]:
        """A window's order without a judgement: as it stands, or for a list that was shuffled as it stood before."""
        if isinstance(self.windows, Consistent):
            return sorted(range(len(group)), key=group.__getitem__)
        return range(len(group))

    def _fitting(self, asking: Asking, candidates: Candidates) -> Windows:
        """The windows, made smaller where not even a few words of each passage would fit the model."""
        n = len(candidates.texts)
        size = min(self.windows.largest or n, n)

        def fits(window: int) -> bool:
            longest = sorted(range(n), key=lambda i: len(candidates.texts[i]), reverse=True)[:window]
            few = tuple(first_words(candidates.texts[i], FEWEST_WORDS) for i in longest)
            question = self.question(asking, Candidates(candidates.query, candidates.instruction, few, ()), tuple(range(window)))
            try:
                asking.fit(question)
            except ContextOverflow:
                return False
            return True

        if asking.model.context is None or size < 2 or fits(size):
            return self.windows
        asking.counts["windows_shrunk"] += 1
        return self.windows.at_most(max(2, _last_true(fits, 2, size)))


def _last_true(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from low to high - 1 for which a condition holds that, once false, stays so; low where it holds for none."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
