"""Listwise reranking: the model writes the order of a window (RankGPT, Sun et al., EMNLP 2023; RankZephyr; full ranking).

A local model is held to a valid permutation while it writes. A server's text is read tolerantly (`ragkit.rerankers.replies`):
what it does not name keeps its prior order, and every repair is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ragkit.errors import InputError
from ragkit.generation import Permutation
from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.plans import Group
from ragkit.rerankers.prompts import ListwisePrompt, labels_of
from ragkit.rerankers.replies import parse_permutation
from ragkit.rerankers.stage import Candidates
from ragkit.rerankers.templates import LISTWISE, template
from ragkit.rerankers.window_reranker import Orders, WindowReranker

TOKENS_PER_LABEL = 8
"""Tokens that an identifier with its brackets and separator takes at most."""


@dataclass(frozen=True, kw_only=True)
class Listwise(WindowReranker):
    """Asks for the whole order of each window as text.

    prompt        name of a template (see `ragkit.rerankers.templates`), or a ListwisePrompt
    constrained   True: the model can only write a permutation (local models); False: it writes freely, and the text is read
                  tolerantly; None: True where the model can
    thinking      further tokens for a model that thinks before it answers
    counts        "ok", "repetition", "missing", "out_of_range", "wrong_format": windows by what was wrong with their text
    source        Sun et al., EMNLP 2023; Pradeep et al., RankZephyr

    >>> Listwise("some/model", windows=Full()).prompt
    'listwise'
    """

    prompt: str | ListwisePrompt = "listwise"
    constrained: bool | None = None
    thinking: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        template(LISTWISE, self.prompt)
        if self.thinking and self.constrained:
            raise InputError("a model that is held to a permutation can't think first; leave out one of thinking and constrained")

    @cached_property
    def template(self) -> ListwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(LISTWISE, self.prompt)

    def question(self, asking: Asking, candidates: Candidates, group: Group) -> Question:
        texts = tuple(candidates.texts[i] for i in group)
        prefill = "prefill" in asking.model.features and not self.thinking
        n = len(texts)
        held = self._held(asking)
        begin = self.template.prefill if prefill else ""
        names = tuple(f"[{name}]" for name in labels_of(self.template.labels, n))
        return Question(
            texts,
            lambda shown: self.template.build(candidates.asked, shown, prefill=prefill),
            words=self.max_words,
            reserve=TOKENS_PER_LABEL * n + self.thinking,
            constraint=Permutation(names, self.template.separator, begin) if held else None,
        )

    def _held(self, asking: Asking) -> bool:
        can = "constraint" in asking.model.features
        if self.constrained and not can:
            raise InputError(f"{asking.model.name!r} can't be held to a permutation; leave out constrained, or use a local model")
        return can and self.constrained is not False and not self.thinking

    def read(self, asking: Asking, questions: Sequence[Question]) -> Orders:
        prefill = self.template.prefill if "prefill" in asking.model.features and not self.thinking else ""
        orders: Orders = []
        for question, reply in zip(questions, asking.write(questions), strict=True):
            if reply is None:
                orders.append(None)
                continue
            reading = parse_permutation(reply, len(question.texts), prefill=prefill, identifiers=self.template.labels)
            asking.counts.update(reading.outcomes)
            if reading.missing == len(question.texts):
                asking.unread("wrote an answer that names no passage")
            orders.append(None if reading.missing == len(question.texts) else reading.order)
        return orders
