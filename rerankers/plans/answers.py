"""What a plan makes of an answer: checked, and turned from positions in a group into items."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex

from ragkit.errors import InputError
from ragkit.rerankers.plans.plan import Group


def arranged(group: Group, answer: Sequence[int]) -> list[int]:
    """The items of a window in the order of a window answer.

    raises  InputError unless the answer is a permutation of the group's positions

    >>> arranged((7, 3, 5), [2, 0, 1])
    [5, 7, 3]
    """
    try:
        positions = [index(at) for at in answer]
    except TypeError as exc:
        raise InputError(f"the judge answered {answer!r} for a window; wanted its positions, best first") from exc
    if sorted(positions) != list(range(len(group))):
        raise InputError(
            f"the judge answered {positions} for a window of {len(group)}; wanted each position 0..{len(group) - 1} once, best first"
        )
    return [group[at] for at in positions]


def best_of(group: Group, answer: SupportsIndex) -> int:
    """The position of the best, from a best answer.

    raises  InputError unless it is a position of the group
    """
    try:
        at = index(answer)
    except TypeError as exc:
        raise InputError(f"the judge answered {answer!r} for a group; wanted the position of the best") from exc
    if not 0 <= at < len(group):
        raise InputError(f"the judge answered {at} for a group of {len(group)}; wanted the position of the best, 0..{len(group) - 1}")
    return at


def probability(pair: Group, answer: float) -> float:
    """A pair answer as a float.

    raises  InputError unless it is a number in [0, 1]
    """
    try:
        p = float(answer)
    except (TypeError, ValueError) as exc:
        raise InputError(f"the judge answered {answer!r} for the pair {pair}; wanted a probability in [0, 1]") from exc
    if not 0.0 <= p <= 1.0:
        raise InputError(f"the judge answered {p} for the pair {pair}; wanted a probability in [0, 1]")
    return p
