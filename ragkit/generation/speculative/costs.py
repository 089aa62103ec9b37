"""What a pass of a model costs by the number of tokens that it verifies, as measured while it writes."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_REMEMBERED = 9
_EVERY = 16
"""Measurements after which the table is made anew."""
_AGE = 128
"""Measurements after which a size that was not among them is forgotten: what was dear while the machine was busy is tried again."""
_GUESS = 0.01
"""What a token more costs, of the cost of one, where nothing is measured: too little, so that it is tried and measured."""


class Costs:
    """Seconds of passes over 1 to `most` tokens a row.

    >>> costs = Costs(4)
    >>> for _ in range(20):
    ...     costs.add(1, 0.10), costs.add(4, 0.16)  # doctest: +ELLIPSIS
    (None, None)...
    >>> costs.table.round(3).tolist()
    [0.1, 0.12, 0.14, 0.16]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[int, deque[float]] = {}
        self._table: NDArray[np.float64] = np.linspace(1, 1 + _GUESS * (most - 1), most)
        self._fresh, self._n = 0, 0
        self._when: dict[int, int] = {}

    @property
    def plain(self) -> float | None:
        """Seconds of a pass over one token; None before three were measured."""
        known = self._seconds.get(1, ())
        return median(known) if len(known) >= 3 else None

    @property
    def table(self) -> NDArray[np.float64]:
        """float64 (most,): seconds of a pass over 1, 2, … tokens; in units of a plain pass before one was measured."""
        if self._fresh >= _EVERY or (self._fresh and len(self._seconds) <= 3):
            self._table, self._fresh = self._made(), 0
        return self._table

    def add(self, tokens: int, seconds: float) -> None:
        """Note what a pass over so many tokens took."""
        size = min(_SIZES, key=lambda s: abs(np.log(s / tokens)))
        self._seconds.setdefault(size, deque(maxlen=_REMEMBERED)).append(seconds)
        self._fresh, self._n = self._fresh + 1, self._n + 1
        self._when[size] = self._n

    def _made(self) -> NDArray[np.float64]:
        for size in [s for s, n in self._when.items() if self._n - n > _AGE]:
            del self._seconds[size], self._when[size]
        sizes = sorted(self._seconds)
        known = np.maximum.accumulate([median(self._seconds[s]) for s in sizes])
        guess = _GUESS * known[0]
        if sizes[0] > 1:  # no plain pass was measured
            sizes, known = [1, *sizes], np.array([known[0] / (1 + _GUESS * (sizes[0] - 1)), *known])
        slopes = [(b - a) / (t - s) for (s, a), (t, b) in pairwise(zip(sizes, known, strict=True))]
        counts = np.arange(1, self._most + 1)
        table: NDArray[np.float64] = np.interp(counts, sizes, known)
        beyond = counts > sizes[-1]
        table[beyond] = known[-1] + max(guess, *slopes[-1:], guess) * (counts[beyond] - sizes[-1])
        return table
