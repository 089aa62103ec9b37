"""At most so many passages of one document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragkit.join import query_of
from ragkit.pipelines.reorder.keep import keep_hits, source_of
from ragkit.run import Run
from ragkit.stage import Stage, check_k


@dataclass(frozen=True)
class PerDocument(Stage):
    """Keeps the n best passages of each document; scores and order stay.

    raises  InputError for n below 1, or a run without a source

    >>> from ragkit import Retrieve
    >>> (Retrieve("bm25", 200) >> PerDocument(2)) % 10
    (Retrieve('bm25', k=200) >> PerDocument(n=2)) % 10
    """

    n: int = 1

    def __post_init__(self) -> None:
        check_k(self.n, "n")

    def apply(self, run: Run, /) -> Run:
        documents = source_of(run, "PerDocument").document_rows(run.rows)
        query = query_of(run)
        by = np.lexsort((documents, query))  # stable: passages of one document stay best first
        new = np.append(True, (documents[by][1:] != documents[by][:-1]) | (query[by][1:] != query[by][:-1]))[: len(by)]
        starts = np.flatnonzero(new)
        nth = np.empty(len(by), np.int64)
        nth[by] = np.arange(len(by)) - np.repeat(starts, np.diff(np.append(starts, len(by))))
        return keep_hits(run, nth < self.n)
