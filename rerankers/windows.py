"""How a list is cut into windows that a model can order, as settings of `Listwise`, `SingleToken` and `SetBased`.

===============  ==========================================================================  ===================================
`Sliding`        windows from the back to the front, overlapping (RankGPT)                   9 calls for 100 at window 20, stride 10
`Full`           one window of all (full ranking, for models that read long prompts)         1 call
`TopDown`        a pivot first, then chunks against it, side by side (TDPart)                about 7 calls in 3 rounds
`Consistent`     another one over shuffled lists, joined to the Kemeny order                 as many times the calls as shuffles
===============  ==========================================================================  ===================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from ragkit.errors import InputError
from ragkit.rerankers.plans import Plan, consistent, full, sliding, top_down
from ragkit.stage import check_k

Permutation = Sequence[int]


class Windows(Protocol):
    """Makes the plan of one query; `at_most` gives the same with no window above a size, for prompts that would not fit."""

    @property
    def largest(self) -> int | None:
        """Items of the largest window; None for all of them."""
        ...

    def plan(self, n: int) -> Plan[Permutation]: ...
    def at_most(self, window: int) -> Windows: ...


@dataclass(frozen=True)
class Sliding:
    """Windows from the back of the list to its front: the best of each climb into the next (RankGPT).

    window, stride   items of a window, and how far the next one begins before it
    passes           over the whole list; stops early where one changed nothing
    """

    window: int = 20
    stride: int = 10
    passes: int = 1

    def __post_init__(self) -> None:
        for name in ("window", "stride", "passes"):
            check_k(getattr(self, name), name)
        if self.window < 2 or self.stride > self.window:
            raise InputError(f"windows need at least 2 items and a stride of at most the window, got {self.window} and {self.stride}")

    @property
    def largest(self) -> int | None:
        return self.window

    def plan(self, n: int) -> Plan[Permutation]:
        return sliding(n, self.window, self.stride, self.passes)

    def at_most(self, window: int) -> Self:
        if window >= self.window:
            return self
        return replace(self, window=window, stride=max(1, self.stride * window // self.window))


@dataclass(frozen=True)
class Full:
    """One window of all: each passage is read once. Where not all fit the model, sliding windows as large as fit."""

    @property
    def largest(self) -> int | None:
        return None

    def plan(self, n: int) -> Plan[Permutation]:
        return full(n)

    def at_most(self, window: int) -> Sliding:
        return Sliding(window, max(1, window // 2))


@dataclass(frozen=True)
class TopDown:
    """Top-down partitioning: the item at rank k of the first window is a pivot for all other chunks (TDPart).

    window   items of a window
    k        how many places at the top are to be right
    budget   candidates above the pivot after which no further chunk is judged; None for no such limit
    """

    window: int = 20
    k: int = 10
    budget: int | None = 20

    def __post_init__(self) -> None:
        check_k(self.window, "window")
        check_k(self.k, "k")
        if self.k >= self.window:
            raise InputError(f"k must be below the window, got {self.k} and {self.window}")
        if self.budget is not None and self.budget < self.k:
            raise InputError(f"the budget must be at least k, the places that are to be right, got {self.budget} and {self.k}")

    @property
    def largest(self) -> int | None:
        return self.window

    def plan(self, n: int) -> Plan[Permutation]:
        return top_down(n, self.window, self.k, self.budget)

    def at_most(self, window: int) -> Self:
        return self if window >= self.window else replace(self, window=window, k=min(self.k, window - 1))


_ONE_PASS = Sliding()


@dataclass(frozen=True)
class Consistent:
    """Permutation self-consistency: the same over shuffled lists, joined to the order that agrees best with all of them.

    windows   how each list is ordered
    shuffles  lists; the first is the prior order itself
    seed      of the shuffles
    """

    windows: Sliding | Full | TopDown = _ONE_PASS
    shuffles: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check_k(self.shuffles, "shuffles")

    @property
    def largest(self) -> int | None:
        return self.windows.largest

    def plan(self, n: int) -> Plan[Permutation]:
        return consistent(self.windows.plan, n, self.shuffles, self.seed)

    def at_most(self, window: int) -> Windows:
        smaller = self.windows.at_most(window)
        return self if smaller is self.windows else replace(self, windows=smaller)
