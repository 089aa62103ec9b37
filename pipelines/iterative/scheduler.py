"""The optimal stride scheduler: how many strides to write before their passages are verified together.

A round writes k strides, each with the passage that the cache holds for the best, and then searches for all of them at once.
With a the seconds of a stride, b those of a search, and gamma the probability that a passage of the cache is the right one:

    strides kept            E(k) = (1 - gamma^k) / (1 - gamma)
    seconds, one by one     k a + b
    seconds, side by side   gamma^k ((k - 1) a + max(a, b)) + (1 - gamma^k) (k a + b)

Side by side, one stride more is written during the search; where all passages were right, it is the next round's first. The two
may slow each other down: their seconds are measured apart, and where they cost more than they save, rounds go one by one.

source  Zhang et al., Accelerating Retrieval-Augmented Language Model Serving with Speculation, ICML 2024 (OS3); that what is
        done side by side has seconds of its own, and may be left, is ours
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 5
"""Rounds that the estimates of a, b and gamma look back."""
HIGHEST_GAMMA = 0.6
"""More is not believed of a few rounds."""


def kept_strides(k: int, gamma: float) -> float:
    """E(k), the strides that a round of k is expected to keep.

    >>> kept_strides(1, 0.6), round(kept_strides(3, 0.6), 2), kept_strides(3, 1.0)
    (1.0, 1.96, 3.0)
    """
    return float(k) if gamma == 1 else (1 - gamma**k) / (1 - gamma)


def round_seconds(k: int, a: float, b: float, gamma: float, *, asynchronous: bool, beside: tuple[float, float] | None = None) -> float:
    """Expected seconds of a round of k strides.

    beside   seconds of a stride and of a search that run side by side; None: a and b

    >>> round_seconds(2, 1, 5, 0.5, asynchronous=False), round_seconds(2, 1, 5, 0.5, asynchronous=True)
    (7, 6.75)
    """
    if not asynchronous:
        return k * a + b
    stride, search = beside or (a, b)
    right = gamma**k
    return right * ((k - 1) * a + max(stride, search)) + (1 - right) * (k * a + search)


def best_round(a: float, b: float, gamma: float, *, asynchronous: bool, beside: tuple[float, float] | None = None) -> int:
    """The k that keeps most strides a second: k grows as long as that helps.

    >>> [best_round(1, 40, 0.6, asynchronous=way) for way in (False, True)]
    [6, 6]
    """
    k, best = 1, 0.0
    while True:
        seconds = round_seconds(k, a, b, gamma, asynchronous=asynchronous, beside=beside)
        rate = kept_strides(k, gamma) / seconds if seconds > 0 else 0.0
        if rate <= best:
            return max(1, k - 1)
        k, best = k + 1, rate


@dataclass(frozen=True)
class Measured:
    """What a round told.

    matches     passages of the cache that were right, before the first that was not
    mismatch    whether one was not
    strides     how many were written while nothing else was done, in how many seconds
    seconds     of writing them
    searching   seconds of the search; None where there was none
    beside      whether it was done beside a stride
    ahead       seconds of that stride; None where it was not finished
    """

    matches: int
    mismatch: bool
    strides: int
    seconds: float
    searching: float | None
    beside: bool = False
    ahead: float | None = None


class Estimates:
    """a, b and gamma, as the last measurements of each tell; window: how many; None: all.

    One that was never made is None; `beside` then has what is known of the same thing alone.
    """

    def __init__(self, window: int | None = WINDOW) -> None:
        self._guesses: deque[tuple[int, bool]] = deque(maxlen=window)
        self._strides: deque[tuple[int, float]] = deque(maxlen=window)
        self._searches: deque[float] = deque(maxlen=window)
        self._ahead: deque[float] = deque(maxlen=window)
        self._searches_beside: deque[float] = deque(maxlen=window)

    def search(self, seconds: float) -> None:
        """A search that belongs to no round."""
        self._searches.append(seconds)

    def add(self, measured: Measured) -> None:
        """Take in a round."""
        self._guesses.append((measured.matches, measured.mismatch))
        if measured.strides:
            self._strides.append((measured.strides, measured.seconds))
        if measured.searching is not None:
            (self._searches_beside if measured.beside else self._searches).append(measured.searching)
        if measured.ahead is not None:
            self._ahead.append(measured.ahead)

    @property
    def gamma(self) -> float | None:
        """Matches, divided by matches and rounds with a mismatch: the likeliest gamma."""
        matches, mismatches = sum(m for m, _ in self._guesses), sum(wrong for _, wrong in self._guesses)
        return matches / (matches + mismatches) if matches + mismatches else None

    @property
    def a(self) -> float | None:
        """Mean seconds of a stride."""
        return sum(s for _, s in self._strides) / sum(n for n, _ in self._strides) if self._strides else None

    @property
    def b(self) -> float | None:
        """Mean seconds of a search."""
        return _mean(self._searches)

    @property
    def beside(self) -> tuple[float, float] | None:
        """The same of a stride and a search side by side."""
        stride, search = _mean(self._ahead) or self.a, _mean(self._searches_beside) or self.b
        return None if stride is None or search is None else (stride, search)


def _mean(values: deque[float]) -> float | None:
    return sum(values) / len(values) if values else None


class Scheduler:
    """Chooses each round's k, and whether a stride is written beside its search, from what the last rounds told.

    asynchronous  whether that may be
    steps         always so many strides instead, and beside a search wherever that may be; None: choose
    highest       more is not believed of gamma; below 1, for else no k would be the best
    """

    def __init__(self, *, asynchronous: bool, steps: int | None = None, highest: float = HIGHEST_GAMMA) -> None:
        self.gamma: float | None = None
        self._asynchronous, self._steps, self._highest, self._estimates = asynchronous, steps, highest, Estimates()

    def plan(self) -> tuple[int, bool]:
        """(the next round's k, whether a stride is written beside its search); the first k is 1."""
        if self._steps is not None:
            return self._steps, self._asynchronous
        a, b, gamma, beside = self._estimates.a, self._estimates.b, self.gamma, self._estimates.beside
        if a is None or b is None or gamma is None:
            return 1, self._asynchronous

        def rate(way: bool) -> float:
            return kept_strides(found[way], gamma) / max(round_seconds(found[way], a, b, gamma, asynchronous=way, beside=beside), 1e-12)

        ways = (True, False) if self._asynchronous else (False,)
        found = {way: best_round(a, b, gamma, asynchronous=way, beside=beside) for way in ways}
        best = max(ways, key=rate)
        return found[best], best

    def search(self, seconds: float) -> None:
        """Take in a search that belongs to no round."""
        self._estimates.search(seconds)

    def observe(self, measured: Measured) -> None:
        """Take in a round."""
        self._estimates.add(measured)
        gamma = self._estimates.gamma
        if gamma is not None:  # else nothing was compared of late, and the last estimate stands
            self.gamma = min(gamma, self._highest)
