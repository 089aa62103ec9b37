"""Rankings from pairs: all pairs (duoT5: Pradeep et al., 2021), heapsort and bubble passes (PRP: Qin et al., 2024).

Every pair is asked in both orders. Models contradict themselves when the order changes, and prefer i to j, j to k and k to i: a
contradiction counts as a tie, ties go to the prior order, and no plan asks about a pair twice, so each ends within a stated number of
calls.

A budget of calls bounds each plan. Sorts that have spent it take pairs that were not asked as the prior order has them, and all pairs
are those of as many of the first items as it allows: a budget of 0 returns the prior order.
"""

from __future__ import annotations

import math
from collections.abc import Generator

from ragkit.rerankers.plans.answers import probability
from ragkit.rerankers.plans.bubble import by_bubble
from ragkit.rerankers.plans.heap import by_heap, longest_sifts
from ragkit.rerankers.plans.plan import Group, PairPlan, check_count
from ragkit.stage import check_k


def all_pairs(n: int, max_calls: int | None = None) -> PairPlan:
    """All pairs in one round, ordered by s_i = sum over j of p_ij + 1 - p_ji; ties in prior order.

    max_calls  the most calls to spend: the first m items are compared with each other, the most with m² - m <= max_calls;
               those behind them stay where they are
    kind       pair, in both orders
    calls      all_pairs_calls(n, max_calls): n² - n without a budget
    raises     InputError for a negative number

    >>> plan = all_pairs(3)
    >>> next(plan)
    [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    >>> try:
    ...     plan.send([0.2, 0.9, 0.4, 0.6, 0.5, 0.5])
    ... except StopIteration as end:
    ...     print(end.value)
    [1, 2, 0]
    """
    return _all_pairs(n, _compared(n, max_calls))


def all_pairs_calls(n: int, max_calls: int | None = None) -> int:
    """n² - n, or with a budget m² - m for the most items that it allows to compare.

    >>> all_pairs_calls(50), all_pairs_calls(100), all_pairs_calls(100, max_calls=500)
    (2450, 9900, 462)
    """
    m = _compared(n, max_calls)
    return m * m - m


def pair_heap(n: int, k: int = 10, max_calls: int | None = None) -> PairPlan:
    """The best k items by heapsort with a binary heap; the rest follow in prior order.

    max_calls  the most calls to spend
    kind       pair, in both orders
    calls      at most pair_heap_most_calls(n, k, max_calls)
    raises     InputError for numbers out of range
    """
    pair_heap_most_calls(n, k, max_calls)
    return by_heap(n, k, 2, _Pairs(max_calls).choose)


def pair_heap_most_calls(n: int, k: int = 10, max_calls: int | None = None) -> int:
    """The most calls that any judge can cause: two for each child on the longest ways down.

    >>> pair_heap_most_calls(100), pair_heap_most_calls(100, max_calls=100)
    (600, 100)
    """
    check_count(n, "n")
    check_k(k)
    return _within(min(2 * sum(size - 1 for size in longest_sifts(n, k, 2)), n * n - n), max_calls)


def pair_bubble(n: int, k: int = 10, max_calls: int | None = None) -> PairPlan:
    """The best k items by bubble passes over neighbours, back to front; a pass that moves nothing is the last.

    max_calls  the most calls to spend; with a budget the passes do not overlap, so that what is spent goes to the first ranks first
    kind       pair, in both orders
    calls      at most pair_bubble_most_calls(n, k, max_calls); 2 (n - 1) where the prior order is right
    raises     InputError for numbers out of range

    >>> plan = pair_bubble(3, k=1)
    >>> next(plan)
    [(1, 2), (2, 1)]
    >>> plan.send([0.9, 0.9])  # a contradiction: the prior order holds
    [(0, 1), (1, 0)]
    """
    pair_bubble_most_calls(n, k, max_calls)
    return by_bubble(n, k, 1, _Pairs(max_calls).choose, overlap=max_calls is None)


def pair_bubble_most_calls(n: int, k: int = 10, max_calls: int | None = None) -> int:
    """The most calls that any judge can cause: 2 (n - p - 1) in pass p = 0 .. k - 1.

    >>> pair_bubble_most_calls(100), pair_bubble_most_calls(100, k=100)
    (1890, 9900)
    """
    check_count(n, "n")
    passes = min(check_k(k), n)
    return _within(passes * (2 * n - passes - 1), max_calls)


def preference(p: float, q: float) -> float:
    """1 where the first of a pair is better, 0 where the second is, 0.5 for a tie, from both orders' answers p_ij and p_ji.

    Both answers name an item, or neither does where they are 0.5: a contradiction is a tie, and one that names none leaves it
    to the other.

    >>> preference(0.9, 0.2), preference(0.1, 0.6), preference(0.9, 0.7), preference(0.5, 0.3)
    (1.0, 0.0, 0.5, 1.0)
    """
    votes = (p > 0.5) - (p < 0.5) + (q < 0.5) - (q > 0.5)
    return 0.5 + 0.5 * ((votes > 0) - (votes < 0))


def _compared(n: int, max_calls: int | None) -> int:
    """How many of n items all_pairs compares with each other."""
    check_count(n, "n")
    return n if max_calls is None else min(n, (1 + math.isqrt(1 + 4 * check_count(max_calls, "max_calls"))) // 2)


def _within(calls: int, max_calls: int | None) -> int:
    return calls if max_calls is None else min(calls, check_count(max_calls, "max_calls") // 2 * 2)


def _all_pairs(n: int, m: int) -> PairPlan:
    pairs = [(i, j) for j in range(m) for i in range(j)]
    gains: list[list[float]] = [[] for _ in range(m)]
    answers = (yield [group for i, j in pairs for group in ((i, j), (j, i))]) if pairs else []
    for (i, j), p, q in zip(pairs, answers[::2], answers[1::2], strict=True):
        p, q = probability((i, j), p), probability((j, i), q)
        gains[i] += [p, 1.0, -q]
        gains[j] += [q, 1.0, -p]
    scores = [math.fsum(gain) for gain in gains]  # exact sums: equal ones tie
    return [*sorted(range(m), key=lambda i: (-scores[i], i)), *range(m, n)]


class _Pairs:
    """What is known about pairs, and what is left to spend."""

    def __init__(self, max_calls: int | None) -> None:
        self.left = math.inf if max_calls is None else max_calls
        self.known: dict[tuple[int, int], bool] = {}  # i < j: whether j, of lower prior rank, is better

    def choose(self, group: Group) -> Generator[list[Group], list[float], int]:
        """The position of the best: the first item, unless one after another beats the best so far."""
        best = 0
        for at in range(1, len(group)):
            if (yield from self._better(group[at], group[best])):
                best = at
        return best

    def _better(self, item: int, other: int) -> Generator[list[Group], list[float], bool]:
        i, j = (other, item) if other < item else (item, other)
        if (i, j) not in self.known:
            if self.left < 2:
                return item == i
            self.left -= 2
            p, q = yield [(i, j), (j, i)]
            self.known[i, j] = preference(probability((i, j), p), probability((j, i), q)) == 0.0
        return self.known[i, j] == (item == j)
