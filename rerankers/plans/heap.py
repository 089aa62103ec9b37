"""Heapsort by calls that name the best of a few items: the heap is c-ary, so that one call settles a parent and its c children.

Zhuang et al., A Setwise Approach, SIGIR 2024. Nodes of one level have no items in common, so the heap is built level by level,
a round for all of them: the same calls as node by node, in far fewer rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

from ragkit.errors import InputError
from ragkit.rerankers.plans.answers import best_of
from ragkit.rerankers.plans.plan import A, BestPlan, Group, Plan, check_count, together
from ragkit.stage import check_k

Asking: TypeAlias = Generator[list[Group], list[A], int]
Choose: TypeAlias = Callable[[Group], Asking[A]]
"""Asks whatever it takes to tell the position of the best item of a group."""


def heap_select(n: int, k: int = 10, docs_per_call: int = 3) -> BestPlan:
    """The best k items by heapsort; the rest follow in prior order.

    docs_per_call  items of one call, parent and children, at least 3. The paper's main results compare 3; its code, which counts
                   children, compares 4 by default
    kind           best; the parent stands first in a group, so position 0 leaves the heap as it is
    calls          at most heap_most_calls(n, k, docs_per_call); the best 10 of 100 take a right judge some 140 calls from random
                   order and 112 behind a good first stage, or with 4 items a call 82 and 73
    raises         InputError for numbers out of range

    A judge that can't tell should name the smallest item, the best of the prior order: then ties keep that order.

    >>> plan = heap_select(5, k=1)
    >>> next(plan)
    [(1, 3, 4)]
    >>> plan.send([2])  # 4 is the best of these
    [(0, 4, 2)]
    >>> plan.send([1])  # 4 again: 0 takes its place, above 3 and 1
    [(0, 3, 1)]
    >>> try:
    ...     plan.send([0])
    ... except StopIteration as end:
    ...     print(end.value)
    [4, 0, 1, 2, 3]
    """
    _check(n, k, docs_per_call)
    return by_heap(n, k, docs_per_call - 1, choose_best)


def heap_most_calls(n: int, k: int = 10, docs_per_call: int = 3) -> int:
    """The most calls that any judge can cause: all items sift down to the leaves.

    >>> heap_most_calls(100), heap_most_calls(100, docs_per_call=4)
    (151, 85)
    """
    _check(n, k, docs_per_call)
    return sum(1 for _ in longest_sifts(n, k, docs_per_call - 1))


def choose_best(group: Group) -> Asking[int]:
    """One call that names the best."""
    (answer,) = yield [group]
    return best_of(group, answer)


def by_heap(n: int, k: int, children: int, choose: Choose[A]) -> Plan[A]:
    """Heapsort with any way to choose the best of a parent and its children."""
    heap = list(range(n))
    for nodes in levels(n, children):
        yield from together([_sift(heap, n, node, children, choose) for node in nodes])
    best: list[int] = []
    for size in range(n - 1, -1, -1):
        best.append(heap[0])
        if len(best) == k:
            break
        heap[0] = heap[size]
        yield from _sift(heap, size, 0, children, choose)
    taken = set(best)
    return best + [item for item in range(n) if item not in taken]


def levels(n: int, children: int) -> list[range]:
    """The nodes that have children, by level, deepest first.

    >>> levels(9, 2)
    [range(3, 4), range(1, 3), range(0, 1)]
    """
    inner = -(-(n - 1) // children)  # node i has children where children * i + 1 < n
    found: list[range] = []
    start, end = 0, 1
    while start < inner:
        found.append(range(start, min(end, inner)))
        start, end = end, children * end + 1
    return found[::-1]


def longest_sifts(n: int, k: int, children: int) -> Iterator[int]:
    """For each call of the worst case, the items in its group."""
    for nodes in levels(n, children):
        for node in nodes:
            yield from _way_down(n, node, children)
    for size in range(n - 1, max(n - k, 0), -1):
        yield from _way_down(size, 0, children)


def _way_down(size: int, node: int, children: int) -> Iterator[int]:
    while (below := children * node + 1) < size:
        yield 1 + min(size, below + children) - below
        node = below  # the first child has the longest way, and full groups


def _check(n: int, k: int, docs_per_call: int) -> None:
    check_count(n, "n")
    check_k(k)
    if check_k(docs_per_call, "docs_per_call") < 3:
        raise InputError(f"docs_per_call must be at least 3, a parent and two children; got {docs_per_call}; pair_heap asks about pairs")


def _sift(heap: list[int], size: int, node: int, children: int, choose: Choose[A]) -> Generator[list[Group], list[A], None]:
    """Let the item at a node sink to where it is the best of its family."""
    while (below := children * node + 1) < size:
        family = [node, *range(below, min(size, below + children))]
        best = family[(yield from choose(tuple(heap[place] for place in family)))]
        if best == node:
            return
        heap[node], heap[best] = heap[best], heap[node]
        node = best
