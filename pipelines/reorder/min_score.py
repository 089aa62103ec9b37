"""Drop the hits below a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragkit.errors import ScaleError
from ragkit.pipelines.reorder.keep import check_number, keep_hits
from ragkit.run import Run
from ragkit.stage import Stage


@dataclass(frozen=True)
class MinScore(Stage):
    """Keeps the hits that score at least `score`, on the scale of the run that it is given.

    raises  InputError for a score that is no finite number; ScaleError, when it runs, for positions

    >>> from ragkit import Retrieve
    >>> Retrieve("bm25") >> MinScore(2.5)
    (Retrieve('bm25', k=1000) >> MinScore(score=2.5))
    """

    score: float

    def __post_init__(self) -> None:
        check_number("MinScore", "score", self.score)

    def apply(self, run: Run, /) -> Run:
        if run.scale == "rank":
            raise ScaleError("positions (scale 'rank') have no least score; cut them with % k, or put MinScore before the ranks are made")
        return keep_hits(run, run.scores >= np.float32(self.score))  # as float32, in which a run holds it: equal scores are kept
