"""Phrases: quotation marks in a question mean what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ragkit.filters import F
from ragkit.run import Run
from ragkit.stage import Stage
from ragkit.text.phrases import split_phrases
from ragkit.types import Query


@dataclass(frozen=True)
class Phrases(Stage):
    """Makes filters of the phrases in quotation marks, for any pipeline behind it: ``Phrases() >> hybrid``.

    Documents must hold each phrase of a question, and none that has a minus sign before it: ``gasket "every year" -"in winter"``.
    The words of wanted phrases stay in the question. A question without phrases is left as it is.
    """

    def apply(self, run: Run, /) -> Run:
        return replace(run, queries=tuple(map(_filtered, run.queries)))


def _filtered(query: Query) -> Query:
    text, wanted, unwanted = split_phrases(query.text)
    conditions = [*(F.text.contains(p) for p in wanted), *(~F.text.contains(p) for p in unwanted)]
    if not conditions:
        return query
    where = query.where
    for condition in conditions:
        where = condition if where is None else where & condition
    return replace(query, text=text, where=where, original=query.original or query)
