"""Stop strings: text is given out up to the first of them, also where a string comes in parts."""

from __future__ import annotations

from collections.abc import Sequence


class StopSearch:
    """Looks for stop strings in text that comes piece by piece.

    >>> search = StopSearch(["END"])
    >>> search.add("a E"), search.add("ND b"), search.stopped
    ('a ', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that can be given out: no stop string begins in it."""
        self._held += text
        # the one that ends first, then the one that begins first: the same however the text is cut into pieces
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        self.stopped = bool(found)
        keep = min(found)[1] if found else len(self._held) - self._begun()
        out, self._held = self._held[:keep], "" if found else self._held[keep:]
        return out

    def end(self) -> str:
        """What was held back as a possible beginning."""
        out, self._held = self._held, ""
        return out

    def _begun(self) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        return max((n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n])), default=0)
