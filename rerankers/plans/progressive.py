"""Progressive windows: after each pass the top is fixed and the rest is gone through again.

This is how training labels for full-list rerankers are made (Liu et al., Sliding Windows Are Not the End, 2024): the whole list
comes out in order, where a single pass orders only its top.
"""

from __future__ import annotations

from ragkit.errors import InputError
from ragkit.rerankers.plans.answers import arranged
from ragkit.rerankers.plans.plan import WindowPlan
from ragkit.rerankers.plans.sliding import check_windows, sliding_calls, spans
from ragkit.stage import check_k


def progressive(n: int, window: int = 20, stride: int = 10, fixed: int = 10) -> WindowPlan:
    """Sliding passes, each over what the passes before it have not fixed.

    fixed   items that a pass settles, at most window - stride: no more are sure to have reached the top
    kind    window; one group a round
    calls   progressive_calls(n, window, stride, fixed): 45 in 9 passes for 100 items
    raises  InputError for numbers out of range

    A right judge gives the whole order, from any input order.

    >>> plan = progressive(5, window=4, stride=2, fixed=2)
    >>> next(plan), plan.send([[3, 2, 1, 0]])
    ([(1, 2, 3, 4)], [(0, 4, 3)])
    >>> plan.send([[1, 2, 0]])  # 4 and 3 are fixed
    [(0, 2, 1)]
    """
    _check(n, window, stride, fixed)
    return _progressive(n, window, stride, fixed)


def progressive_calls(n: int, window: int = 20, stride: int = 10, fixed: int = 10) -> int:
    """Calls of all passes: sliding_calls of n, n - fixed, n - 2 fixed, …, up to the first that is one window.

    >>> [progressive_calls(n) for n in (1, 20, 21, 30, 100)]
    [0, 1, 3, 3, 45]
    """
    _check(n, window, stride, fixed)
    return sum(sliding_calls(rest, window, stride) for rest in _rests(n, window, fixed))


def _check(n: int, window: int, stride: int, fixed: int) -> None:
    check_windows(n, window, stride)
    if check_k(fixed, "fixed") > window - stride:
        raise InputError(f"fixed must be at most window - stride = {window - stride}, the items that a pass brings to the top; got {fixed}")


def _rests(n: int, window: int, fixed: int) -> range:
    """How many items each pass goes through."""
    passes = 1 + max(0, -(-(n - window) // fixed))
    return range(n, n - passes * fixed, -fixed)


def _progressive(n: int, window: int, stride: int, fixed: int) -> WindowPlan:
    order = list(range(n))
    for rest in _rests(n, window, fixed):
        done = n - rest
        for start, end in spans(rest, window, stride):
            group = tuple(order[done + start : done + end])
            (answer,) = yield [group]
            order[done + start : done + end] = arranged(group, answer)
    return order
