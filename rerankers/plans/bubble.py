"""Bubble sort by calls that name the best of a few items: each pass carries the best of what is left to the front.

Zhuang et al., A Setwise Approach, SIGIR 2024. Windows of c + 1 items slide from the back with step c; the best of a window moves to
its head, the others keep their order, and the head is the last item of the next window.

What stops early: a window that was asked before, the same items in the same order, is not asked again, since its answer is known. So a
pass costs only the windows that something has moved in, and with c = 1 a pass that moves nothing ends the plan, as in the usual bubble
sort. With c > 1 it may not: the head of each window is known to be its best, but not the order behind the head.

Passes overlap: a pass may enter a window as soon as the pass before it has left the next one. The calls are the same, the rounds are
n / c + 2 k instead of n k / c.
"""

from __future__ import annotations

from ragkit.errors import InputError
from ragkit.rerankers.plans.heap import Choose, choose_best
from ragkit.rerankers.plans.plan import A, BestPlan, Group, Plan, check_count, together
from ragkit.rerankers.plans.sliding import sliding_calls, spans
from ragkit.stage import check_k


def bubble_select(n: int, k: int = 10, docs_per_call: int = 3) -> BestPlan:
    """The best k items by k passes; the rest follow as the passes left them.

    docs_per_call  items of one call, c + 1, at least 2
    kind           best; the item that leads stands first in a group, so position 0 leaves the order as it is
    calls          at most bubble_most_calls(n, k, docs_per_call); the best 10 of 100 take a right judge some 444 calls from random
                   order and 245 behind a good first stage (the paper's code, whose rule stops later, 457 to 468)
    raises         InputError for numbers out of range

    >>> plan = bubble_select(5, k=1)
    >>> next(plan)
    [(2, 3, 4)]
    >>> plan.send([2])  # 4 is the best of these
    [(0, 1, 4)]
    >>> try:
    ...     plan.send([2])
    ... except StopIteration as end:
    ...     print(end.value)
    [4, 0, 1, 2, 3]
    """
    _check(n, k, docs_per_call)
    return by_bubble(n, k, docs_per_call - 1, choose_best)


def bubble_most_calls(n: int, k: int = 10, docs_per_call: int = 3) -> int:
    """The most calls that any judge can cause: ceil((n - p - 1) / (docs_per_call - 1)) in pass p = 0 .. k - 1.

    >>> bubble_most_calls(100), bubble_most_calls(100, docs_per_call=4)
    (475, 318)
    """
    _check(n, k, docs_per_call)
    return sum(sliding_calls(n - p, docs_per_call, docs_per_call - 1) for p in range(min(k, n)))


def by_bubble(n: int, k: int, step: int, choose: Choose[A], *, overlap: bool = True) -> Plan[A]:
    """Bubble passes with any way to choose the best of a window; without overlap a pass ends before the next begins."""
    order = list(range(n))
    known: dict[Group, int] = {}
    passes = [[(p + start, p + end) for start, end in spans(n - p, step + 1, step)] for p in range(min(k, n - 1))]
    begins, total = [0], 0
    for windows in passes:  # two windows behind the pass before: they share no item
        begins.append(begins[-1] + (2 if overlap else len(windows)))
        total = max(total, begins[-2] + len(windows))
    for now in range(total):
        active = [windows[now - begin] for windows, begin in zip(passes, begins, strict=False) if 0 <= now - begin < len(windows)]
        groups = [tuple(order[start:end]) for start, end in active]
        ask = [group for group in groups if group not in known]
        if ask:
            known.update(zip(ask, (yield from together([choose(group) for group in ask])), strict=True))
        for (start, _), group in zip(active, groups, strict=True):
            best = known[group]
            order[start : start + best + 1] = [group[best], *group[:best]]
    return order


def _check(n: int, k: int, docs_per_call: int) -> None:
    check_count(n, "n")
    check_k(k)
    if check_k(docs_per_call, "docs_per_call") < 2:
        raise InputError("docs_per_call must be at least 2, two items to compare, got 1")
