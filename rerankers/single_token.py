"""Single-token listwise reranking: the order of a window from the logits of its first identifier (FIRST, Reddy et al., EMNLP 2024).

A listwise model that is about to write the best passage's identifier has, in that one distribution, ordered all of them. One
forward pass a window, and no token is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ragkit.errors import InputError
from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.plans import Group
from ragkit.rerankers.prompts import ListwisePrompt, labels_of, spellings
from ragkit.rerankers.reorder import by_score
from ragkit.rerankers.stage import Candidates
from ragkit.rerankers.templates import LISTWISE, template
from ragkit.rerankers.window_reranker import Orders, WindowReranker


@dataclass(frozen=True, kw_only=True)
class SingleToken(WindowReranker):
    """Orders each window by how probable each identifier is as the first one written.

    prompt   name of a template, or a ListwisePrompt whose prefill ends where an identifier is to follow
    raises   InputError where the model's tokenizer has an identifier that is not one token (as 10 often is: use letters), where it
             can't go on from the beginning of an answer, or tells no probabilities
    source   Reddy et al., FIRST, EMNLP 2024; ties and identifiers that a server does not tell of keep their prior order
    """

    prompt: str | ListwisePrompt = "listwise_letters"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.template.prefill:
            raise InputError("a single-token prompt needs a prefill that an identifier follows, as '['; give one, or use 'first'")

    @cached_property
    def template(self) -> ListwisePrompt:
        """The prompt itself; `print(reranker.template.show())` shows it."""
        return template(LISTWISE, self.prompt)

    def question(self, asking: Asking, candidates: Candidates, group: Group) -> Question:
        texts = tuple(candidates.texts[i] for i in group)
        return Question(texts, lambda shown: self.template.build(candidates.asked, shown, prefill=True), words=self.max_words)

    def read(self, asking: Asking, questions: Sequence[Question]) -> Orders:
        need(asking, "next_token", "prefill")
        labels = labels_of(self.template.labels, max(len(q.texts) for q in questions))
        found = asking.next_tokens(questions, [spellings(label) for label in labels], a_text=True)
        return [None if row is None else by_score(row) for row in found]


def need(asking: Asking, *features: str) -> None:
    """Raise InputError naming a feature that the model lacks."""
    what = {
        "next_token": "tells no probabilities of next tokens",
        "prefill": "can't go on from the beginning of an answer",
        "continuation": "tells no probabilities of continuations",
        "parallel": "can't read passages side by side",
    }
    for feature in features:
        if feature not in asking.model.features:
            raise InputError(f"{asking.model.name!r} {what[feature]}; use a local model, or a reranker that reads written answers")
