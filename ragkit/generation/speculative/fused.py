"""Several drafters at once: their trees are put together, and share one budget."""

from __future__ import annotations

from collections.abc import Iterator

from ragkit.errors import InputError
from ragkit.protocols import Drafter


class Fused:
    """Drafters in the order in which they are credited with what several of them drafted.

    A budget goes to whichever nodes are most probable, so that each drafter's share follows from how often it was right. One that
    draws its tokens (`DraftModel(…, drawn=True)`) must come first.
    """

    def __init__(self, *drafters: Drafter | Fused) -> None:
        self.drafters: tuple[Drafter, ...] = tuple(d for one in drafters for d in (one if isinstance(one, Fused) else (one,)))
        if not self.drafters:
            raise InputError("nothing is fused; give at least one drafter")
        for one in self.drafters:
            if not isinstance(one, Drafter):
                raise InputError(f"{type(one).__name__} is no drafter: it needs name, lossless and begin")
        names = [d.name for d in self.drafters]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise InputError(f"two drafters are called {twice[0]!r}; what they draft would be counted together")

    def __iter__(self) -> Iterator[Drafter]:
        return iter(self.drafters)

    def __repr__(self) -> str:
        return f"Fused({', '.join(map(repr, self.drafters))})"
