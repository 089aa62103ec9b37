"""Permutation self-consistency: the order that disagrees least with the orders of many shuffled inputs (Tang et al., NAACL 2024).

`kemeny` finds the order of the least total Kendall distance. Where a majority puts every item of a set before every other, so does each
such order, so the sets are solved one by one: exactly, by dynamic programming over subsets, up to 12 items; larger ones by the mean
rank (Borda), improved by insertions until none helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import ShapeError
from ragkit.rerankers.plans.plan import A, Plan, check_count, reordered, together
from ragkit.stage import check_k

Ints = NDArray[np.int64]

EXACT = 12
"""Items up to which a set without majority order is solved exactly: 2^12 subsets."""


def consistent(make_plan: Callable[[int], Plan[A]], n: int, shuffles: int = 20, seed: int = 7) -> Plan[A]:
    """Run a plan on shuffled inputs, in parallel, and return the Kemeny order of what comes out.

    make_plan  called with n for each shuffle
    shuffles   inputs, at least 1; the first is the prior order itself, so that one alone is the plain plan
    seed       of the shuffles: equal arguments ask the same
    kind       make_plan's; a round joins the rounds of all shuffles
    calls      those of all shuffles; none for n < 2
    raises     InputError for numbers out of range

    >>> from ragkit.rerankers.plans import drive, full
    >>> worth = [0, 3, 1, 2]
    >>> def biased(batch):  # knows the worth, but prefers what stands first
    ...     return [sorted(range(len(group)), key=lambda at: 3 * at - 4 * worth[group[at]]) for _, group in batch]
    >>> drive([consistent(full, 4, shuffles=1)], biased).orders
    [[1, 0, 3, 2]]
    >>> drive([consistent(full, 4)], biased)
    Driven(orders=[[1, 3, 2, 0]], calls=20, rounds=1, calls_of=[20])
    """
    check_count(n, "n")
    check_k(shuffles, "shuffles")
    return _consistent(make_plan, n, shuffles, seed)


def _consistent(make_plan: Callable[[int], Plan[A]], n: int, shuffles: int, seed: int) -> Plan[A]:
    if n < 2:
        return list(range(n))
    rng = np.random.default_rng(seed)
    inputs = [list(range(n)), *(rng.permutation(n).tolist() for _ in range(shuffles - 1))]
    orders = yield from together([reordered(make_plan(n), order) for order in inputs])
    return kemeny(orders)


def kemeny(orders: ArrayLike) -> list[int]:
    """The order of the least total Kendall distance to the given orders.

    orders   (m, n) permutations of range(n), best first; m at least 1
    returns  n items, best first. Exact where no set of more than 12 items is without a majority order; of equally good
             orders then the first in lexicographic order: the one nearest to the prior order
    raises   ShapeError for anything else
    cost     O(m n² + 2^s s) for sets of s <= 12 items; larger ones O(s²) a sweep

    >>> kemeny([[0, 1, 2], [1, 2, 0], [1, 0, 2]])
    [1, 0, 2]
    """
    before = _before(_checked(orders))
    found: list[int] = []
    for members in _sets(before):
        own = before[np.ix_(members, members)]
        places = _exact(own) if len(members) <= EXACT else _improved(own, _borda_order(own))
        found += members[places].tolist()
    return found


def borda(orders: ArrayLike) -> list[int]:
    """Items by their mean rank in the given orders, (m, n) as for `kemeny`; ties in prior order.

    >>> borda([[0, 1, 2], [2, 1, 0], [1, 2, 0]])
    [1, 2, 0]
    """
    order: list[int] = _borda_order(_before(_checked(orders))).tolist()
    return order


def disagreements(orders: ArrayLike, order: Sequence[int]) -> int:
    """Total Kendall distance: pairs that one of the orders, (m, n), has the other way round than `order`, summed over the orders.

    >>> disagreements([[0, 1, 2], [2, 1, 0]], [0, 2, 1])
    3
    """
    before = _before(_checked(orders))
    (placed,) = _checked([order])
    if len(placed) != len(before):
        raise ShapeError(f"an order of {len(placed)} items was given to compare with orders of {len(before)}")
    return int(np.tril(before[np.ix_(placed, placed)], -1).sum())


def _checked(orders: ArrayLike) -> Ints:
    try:
        given = np.asarray(orders)
    except ValueError as exc:
        raise ShapeError("orders must all have the same length") from exc
    if given.ndim != 2 or not len(given) or (given.size and given.dtype.kind not in "iu"):
        raise ShapeError(f"orders must be a whole-numbered array (m, n) of at least one order, got {given.dtype} {given.shape}")
    if (np.sort(given, axis=1) != np.arange(given.shape[1])).any():
        raise ShapeError(f"each order must be a permutation of 0..{given.shape[1] - 1}")
    return given.astype(np.int64)


def _before(orders: Ints) -> Ints:
    """(n, n) in how many of the orders item i stands before item j."""
    places = np.argsort(orders, axis=1)
    before = np.zeros((orders.shape[1],) * 2, np.int64)
    for row in places:  # one order at a time: n² scratch, not m n²
        before += row[:, None] < row[None, :]
    return before


def _sets(before: Ints) -> list[Ints]:
    """Items in sets, best first: a strict majority puts each item of a set before all items of the sets behind it.

    These are the strong components of the graph with an edge i → j where at least half of the orders have i before j.
    """
    reach = before >= before.T
    while True:
        further = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if np.array_equal(further, reach):
            break
        reach = further
    reached = reach.sum(axis=1)  # the same for all of a set, and more for the sets before it
    return [np.flatnonzero(reached == count) for count in np.unique(reached)[::-1]]


def _exact(before: Ints) -> Ints:
    """The best order of s items, by the least cost of each subset S as the tail of an order.

    cost[S] = min over the head j in S of cost[S - j] + sum over i in S - j of before[i, j]
    """
    s = len(before)
    subsets = np.arange(1 << s)
    member = (subsets[:, None] >> np.arange(s)) & 1  # (2^s, s)
    sizes = member.sum(axis=1)
    heading = np.where(member == 1, member @ before, np.iinfo(np.int64).max // 2)  # cost of j before the rest of S
    cost, head = np.zeros(1 << s, np.int64), np.zeros(1 << s, np.int64)
    for size in range(1, s + 1):
        layer = subsets[sizes == size]
        totals = heading[layer] + cost[layer[:, None] & ~(1 << np.arange(s))]
        head[layer] = totals.argmin(axis=1)  # the first: of equal orders the first in lexicographic order
        cost[layer] = totals.min(axis=1)
    order, left = [], (1 << s) - 1
    while left:
        order.append(head[left])
        left &= ~(1 << int(head[left]))
    return np.array(order, np.int64)


def _borda_order(before: Ints) -> Ints:
    """Items by how often they stand before others: by mean rank."""
    return np.argsort(-before.sum(axis=1), kind="stable")


def _improved(before: Ints, order: Ints) -> Ints:
    """Move single items to where the total distance falls most, until no move helps; a move of d places costs d additions."""
    against = before.T - before  # against[i, j] > 0: more orders have j before i
    improved = True
    while improved:
        improved = False
        for item in order.copy():
            at = int(np.flatnonzero(order == item)[0])
            gain = against[item, order]  # what passing each item would add on the way up; the negative on the way down
            up, down = np.cumsum(gain[:at][::-1]), np.cumsum(-gain[at + 1 :])
            changes = np.concatenate((up[::-1], [0], down))  # (s,) of moving the item to each place
            best = int(changes.argmin())
            if changes[best] < 0:
                order = np.insert(np.delete(order, at), best, item)
                improved = True
    return order
