"""When to ask for drafts, and whom: whatever does not pay, as measured, is asked now and then only, to see whether it does again."""

from __future__ import annotations

from collections import deque

_WINDOW = 64
"""Steps that are looked back at to tell whether drafting pays."""
_PAYS = 1.05
_ASLEEP = 8
"""Where it does not, drafts are asked for in one of so many steps."""
_DEAR = 0.02
"""Share of a plain pass's time from which on a drafter has to show what it adds to the others'."""
_FADES = 0.98
"""What a drafter's last step but one counts beside the last."""
_TRIED = 48
"""Steps after which a drafter is judged."""
_SILENT = 16
"""Where it adds too little, it is asked in one of so many steps."""


_FIRST = 4
"""Steps of a call that ask in any case: a text may repeat its sources where those before did not."""
_KEPT = 8
"""Steps of earlier calls that are remembered then: so few that the first ones outweigh them where they brought something."""


class Pace:
    """Whether a step asks for drafts: always while that pays, else now and then, to see whether it does again."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._waited = self._first = 0

    def begin(self) -> None:
        """A call begins, with other texts."""
        self._first, self._waited = _FIRST, 0
        while len(self._steps) > _KEPT:
            self._steps.popleft()

    def drafts(self, plain: float | None) -> bool:
        """Whether the next step does. plain: seconds of a pass over one token a row; None where that was not measured yet"""
        if plain is None or (not self._first and not self._pays() and self._waited < _ASLEEP - 1):
            self._waited += 1
            return False
        self._waited, self._first = 0, max(0, self._first - 1)
        return True

    def add(self, tokens: float, seconds: float, plain: float) -> None:
        """Note a step that asked for drafts: tokens that it wrote, a row, what it took in all, and what a plain pass would have."""
        self._steps.append((tokens * plain, seconds))

    def _pays(self) -> bool:
        if len(self._steps) < _FIRST + _KEPT:
            return True
        plain, drafted = map(sum, zip(*self._steps, strict=True))
        return bool(plain >= _PAYS * drafted)


class Worth:
    """Whether a drafter that takes time of its own is worth asking beside the others."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sums = [0.0] * 5
        self._asked, self._waited, self._gap = 0, 0, 1

    def asks(self) -> bool:
        """Whether the next step asks it."""
        if self._asked < _TRIED or self._pays() or self._waited >= _SILENT - 1:
            self._gap, self._waited = self._waited + 1, 0
            return True
        self._waited += 1
        return False

    def dear(self, plain: float | None) -> bool:
        """Whether it takes so long that `judge` must be told what it adds."""
        return plain is not None and self._seconds > _DEAR * plain

    def spent(self, seconds: float) -> None:
        """Note what a draft took."""
        self._seconds += (seconds - self._seconds) * (0.1 if self._asked else 1.0)
        self._asked += 1

    def judge(self, tokens: float, seconds: float, without: float, seconds_without: float) -> None:
        """Note of a step the tokens expected and the seconds of its pass, with its drafts and without them."""
        new = (tokens, seconds, self._seconds, without, seconds_without)
        fades = _FADES**self._gap  # by steps, not by asking: what is seldom asked would keep its bad name for ever
        self._sums = [fades * old + more for old, more in zip(self._sums, new, strict=True)]

    def _pays(self) -> bool:
        tokens, seconds, own, without, seconds_without = self._sums
        return tokens * seconds_without >= without * (seconds + own)
