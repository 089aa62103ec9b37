"""Queries for nothing: a sentence asks for the passage that it was taken out of (inverse cloze task, Lee, Chang and Toutanova, 2019).

They warm a reranker up on the documents themselves, before the few judged queries.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ragkit.errors import InputError
from ragkit.stage import check_k
from ragkit.text import sentence_spans
from ragkit.types import Passage, Query

WORDS = (4, 40)
"""Shortest and longest sentence that is taken, in words."""


def sentence_queries(passages: Iterable[Passage], n: int, *, seed: int = 7) -> tuple[list[Query], dict[str, dict[str, int]]]:
    """Queries and judgements for `mine(…, cut_query=True)`: of n passages drawn at random the title or a sentence, drawn evenly.

    returns  the queries, with the ids "sentence-0", …, and {query id: {document id: 1}}; fewer than n where passages are too short
    raises   InputError where no passage has a title or a sentence of 4 to 40 words besides other text
    """
    check_k(n, "n")
    given = list(passages)
    random = np.random.default_rng(seed)
    queries: list[Query] = []
    qrels: dict[str, dict[str, int]] = {}
    for i in random.permutation(len(given)):
        passage = given[i]
        found = [passage.title, *(passage.text[a:b] for a, b in sentence_spans(passage.text))]
        usable = [s for s in found if WORDS[0] <= len(s.split()) <= WORDS[1] and len(s) < len(passage.text) / 2]
        if not usable:
            continue
        query = Query(f"sentence-{len(queries)}", usable[int(random.integers(len(usable)))])
        queries.append(query)
        qrels[query.id] = {passage.document: 1}
        if len(queries) == n:
            break
    if not queries:
        raise InputError(f"none of the {len(given)} passages has a sentence of {WORDS[0]} to {WORDS[1]} words besides other text")
    return queries, qrels
