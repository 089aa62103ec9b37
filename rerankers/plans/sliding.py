"""Sliding windows over the list, back to front (RankGPT: Sun et al., EMNLP 2023), and the one window of all."""

from __future__ import annotations

from ragkit.errors import InputError
from ragkit.rerankers.plans.answers import arranged
from ragkit.rerankers.plans.plan import WindowPlan, check_count
from ragkit.stage import check_k


def sliding(n: int, window: int = 20, stride: int = 10, passes: int = 1) -> WindowPlan:
    """Order windows of the list from its end to its start; the best window - stride of each enter the next.

    n       items
    window  items that one call orders; with 1 there is nothing to ask
    stride  places from one window to the next, at most window; the windows overlap by window - stride
    passes  times that the list is gone through; a pass that changed nothing is the last, for the next would ask the same again
    kind    window; one group a round
    calls   sliding_calls(n, window, stride) a pass; none for n < 2
    raises  InputError for numbers out of range

    One pass puts the best window - stride items, in order, at the top from any input order, if the judge is right.

    >>> plan = sliding(25)
    >>> next(plan)
    [(5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24)]
    >>> plan.send([list(reversed(range(20)))])
    [(0, 1, 2, 3, 4, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15)]
    """
    check_windows(n, window, stride)
    return _sliding(n, window, stride, check_k(passes, "passes"))


def full(n: int) -> WindowPlan:
    """All n items in one window, for models with a long context; one call, none for n < 2.

    >>> next(full(4))
    [(0, 1, 2, 3)]
    """
    size = max(check_count(n, "n"), 1)
    return _sliding(n, size, size, 1)


def sliding_calls(n: int, window: int = 20, stride: int = 10) -> int:
    """Calls of one pass: 1 where n <= window, else ceil((n - window) / stride) + 1; none for n < 2.

    A window of one item is not asked: the last may be one where stride = window, and all are where window = 1.

    >>> [sliding_calls(n) for n in (0, 1, 2, 10, 20, 21, 30, 31, 100)]
    [0, 0, 1, 1, 1, 2, 2, 3, 9]
    """
    check_windows(n, window, stride)
    if n < 2 or window == 1:
        return 0
    if n <= window:
        return 1
    steps = -(-(n - window) // stride)
    return steps + (n - steps * stride > 1)


def spans(n: int, window: int, stride: int) -> list[tuple[int, int]]:
    """(start, end) of each window of a pass, in the order in which they are asked.

    >>> spans(25, 20, 10)
    [(5, 25), (0, 15)]
    """
    start, end = max(n - window, 0), n
    found = [(start, end)]
    while start > 0:  # tested before the step: a guard after it skips lists of exactly window - stride items
        start, end = max(start - stride, 0), end - stride
        found.append((start, end))
    return [(start, end) for start, end in found if end - start > 1]


def check_windows(n: int, window: int, stride: int) -> None:
    """Raise InputError for numbers out of range."""
    check_count(n, "n")
    check_k(window, "window")
    check_k(stride, "stride")
    if stride > window:
        raise InputError(f"stride must be at most window, or items between two windows are never judged; got {stride} and {window}")


def _sliding(n: int, window: int, stride: int, passes: int) -> WindowPlan:
    order = list(range(n))
    for _ in range(passes):
        before = order.copy()
        for start, end in spans(n, window, stride):
            group = tuple(order[start:end])
            (answer,) = yield [group]
            order[start:end] = arranged(group, answer)
        if order == before:
            break
    return order
