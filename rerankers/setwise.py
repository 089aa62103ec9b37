"""Setwise reranking: which of a few passages is the best, and a sort that needs no more than that (Zhuang et al., SIGIR 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ragkit.errors import InputError
from ragkit.generation import Choices
from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.labels import first_label
from ragkit.rerankers.plans import Group, bubble_select, drive, heap_select
from ragkit.rerankers.prompts import ListwisePrompt, labels_of, spellings
from ragkit.rerankers.reorder import Ranking, by_score
from ragkit.rerankers.stage import Candidates, LLMReranker
from ragkit.rerankers.templates import SETWISE, template
from ragkit.stage import check_k


@dataclass(frozen=True, kw_only=True)
class Setwise(LLMReranker):
    """Finds the k best of each query; the others follow in their prior order.

    sort           "heap": the fewest calls; "bubble": more calls, and a good prior order saves some
    docs_per_call  passages that are shown at once; the paper's main results show 3, its code 4
    k              places at the top that are sorted
    votes          times that each set is judged, its passages shuffled but the first time; the majority counts
    by             "logits": labels by their probabilities; "text": the first label that is written; "auto": logits where the model can
    max_words      of each passage that are shown
    counts         "sets" judged; "unread": failed judgements whose reply names no passage. Where a set has no judgement, the passage
                   that was better placed in the prior order is taken
    source         Zhuang et al., SIGIR 2024, section 4
    """

    prompt: str | ListwisePrompt = "setwise"
    sort: Literal["heap", "bubble"] = "heap"
    docs_per_call: int = 3
    k: int = 10
    votes: int = 1
    by: Literal["auto", "logits", "text"] = "auto"
    max_words: int | None = 300
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        template(SETWISE, self.prompt)
        for name in ("k", "votes"):
            check_k(getattr(self, name), name)
        if self.sort not in ("heap", "bubble") or self.by not in ("auto", "logits", "text"):
            raise InputError(f'sort is "heap" or "bubble" and by "auto", "logits" or "text", got {self.sort!r} and {self.by!r}')
        if not (least := 3 if self.sort == "heap" else 2) <= self.docs_per_call <= 26:
            raise InputError(
                f"docs_per_call must be from {least} to 26 with sort={self.sort!r}, got {self.docs_per_call}; Pairwise compares two"
            )

    @cached_property
    def template(self) -> ListwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(SETWISE, self.prompt)

    def rank(self, asking: Asking, candidates: Sequence[Candidates]) -> list[Ranking]:
        """The sorts of all queries side by side, round by round."""
        whole = [True] * len(candidates)
        select = heap_select if self.sort == "heap" else bubble_select

        def judge(sets: list[tuple[int, Group]]) -> list[int]:
            shown = [self._shuffled(group) for _, group in sets]
            questions = [
                self._question(asking, candidates[q], [group[i] for i in order])
                for (q, group), orders in zip(sets, shown, strict=True)
                for order in orders
            ]
            found = iter(self._best(asking, questions))
            answers: list[int] = []
            for (q, group), orders in zip(sets, shown, strict=True):
                votes: Counter[int] = Counter()
                for order in orders:
                    best = next(found)
                    if best is None:
                        whole[q] = False
                    else:
                        votes[order[best]] += 1
                # without a judgement the item that was better placed stays the better one
                answers.append(min(votes, key=lambda place: (-votes[place], place)) if votes else group.index(min(group)))
            asking.counts["sets"] += len(sets)
            return answers

        driven = drive([select(len(c.texts), self.k, self.docs_per_call) for c in candidates], judge)
        asking.counts["rounds"] += driven.rounds
        return [Ranking(tuple(order), whole=whole[q]) for q, order in enumerate(driven.orders)]

    def _shuffled(self, group: Group) -> list[Sequence[int]]:
        """Orders in which a set is shown; its own draw, so that what other queries ask plays no part."""
        draw = np.random.default_rng([self.seed, *group])
        return [range(len(group)), *(draw.permutation(len(group)).tolist() for _ in range(self.votes - 1))]

    def _question(self, asking: Asking, candidates: Candidates, group: Sequence[int]) -> Question:
        texts = tuple(candidates.texts[i] for i in group)
        prefill = "prefill" in asking.model.features
        held = "constraint" in asking.model.features
        return Question(
            texts,
            lambda shown: self.template.build(candidates.asked, shown, prefill=prefill),
            words=self.max_words,
            reserve=TOKENS_OF_ANSWER,
            constraint=Choices(labels_of(self.template.labels, len(texts))) if held else None,
        )

    def _best(self, asking: Asking, questions: Sequence[Question]) -> list[int | None]:
        """The position of the best passage of each question; None where the judgement failed or names none."""
        if self.by == "logits" or (self.by == "auto" and "next_token" in asking.model.features):
            labels = labels_of(self.template.labels, max(len(q.texts) for q in questions))
            found = asking.next_tokens(questions, [spellings(label) for label in labels], a_text=True)
            return [None if row is None else by_score(row)[0] for row in found]
        best: list[int | None] = []
        for question, reply in zip(questions, asking.write(questions), strict=True):
            place = None if reply is None else first_label(reply, labels_of(self.template.labels, len(question.texts)))
            if reply is not None and place is None:
                asking.counts["unread"] += 1
                asking.unread("wrote an answer that names no passage")
            best.append(place)
        return best


TOKENS_OF_ANSWER = 16
"""Tokens in which a written answer is expected to name its label."""
