"""`drive`: plans in lockstep, and what it refuses of judges and plans."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.rerankers.plans import (
    Driven,
    Group,
    Plan,
    WindowPlan,
    bubble_select,
    consistent,
    drive,
    full,
    heap_select,
    pair_bubble,
    pair_heap,
    progressive,
    reordered,
    sliding,
    top_down,
)
from tests.rerankers.test_plans import right, run, seeds, whim


def test_drive_batches_rounds_and_equals_driving_alone() -> None:
    sizes = [0, 1, 25, 100, 40, 7]
    answer = whim(3)

    def plans() -> list[WindowPlan]:
        return [full(0), sliding(1), sliding(25), top_down(100), consistent(sliding, 40, 3), progressive(7, 4, 2, 2)]

    alone = [run(plan, answer, n) for plan, n in zip(plans(), sizes, strict=True)]
    batches: list[list[tuple[int, Group]]] = []

    def judge(batch: list[tuple[int, Group]]) -> list[list[int]]:
        batches.append(batch)
        return [answer(group) for _, group in batch]

    joined = drive(plans(), judge, sizes=sizes)
    assert joined.orders == [found.orders[0] for found in alone]
    assert joined.calls_of == [found.calls for found in alone]
    assert joined.calls == sum(joined.calls_of) == sum(map(len, batches))
    assert joined.rounds == len(batches) == max(found.rounds for found in alone)
    assert [number for number, _ in batches[0]] == [2, 3, 4, 4, 4, 5]  # in the plans' order, all of a round together


def test_drive_of_nothing_asks_nothing() -> None:
    def never(batch: list[tuple[int, Group]]) -> list[int]:
        raise AssertionError("asked")

    assert drive([], never) == Driven([], 0, 0, [])
    assert drive([heap_select(0), heap_select(1), bubble_select(1)], never) == Driven([[], [0], [0]], 0, 0, [0, 0, 0])


def answers_of(kind: str) -> Plan[Any]:
    return {"window": sliding(5), "best": heap_select(5), "bubble": bubble_select(5), "pair": pair_heap(5), "pair 2": pair_bubble(5)}[kind]


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        ("window", [0, 1, 2, 3], r"\[0, 1, 2, 3\] for a window of 5; wanted each position 0..4 once"),
        ("window", [0, 1, 2, 3, 3], "wanted each position 0..4 once"),
        ("window", [1, 2, 3, 4, 5], "wanted each position 0..4 once"),
        ("window", [0.0, 1.0, 2.0, 3.0, 4.0], "wanted its positions, best first"),
        ("window", None, "answered None for a window; wanted its positions"),
        ("best", 3, "answered 3 for a group of 3; wanted the position of the best, 0..2"),
        ("best", -1, "answered -1 for a group of 3"),
        ("bubble", "A", "answered 'A' for a group; wanted the position of the best"),
        ("pair", 1.5, r"answered 1.5 for the pair \(1, 3\); wanted a probability in \[0, 1\]"),
        ("pair", float("nan"), "answered nan for the pair"),
        ("pair 2", None, r"answered None for the pair \(3, 4\)"),
    ],
)
def test_wrong_answers_are_refused(kind: str, answer: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(answers_of(kind), lambda group: answer, 5)


@pytest.mark.parametrize("kind", ["window", "best", "bubble", "pair", "pair 2"])
def test_a_wrong_number_of_answers_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"the judge returned \d answers for \d groups; wanted one answer a group"):
        drive([answers_of(kind)], lambda batch: [0] * (len(batch) + 1))
    with pytest.raises(InputError, match="the judge returned 0 answers"):
        drive([answers_of(kind)], lambda batch: [])
    nothing: Any = lambda batch: None  # noqa: E731
    with pytest.raises(InputError, match="the judge returned NoneType; wanted a list with one answer for each"):
        drive([answers_of(kind)], nothing)


def test_wrong_plans_are_refused() -> None:
    def plan(rounds: list[list[Group]], order: Any) -> Plan[list[int]]:
        for groups in rounds:
            _ = yield groups
        return order  # type: ignore[no-any-return]

    for wrong in (plan([[(0, 1, 2)]], [0, 1]), plan([[(0, 1)]], [0, 0]), plan([[(0, 1)]], [1, 2])):
        with pytest.raises(InputError, match=r"plan 0 returned .* wanted a permutation"):
            drive([wrong], lambda batch: [[0, 1]])
    with pytest.raises(InputError, match=r"plan 1 returned \[0, 1\]; wanted a permutation of its 3 items"):
        drive([full(1), plan([], [0, 1])], lambda batch: [], sizes=[1, 3])
    with pytest.raises(InputError, match="plan 0 yielded a round without groups"):
        drive([plan([[]], [0])], lambda batch: [])
    used = full(3)
    run(used, right(range(3)), 3)
    with pytest.raises(InputError, match="plan 0 returned no order; give each plan once"):
        run(used, right(range(3)), 3)
    with pytest.raises(InputError, match="one number of items a plan, got 2 for 1 plans"):
        drive([full(2)], lambda batch: [[0, 1]], sizes=[2, 2])


@given(st.integers(0, 40), seeds)
def test_reordered_asks_about_the_same_items_in_another_order(n: int, seed: int) -> None:
    rng = random.Random(seed)
    order = rng.sample(range(n), n)
    worth = [rng.random() for _ in range(n)]
    found = run(reordered(sliding(n, 4, 2), order), right(worth), n)
    plain = run(sliding(n, 4, 2), right([worth[i] for i in order]), n)
    assert found.orders[0] == [order[place] for place in plain.orders[0]]


def test_reordered_refuses_what_is_no_order() -> None:
    with pytest.raises(InputError, match=r"must be a permutation of 0..2, got \[0, 1, 3\]"):
        reordered(full(3), [0, 1, 3])
