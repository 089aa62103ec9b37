"""How often drafts were right in the last texts, and whether that fell."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

_FEW = 8
"""Texts without which nothing is said."""
_BEYOND_CHANCE, _EARLY = 2.0, 3.0
"""Standard errors that a fall must have, when all texts were seen and before: who asks after each text is wrong more often."""


@dataclass
class Tally:
    """Of one text: the places that something was drafted for, and at how many of them it was right."""

    right: int = 0
    places: int = 0


class Rate:
    """The share of drafted places that were right, over texts: those of one text are right or wrong together.

    window  texts at most, the last ones
    """

    def __init__(self, window: int) -> None:
        self._texts: deque[Tally] = deque(maxlen=window)

    def begin(self) -> Tally:
        """What a text is counted in."""
        made = Tally()
        self._texts.append(made)
        return made

    @property
    def value(self) -> float | None:
        """The share; None before anything was drafted."""
        seen = self._seen()
        return _share(seen) if seen else None

    def fell(self, before: Rate, drop: float) -> bool | None:
        """Whether this is lower than another by more than so much of it, beyond chance; None while too few texts were seen to tell."""
        now, then = self._seen(), before._seen()
        full = len(self._texts) == self._texts.maxlen
        if min(len(now), len(then)) < _FEW:
            return False if full else None
        gap = _share(then) - _share(now)
        error = sqrt(_variance(now) + _variance(then))
        if gap > drop * _share(then) and gap > (_BEYOND_CHANCE if full else _EARLY) * error:
            return True
        return False if full else None

    def _seen(self) -> list[Tally]:
        return [t for t in tuple(self._texts) if t.places]


def _share(texts: Sequence[Tally]) -> float:
    return sum(t.right for t in texts) / sum(t.places for t in texts)


def _variance(texts: Sequence[Tally]) -> float:
    """Of the share, as texts differ: a ratio of two sums."""
    n, share = len(texts), _share(texts)
    return n / (n - 1) * sum((t.right - share * t.places) ** 2 for t in texts) / sum(t.places for t in texts) ** 2
