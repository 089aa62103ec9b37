"""From scores to a ranking: the two tie rules.

``trec`` is trec_eval's: scores are compared as 32-bit floats, which is how trec_eval stores them, the
larger first; among equals the larger document id first, compared as strings by code point (the byte
order of their UTF-8). ``given`` keeps a retriever's own order: the larger score first, compared in
full precision; equals stay in the order in which the mapping holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from ragkit.errors import InputError

Ties = Literal["trec", "given"]


def ranking(query: str, hits: Mapping[str, float], ties: Ties) -> list[str]:
    """Document ids, best first.

    raises   InputError, naming the query, for a score that is NaN or no number, an id that is no string, another tie rule

    >>> ranking("q1", {"d1": 1.0, "d2": 1.0, "d3": 2.0}, "trec")
    ['d3', 'd2', 'd1']
    >>> ranking("q1", {"d1": 1.0, "d2": 1.0, "d3": 2.0}, "given")
    ['d3', 'd1', 'd2']
    """
    try:
        scores = np.fromiter(hits.values(), dtype=np.float64, count=len(hits))
    except (TypeError, ValueError) as exc:
        raise InputError(f"query {query!r} has a score that is no number ({exc}): give floats") from exc
    documents = list(hits)
    for document, score in zip(documents, scores, strict=True):
        if not isinstance(document, str):
            raise InputError(f"query {query!r} ranks the document {document!r}: ids must be strings, convert them with str()")
        if score != score:
            raise InputError(f"document {document!r} of query {query!r} has the score NaN, which has no place in a ranking: drop it")
    if ties == "trec":
        with np.errstate(over="ignore"):  # beyond the range of 32 bits scores tie at infinity, in trec_eval too
            singles = scores.astype(np.float32).tolist()
        return [document for _, document in sorted(zip(singles, documents, strict=True), reverse=True)]
    if ties == "given":
        return [documents[i] for i in np.argsort(-scores, kind="stable")]
    raise InputError(f"ties must be one of {', '.join(get_args(Ties))}, got {ties!r}")
