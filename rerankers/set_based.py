"""Order-invariant listwise reranking: passages that don't see each other, all at one place (Set-Based Prompting).

The attention mask hides each passage from the others, and all begin at the same position, so that no passage is early or
late. Identifiers are given by the passages' texts, not by their places: permuting the candidates changes no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ragkit.generation import Prompt, Scored
from ragkit.protocols import ParallelModel
from ragkit.rerankers.asking import Asking, Question
from ragkit.rerankers.plans import Group
from ragkit.rerankers.prompts import labels_of, spellings
from ragkit.rerankers.reorder import by_score
from ragkit.rerankers.scrub import first_words
from ragkit.rerankers.single_token import SingleToken, need
from ragkit.rerankers.stage import Candidates
from ragkit.rerankers.window_reranker import Orders


@dataclass(frozen=True, kw_only=True)
class SetBased(SingleToken):
    """Orders each window by its identifiers' probabilities, read so that the order of the passages plays no part.

    For local models with full attention. Windows themselves still follow the prior order: within one window the result
    depends on the set of its passages alone, and with `Full()` the whole result does, equal scores apart.

    raises   InputError where the model can't mask passages from each other
    source   McIlroy-Young et al., Order-Independence Without Fine Tuning, NeurIPS 2024
    """

    def question(self, asking: Asking, candidates: Candidates, group: Group) -> Question:
        texts = tuple(candidates.texts[i] for i in group)

        def build(shown: Sequence[str]) -> Prompt:
            return self.template.build(candidates.asked, shown, prefill=True)

        return Question(texts, build, words=self.max_words, about=candidates.asked)

    def read(self, asking: Asking, questions: Sequence[Question]) -> Orders:
        need(asking, "parallel", "prefill")
        model = cast(ParallelModel, asking.model)

        def one(question: Question) -> tuple[Scored, list[int]]:
            shown = [first_words(text, question.words) for text in question.texts]
            places = sorted(range(len(shown)), key=lambda i: shown[i])  # identifiers go by the texts, so that places decide nothing
            labels = labels_of(self.template.labels, len(shown))
            prompt, mark = self.template.marked(question.about, len(shown))
            blocks = [self.template.passage.format(label=label, text=shown[i]) for label, i in zip(labels, places, strict=True)]
            return model.parallel_next_token_logprobs(prompt, mark, blocks, [spellings(label) for label in labels]), places

        orders: Orders = []
        for reply in asking.each(questions, one):
            if reply is None:
                orders.append(None)
                continue
            found, places = reply
            scores = [0.0] * len(places)
            for label, i in enumerate(places):
                scores[i] = float(found.logprobs[0, label])
            orders.append(by_score(scores))
        return orders
