"""Training examples for rerankers: the relevant passages of each query, and hard negatives, the best hits of a run that are not.

Negatives of the retriever whose hits will be reranked teach what it gets wrong (Gao, Dai and Callan, ECIR 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ragkit.errors import InputError
from ragkit.rerankers.passages import passage_text
from ragkit.rerankers.prompts import with_instruction
from ragkit.run import Run
from ragkit.stage import check_k
from ragkit.types import Passage


@dataclass(frozen=True)
class Example:
    """One query, its instruction after it, with the passages that a reranker should order, relevant ones first.

    labels  one a passage: its grade; 0 for a negative
    """

    query: str
    passages: tuple[str, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.passages) != len(self.labels) or not any(label > 0 for label in self.labels):
            raise InputError(
                f"an example needs one label a passage, at least one above 0; got {len(self.passages)} passages, labels {self.labels}"
            )


def mine(
    run: Run,
    qrels: Mapping[str, Mapping[str, int]],
    *,
    negatives: int = 7,
    among: tuple[int, int] | None = None,
    known: Mapping[str, Passage] | None = None,
    cut_query: bool = False,
    seed: int = 7,
) -> list[Example]:
    """One example a query that has a relevant passage.

    run        hits of the queries from any pipeline, best first
    qrels      query id → document id → grade; above 0 is relevant
    negatives  how many a query; fewer where the run has no more
    among      (first, last): drawn at random from the hits at places first to last - 1; None takes the best ones
    known      document id → passage, for relevant documents that the run missed; without it they are left out
    cut_query  take the query's own words out of its relevant passages: for queries that were taken from them
    seed       of the draw
    raises     InputError for a place or number out of range, or where no query has a relevant passage

    Of a relevant document the best placed passage is the positive; its other passages are neither positive nor negative.
    """
    check_k(negatives, "negatives")
    if among is not None and not 0 <= among[0] < among[1]:
        raise InputError(f"among must be two places (first, last) with 0 <= first < last, got {among}")
    examples = []
    positives: dict[str, Passage]
    for q, query in enumerate(run.queries):
        grades = {d: g for d, g in qrels.get(query.id, {}).items() if g > 0}
        passages = run.passages_at(run.hits_of(q)) if grades else []
        positives = {}
        for passage in (*(p for p in passages if p.document in grades), *(known[d] for d in grades if known and d in known)):
            positives.setdefault(passage.document, passage)
        if not positives:
            continue
        others = [p for p in passages[slice(*among) if among else slice(None)] if p.document not in grades]
        if among is None:
            chosen = others[:negatives]
        else:
            drawn = np.random.default_rng((seed, q)).permutation(len(others))[:negatives]
            chosen = [others[i] for i in np.sort(drawn)]
        labels = [*(grades[d] for d in positives), *(0 for _ in chosen)]
        texts = _texts(query.text, [*positives.values(), *chosen], len(positives), cut_query)
        examples.append(Example(with_instruction(query.text, query.instruction), tuple(texts), tuple(labels)))
    if not examples:
        raise InputError(
            f"none of the {len(run)} queries of the run has a relevant passage: the qrels of {len(qrels)} queries and the run must "
            "use the same ids of queries and documents"
        )
    return examples


def _texts(query: str, passages: list[Passage], positives: int, cut_query: bool) -> list[str]:
    """What is read of the passages. Where the query is the title of one, none keeps its title: else the one without it is the positive."""
    if cut_query and any(p.title == query for p in passages[:positives]):
        return [p.text for p in passages]
    texts = [passage_text(p) for p in passages]
    cut = [t.replace(query, " ", 1) for t in texts[:positives]] if cut_query else texts[:positives]
    return [*cut, *texts[positives:]]
