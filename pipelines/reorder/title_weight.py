"""Title weight: hits whose title or headings name what the question is about come first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.join import in_order, query_of
from ragkit.pipelines.fusion.normalise import minmax
from ragkit.pipelines.reorder.keep import check_number, source_of
from ragkit.protocols import TermStatistics
from ragkit.run import Run
from ragkit.stage import Stage
from ragkit.text import TermMapper, content_terms


@dataclass(frozen=True)
class TitleWeight(Stage):
    """Scores become (minmax(score) + weight * share) / (1 + weight), on the scale "unit".

    The share, in [0, 1], is the sum of the idf of the question's terms that occur in the title, over the sum of the idf of all
    its terms. Terms are those of the collection's first lexical index, without function and question words, each once; idf is
    ln(1 + (N - df + 0.5) / (df + 0.5)). Min-max runs over each query's hits: a title that holds the whole question is worth
    `weight` times the distance from the worst hit to the best, on every scale. A question without terms changes no order.

    weight    at least 0; 0 keeps the order
    headings  the headings above a passage count as its title, too
    raises    InputError for a bad weight, or a source without a lexical index; ScaleError for positions

    The passage of every hit is read: cut deep runs first, as in ``(pipeline % 100) >> TitleWeight(0.2)``.
    """

    weight: float = 0.2
    headings: bool = True
    tunable: ClassVar[tuple[str, ...]] = ("weight",)

    def __post_init__(self) -> None:
        check_number("TitleWeight", "weight", self.weight, 0.0)

    def apply(self, run: Run, /) -> Run:
        relevance = minmax(run)
        scores = ((relevance + self.weight * self._shares(run)) / (1 + self.weight)).astype(np.float32)
        return in_order(replace(run, scores=scores, scale="unit", floor=0.0))

    def _shares(self, run: Run) -> NDArray[np.float64]:
        """(H,) idf-weighted share of the question's terms that the hit's title holds."""
        if not len(run.rows):
            return np.zeros(0, np.float64)
        statistics = _statistics(run)
        rows, inverse = np.unique(run.rows, return_inverse=True)
        titles = self._titles(run, rows, statistics.analyzer.open())
        wanted = [_weights(query.text, statistics) for query in run.queries]
        wholes = [sum(weights.values()) for weights in wanted]
        shares = np.zeros(len(run.rows), np.float64)
        for hit, (q, row) in enumerate(zip(query_of(run).tolist(), inverse.tolist(), strict=True)):
            held = sum(weight for term, weight in wanted[q].items() if term in titles[row])
            shares[hit] = held / wholes[q] if wholes[q] else 0.0
        return shares

    def _titles(self, run: Run, rows: NDArray[np.int64], mapper: TermMapper) -> list[frozenset[str]]:
        """The terms of each row's title; passages of one section share theirs."""
        known: dict[tuple[str, ...], frozenset[str]] = {}
        out = []
        for passage in source_of(run, "TitleWeight").passages(rows):
            path = passage.path if self.headings else (passage.title,)
            if path not in known:
                known[path] = frozenset(term for part in path for term in mapper.terms(part))
            out.append(known[path])
        return out


def _statistics(run: Run) -> TermStatistics:
    found: TermStatistics | None = getattr(source_of(run, "TitleWeight"), "term_statistics", lambda: None)()
    if found is None:
        raise InputError("TitleWeight weighs words by how rare they are and needs a lexical index for that; add BM25 to the collection")
    return found


def _weights(question: str, statistics: TermStatistics) -> dict[str, float]:
    """Inverse document frequency of each term of a question."""
    n = statistics.n_rows
    frequencies = {term: statistics.df(term) for term in content_terms(question, statistics.analyzer)}
    return {term: log(1 + (n - df + 0.5) / (df + 0.5)) for term, df in frequencies.items()}
