"""Window plans: right judges give exact orders, any judge a permutation, and calls are what the formulas say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.rerankers.plans import (
    Driven,
    Group,
    Plan,
    WindowPlan,
    consistent,
    drive,
    full,
    progressive,
    progressive_calls,
    sliding,
    sliding_calls,
    top_down,
    top_down_most_calls,
)

A = TypeVar("A")
SIZES = (0, 1, 2, 9, 10, 11, 19, 20, 21, 25, 100)
hundred = st.permutations(list(range(100)))
seeds = st.integers(0, 2**32 - 1)


def run(plan: Plan[A], answer: Callable[[Group], A], n: int) -> Driven:
    return drive([plan], lambda batch: [answer(group) for _, group in batch], sizes=[n])


def right(worth: Sequence[float]) -> Callable[[Group], list[int]]:
    """Orders any group by worth, highest first."""
    return lambda group: sorted(range(len(group)), key=lambda at: -worth[group[at]])


def ideal(worth: Sequence[float]) -> list[int]:
    return sorted(range(len(worth)), key=lambda item: -worth[item])


def first_stage(n: int, noise: float | None, seed: int) -> list[float]:
    """Worth of items in prior order: falling by 1 a place, with normal noise; None: in random order."""
    rng = np.random.default_rng(seed)
    worth = rng.permutation(n) if noise is None else -np.arange(n) + rng.normal(0, noise, n)
    return [float(w) for w in worth]


def whim(seed: int) -> Callable[[Group], list[int]]:
    """Any answer, but the same to the same question."""

    def answer(group: Group) -> list[int]:
        return random.Random(f"{seed} {group}").sample(range(len(group)), len(group))

    return answer


def wheel(n: int) -> Callable[[Group], list[int]]:
    """Not transitive: each item beats the half of all items that follows it in a circle."""

    def answer(group: Group) -> list[int]:
        wins = [sum((b - a) % max(n, 1) in range(1, n // 2 + 1) for b in group) for a in group]
        return sorted(range(len(group)), key=lambda at: -wins[at])

    return answer


JUDGES: dict[str, Callable[[int], Callable[[Group], list[int]]]] = {
    "whim": lambda n: whim(n),
    "reverse": lambda n: lambda group: list(range(len(group)))[::-1],
    "constant": lambda n: lambda group: list(range(len(group))),
    "wheel": wheel,
    "rotate": lambda n: lambda group: [*range(1, len(group)), 0],
}
WINDOW_PLANS: dict[str, Callable[[int], WindowPlan]] = {
    "sliding": sliding,
    "sliding 4/2, 3 passes": lambda n: sliding(n, 4, 2, 3),
    "sliding 5/5": lambda n: sliding(n, 5, 5),
    "full": full,
    "progressive": progressive,
    "progressive 4/3/1": lambda n: progressive(n, 4, 3, 1),
    "top_down": top_down,
    "top_down, no budget": lambda n: top_down(n, budget=None),
    "top_down 6/6, ahead 2": lambda n: top_down(n, 6, 6, 8, ahead=2),
    "top_down 2/1": lambda n: top_down(n, 2, 1, None),
    "consistent": lambda n: consistent(sliding, n, 3),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("plan", WINDOW_PLANS)
def test_any_judge_gets_a_permutation_and_the_same_one_again(plan: str, judge: str, n: int) -> None:
    shown: list[Group] = []

    def answer(group: Group) -> list[int]:
        shown.append(group)
        return JUDGES[judge](n)(group)

    found = run(WINDOW_PLANS[plan](n), answer, n)
    assert sorted(found.orders[0]) == list(range(n))
    assert found == run(WINDOW_PLANS[plan](n), JUDGES[judge](n), n)
    assert all(len(set(group)) == len(group) >= 2 for group in shown)
    if n < 2:
        assert found.calls == found.rounds == 0


# sliding


def windows_by_the_book(order: list[int], window: int, stride: int) -> list[tuple[int, int]]:
    """The loop of RankGPT, as specified."""
    n = len(order)
    end, start, found = n, max(n - window, 0), []
    while True:
        found.append((start, end))
        if start == 0:
            return found
        end -= stride
        start = max(start - stride, 0)


@pytest.mark.parametrize("n", SIZES[2:])
@pytest.mark.parametrize(("window", "stride"), [(20, 10), (20, 5), (4, 2), (10, 9), (3, 1)])
def test_sliding_asks_the_windows_of_the_book(n: int, window: int, stride: int) -> None:
    shown: list[Group] = []

    def keep(group: Group) -> list[int]:
        shown.append(group)
        return list(range(len(group)))

    found = run(sliding(n, window, stride), keep, n)
    assert [(group[0], group[-1] + 1) for group in shown] == windows_by_the_book(list(range(n)), window, stride)
    expected = 1 if n <= window else math.ceil((n - window) / stride) + 1
    assert found.calls == found.rounds == sliding_calls(n, window, stride) == expected


def test_sliding_counts_of_the_specification() -> None:
    assert sliding_calls(100) == 9
    assert run(sliding(100), right(range(100)), 100).calls == 9
    assert run(sliding(10), right(range(10)), 10).orders == [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]  # a list of window - stride items


@given(st.integers(0, 60), st.integers(1, 12), st.data())
def test_sliding_calls_are_the_formula_for_any_numbers(n: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    assert run(sliding(n, window, stride), whim(n), n).calls == sliding_calls(n, window, stride)


@given(hundred)
@example(list(range(100)))
@example(list(range(99, -1, -1)))
@settings(max_examples=200)
def test_sliding_finds_the_top_ten_from_any_order(worth: list[int]) -> None:
    assert run(sliding(100), right(worth), 100).orders[0][:10] == ideal(worth)[:10]


def test_passes_extend_the_exact_top_and_stop_when_nothing_changes() -> None:
    worth = first_stage(100, None, 1)
    for passes in (1, 2, 5):
        found = run(sliding(100, passes=passes), right(worth), 100)
        assert found.orders[0][: 10 * passes] == ideal(worth)[: 10 * passes]
        assert found.calls == 9 * passes
    ordered = [float(-i) for i in range(100)]
    assert run(sliding(100, passes=50), right(ordered), 100).calls == 9  # the first pass changes nothing
    assert run(sliding(100, passes=50), right(ordered[::-1]), 100).orders == [ideal(ordered[::-1])]
    assert run(sliding(100, passes=50), right(ordered[::-1]), 100).calls <= 9 * 11


@given(st.integers(0, 40), seeds)
def test_full_is_one_call(n: int, seed: int) -> None:
    worth = first_stage(n, None, seed)
    found = run(full(n), right(worth), n)
    assert found.orders[0] == ideal(worth)
    assert found.calls == (n > 1)


@given(hundred)
@settings(max_examples=50)
def test_progressive_gives_the_whole_order_in_nine_passes(worth: list[int]) -> None:
    found = run(progressive(100), right(worth), 100)
    assert found.orders[0] == ideal(worth)
    assert found.calls == 45 == sum(range(1, 10))


@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_progressive_gives_the_whole_order_for_any_numbers(n: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window - 1))
    fixed = data.draw(st.integers(1, window - stride))
    worth = first_stage(n, None, data.draw(seeds))
    found = run(progressive(n, window, stride, fixed), right(worth), n)
    assert found.orders[0] == ideal(worth)
    assert found.calls == progressive_calls(n, window, stride, fixed)


def test_progressive_gives_the_whole_order_of_every_short_list() -> None:
    for n, window in product(range(2, 8), range(2, 6)):
        for stride in range(1, window):
            for fixed in range(1, window - stride + 1):
                for last in range(n):  # one item out of place, and the list reversed behind it
                    worth = [float(i) for i in range(n)]
                    worth[0], worth[last] = worth[last], worth[0]
                    for given_order in (worth, worth[::-1]):
                        assert run(progressive(n, window, stride, fixed), right(given_order), n).orders == [ideal(given_order)]


# top down


@given(st.integers(0, 120), st.integers(2, 25), st.data())
def test_top_down_without_budget_is_exact_within_its_bounds(n: int, window: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, window))
    worth = first_stage(n, data.draw(st.sampled_from([None, 3.0, 30.0])), data.draw(seeds))
    ahead = data.draw(st.sampled_from([None, 1, 2]))
    found = run(top_down(n, window, k, None, ahead=ahead), right(worth), n)
    assert found.orders[0][:k] == ideal(worth)[:k]
    assert found.calls <= top_down_most_calls(n, window, k, None)
    if n > window:
        assert found.calls >= 1 + math.ceil((n - window) / (window - 1))


@given(st.integers(21, 120), st.integers(10, 40), st.sampled_from([None, 5.0, 20.0]), seeds)
def test_top_down_with_a_budget_is_exact_where_the_budget_holds_what_beats_the_pivot(
    n: int, budget: int, noise: float | None, seed: int
) -> None:
    worth = first_stage(n, noise, seed)
    pivot = sorted(worth[:20])[-10]
    found = run(top_down(n, budget=budget), right(worth), n)
    if sum(w > pivot for w in worth) <= budget:
        assert found.orders[0][:10] == ideal(worth)[:10]
    assert found.calls <= top_down_most_calls(n, budget=budget)


@given(st.integers(21, 120), st.one_of(st.none(), st.integers(10, 40)), st.sampled_from([None, 20.0]), seeds)
def test_top_down_puts_all_that_beat_a_pivot_before_it(n: int, budget: int | None, noise: float | None, seed: int) -> None:
    worth = first_stage(n, noise, seed)
    (order,) = run(top_down(n, budget=budget), right(worth), n).orders
    pivot = sorted(range(20), key=lambda i: -worth[i])[9]
    at = order.index(pivot)
    assert all(worth[item] > worth[pivot] for item in order[:at])
    assert all(worth[item] < worth[pivot] for item in order[at + 1 :])


@given(st.integers(0, 120), st.integers(2, 25), st.sampled_from(sorted(JUDGES)), st.data())
def test_top_down_bounds_hold_for_any_judge(n: int, window: int, judge: str, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, window))
    budget = data.draw(st.one_of(st.none(), st.integers(k, 40)))
    rounds = data.draw(st.integers(1, 5))
    assert run(top_down(n, window, k, budget), JUDGES[judge](n), n).calls <= top_down_most_calls(n, window, k, budget)
    assert run(top_down(n, window, k, budget, rounds), JUDGES[judge](n), n).rounds <= rounds


def top_down_by_the_book(worth: list[float], window: int, k: int) -> tuple[list[int], int, int]:
    """The specification without budget, step by step: order, calls, rounds."""
    todo, backfill, calls, rounds = list(range(len(worth))), list[int](), 0, 0
    while len(todo) > window:
        ordered = sorted(todo[:window], key=lambda i: -worth[i])
        candidates, pivot, rejects = ordered[: k - 1], ordered[k - 1], ordered[k:]
        chunks = [todo[at : at + window - 1] for at in range(window, len(todo), window - 1)]
        calls, rounds = calls + 1 + len(chunks), rounds + 2
        for chunk in chunks:
            judged = sorted([pivot, *chunk], key=lambda i: -worth[i])
            candidates += judged[: judged.index(pivot)]
            rejects += judged[judged.index(pivot) + 1 :]
        backfill = rejects + backfill
        if len(candidates) < k:
            return [*candidates, pivot, *backfill], calls, rounds
        todo = [*candidates, pivot]
    return sorted(todo, key=lambda i: -worth[i]) + backfill, calls + 1, rounds + 1


def test_top_down_costs_what_the_simulation_says() -> None:
    for seed in range(200):
        for budget in (20, None):
            worth = first_stage(100, 10.0, seed)
            found = run(top_down(100, budget=budget), right(worth), 100)
            assert found.orders[0][:10] == ideal(worth)[:10]
            assert (found.calls, found.rounds) in ((6, 2), (7, 3))
    lists = [first_stage(100, None, seed) for seed in range(300)]
    book = np.array([top_down_by_the_book(worth, 20, 10)[1:] for worth in lists]).mean(axis=0)
    assert book == pytest.approx([10.7, 5.7], abs=0.2)  # the figures of the specification
    ours = [run(top_down(100, budget=None), right(worth), 100) for worth in lists]
    assert np.mean([found.calls for found in ours]) == pytest.approx(9.6, abs=0.2)  # chunks are read rank by rank: a stronger pivot
    assert np.mean([found.rounds for found in ours]) == pytest.approx(4.7, abs=0.2)
    assert all(found.orders[0][:10] == ideal(worth)[:10] for found, worth in zip(ours, lists, strict=True))
    kept = [run(top_down(100), right(worth), 100) for worth in lists]
    assert {(found.calls, found.rounds) for found in kept} == {(7, 3)}
    recall = np.mean([len({*found.orders[0][:10]} & {*ideal(worth)[:10]}) / 10 for found, worth in zip(kept, lists, strict=True)])
    assert recall == pytest.approx(0.88, abs=0.02)


def test_top_down_leaves_no_chunk_out_and_orders_what_it_settles() -> None:
    # pivot 1 (of 0 1 2 3); the last chunk has one item, and it is the best of all
    worth = [9.0, 8, 2, 1, 3, 4, 5, 10]
    found = run(top_down(8, window=4, k=2), right(worth), 8)
    assert found.orders == [[7, 0, 1, 2, 3, 6, 5, 4]]
    assert found.calls == 1 + 2 + 1
    # one chunk a round, one candidate: chunk (4 5 6) fills the budget with 6, the item 7 is settled unasked, 5 and 4 before the pivot
    worth = [3.0, 2, 1, 0, 4, 5, 6, 7]
    found = run(top_down(8, window=4, k=2, budget=2, ahead=1), right(worth), 8)
    assert found.orders == [[6, 0, 5, 4, 1, 2, 3, 7]]
    assert (found.calls, found.rounds) == (3, 3)


def test_top_down_ends_after_max_rounds_with_what_it_knows() -> None:
    worth = [float(i) for i in range(100)]
    assert run(top_down(100, max_rounds=1), right(worth), 100).orders == [[*range(19, -1, -1), *range(20, 100)]]
    two = run(top_down(100, budget=None, max_rounds=2), right(worth), 100)
    assert {*two.orders[0][:89]} == {*range(11, 100)}
    assert two.calls == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sliding(-1), "n must be a whole number of at least 0, got -1"),
        (lambda: sliding(2.0), "n must be a whole number"),  # type: ignore[arg-type]
        (lambda: sliding(5, 0), "window must be"),
        (lambda: sliding(5, 4, 0), "stride must be"),
        (lambda: sliding(5, 4, 5), "stride must be at most window"),
        (lambda: sliding(5, passes=0), "passes must be"),
        (lambda: sliding_calls(5, 4, 5), "stride must be at most window"),
        (lambda: progressive(5, 4, 2, 3), "fixed must be at most window - stride = 2"),
        (lambda: progressive(5, 4, 4, 1), "fixed must be at most window - stride = 0"),
        (lambda: top_down(5, 1, 1), "window must be at least 2"),
        (lambda: top_down(5, 4, 5), "k must be at most window"),
        (lambda: top_down(5, 4, 3, 2), "budget must be at least k"),
        (lambda: top_down(5, max_rounds=0), "max_rounds must be"),
        (lambda: top_down(5, ahead=0), "ahead must be"),
        (lambda: consistent(full, 5, 0), "shuffles must be"),
        (lambda: full(-3), "n must be"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
