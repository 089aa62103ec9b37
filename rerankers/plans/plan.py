"""Plans: what a reranker asks, as generators that know no model, and `drive`, which runs many of them in lockstep.

A plan orders n items, 0..n-1, which are the places of the prior order, best first. It yields a list of groups that may be judged
in parallel (a round), is sent one answer a group, and returns the final order. Three kinds of answer are in use:

window   the positions in the group (0..len-1), best first
best     the position of the best
pair     the probability that the first of a pair (i, j), as ordered, is better than the second

Batches go across queries, not only within one: `drive` gathers the round of every plan into one call of the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from ragkit.errors import InputError

A = TypeVar("A")
G = TypeVar("G")
R = TypeVar("R")

Group: TypeAlias = tuple[int, ...]
"""Items judged together by one call."""

Plan: TypeAlias = Generator[list[Group], list[A], list[int]]
"""Yields rounds of groups, is sent one answer a group, returns a permutation of range(n), best first."""

WindowPlan: TypeAlias = Plan[Sequence[int]]
BestPlan: TypeAlias = Plan[int]
PairPlan: TypeAlias = Plan[float]


@dataclass(frozen=True)
class Driven:
    """What `drive` returns.

    orders    each plan's final order
    calls     groups judged, of all plans together
    rounds    of the longest plan: how often the judge was called
    calls_of  groups judged for each plan
    """

    orders: list[list[int]]
    calls: int
    rounds: int
    calls_of: list[int]


@dataclass(frozen=True)
class _Done(Generic[R]):
    value: R


def drive(
    plans: Iterable[Plan[A]], judge: Callable[[list[tuple[int, Group]]], Sequence[A]], *, sizes: Sequence[int] | None = None
) -> Driven:
    """Run plans in lockstep: the groups of all plans' n-th rounds go to the judge in one batch.

    plans   started by nobody yet; each is run to its end
    judge   gets (plan's number, group) pairs, plan by plan, and returns one answer for each, in their order
    sizes   the number of items of each plan, where known: its order must then be a permutation of exactly these
    raises  InputError where the judge does not return one answer a group, or a plan does not return a permutation

    >>> from ragkit.rerankers.plans import sliding
    >>> worth = [3, 1, 4, 1.5, 9, 2, 6]
    >>> def judge(batch):
    ...     return [sorted(range(len(group)), key=lambda at: -worth[group[at]]) for _, group in batch]
    >>> drive([sliding(7, window=4, stride=2), sliding(3)], judge)
    Driven(orders=[[4, 6, 0, 2, 1, 5, 3], [2, 0, 1]], calls=4, rounds=3, calls_of=[3, 1])
    """
    plans = list(plans)
    if sizes is not None and len(sizes) != len(plans):
        raise InputError(f"sizes must name one number of items a plan, got {len(sizes)} for {len(plans)} plans")
    calls_of = [0] * len(plans)
    joined = together([_watched(n, plan, calls_of, None if sizes is None else sizes[n]) for n, plan in enumerate(plans)])
    rounds = 0
    batch = _send(joined, None)
    while not isinstance(batch, _Done):
        answers = judge(batch)
        if not hasattr(answers, "__len__"):
            raise InputError(
                f"the judge returned {type(answers).__name__}; wanted a list with one answer for each of the {len(batch)} groups"
            )
        if len(answers) != len(batch):
            raise InputError(f"the judge returned {len(answers)} answers for {len(batch)} groups; wanted one answer a group")
        rounds += 1
        batch = _send(joined, list(answers))
    return Driven(orders=batch.value, calls=sum(calls_of), rounds=rounds, calls_of=calls_of)


def together(lanes: Sequence[Generator[list[G], list[A], R]]) -> Generator[list[G], list[A], list[R]]:
    """Several plans, or parts of one, as one: their rounds are joined, and the values that they return come back in a list.

    >>> from ragkit.rerankers.plans import full
    >>> both = together([full(2), full(3)])
    >>> next(both)
    [(0, 1), (0, 1, 2)]
    >>> try:
    ...     both.send([[1, 0], [2, 0, 1]])
    ... except StopIteration as end:
    ...     print(end.value)
    [[1, 0], [2, 0, 1]]
    """
    steps = [_send(lane, None) for lane in lanes]
    while asked := [group for step in steps if not isinstance(step, _Done) for group in step]:
        answers = yield asked
        start = 0
        for n, step in enumerate(steps):
            if not isinstance(step, _Done):
                steps[n] = _send(lanes[n], answers[start : start + len(step)])
                start += len(step)
    return [step.value for step in steps if isinstance(step, _Done)]


def reordered(plan: Plan[A], order: Sequence[int]) -> Plan[A]:
    """The same plan on another input order: where it asks about place p, item order[p] is judged; returns items.

    raises  InputError unless order is a permutation

    >>> from ragkit.rerankers.plans import full
    >>> backwards = reordered(full(3), [2, 1, 0])
    >>> next(backwards)
    [(2, 1, 0)]
    """
    items = [int(item) for item in order]
    if sorted(items) != list(range(len(items))):
        raise InputError(f"an input order must be a permutation of 0..{len(items) - 1}, got {_short(items)}")
    return _reordered(plan, items)


def _reordered(plan: Plan[A], items: list[int]) -> Plan[A]:
    step = _send(plan, None)
    while not isinstance(step, _Done):
        answers = yield [tuple(items[place] for place in group) for group in step]
        step = _send(plan, answers)
    return [items[place] for place in step.value]


def check_count(n: int, name: str) -> int:
    """n itself, if it is a whole number of at least 0; name is what the message calls it."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise InputError(f"{name} must be a whole number of at least 0, got {n!r}")
    return int(n)


def _send(lane: Generator[list[G], list[A], R], answers: list[A] | None) -> list[G] | _Done[R]:
    """The lane's next round, or what it returned at its end."""
    try:
        return next(lane) if answers is None else lane.send(answers)
    except StopIteration as end:
        return _Done(end.value)


def _watched(number: int, plan: Plan[A], calls_of: list[int], size: int | None) -> Generator[list[tuple[int, Group]], list[A], list[int]]:
    """The plan with its number at each group, its calls counted and its order checked."""
    beyond = 0  # one more than the largest item asked about
    step = _send(plan, None)
    while not isinstance(step, _Done):
        if not step:
            raise InputError(f"plan {number} yielded a round without groups; a plan that has nothing to ask returns its order")
        calls_of[number] += len(step)
        beyond = max(beyond, *(max(group) + 1 for group in step))
        answers = yield [(number, group) for group in step]
        step = _send(plan, answers)
    if step.value is None:
        raise InputError(f"plan {number} returned no order; give each plan once, and not one that was run before")
    n = max(beyond, len(step.value)) if size is None else size
    if sorted(step.value) != list(range(n)):
        raise InputError(f"plan {number} returned {_short(step.value)}; wanted a permutation of its {n} items")
    return list(step.value)


def _short(order: Sequence[int]) -> str:
    shown = ", ".join(map(str, order[:12]))
    return f"[{shown}, …] ({len(order)} items)" if len(order) > 12 else f"[{shown}]"
