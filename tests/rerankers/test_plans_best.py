"""Plans that ask for the best of a few items, and plans that ask about pairs, against plain loops."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError
from ragkit.rerankers.plans import (
    BestPlan,
    Group,
    PairPlan,
    all_pairs,
    all_pairs_calls,
    bubble_most_calls,
    bubble_select,
    heap_most_calls,
    heap_select,
    pair_bubble,
    pair_bubble_most_calls,
    pair_heap,
    pair_heap_most_calls,
    preference,
)
from tests.rerankers.test_plans import JUDGES, SIZES, first_stage, hundred, ideal, run, seeds

Best = Callable[[Group], int]
Pair = Callable[[Group], float]


def best(worth: list[float]) -> Best:
    return lambda group: max(range(len(group)), key=lambda at: worth[group[at]])


def surer(worth: list[float]) -> Pair:
    return lambda pair: 1.0 if worth[pair[0]] > worth[pair[1]] else 0.0


def leads(judge: str, n: int) -> Best:
    """The best answers of a judge of windows."""
    return lambda group: JUDGES[judge](n)(group)[0]


def kept(answer: Best) -> tuple[Best, list[Group]]:
    """The judge, and the groups that it will have been asked about."""
    shown: list[Group] = []

    def keep(group: Group) -> int:
        shown.append(group)
        return answer(group)

    return keep, shown


BEST_PLANS: dict[str, tuple[Callable[[int], BestPlan], Callable[[int], int]]] = {
    "heap 3": (heap_select, heap_most_calls),
    "heap 4": (lambda n: heap_select(n, 10, 4), lambda n: heap_most_calls(n, 10, 4)),
    "heap 20, all": (lambda n: heap_select(n, 100, 20), lambda n: heap_most_calls(n, 100, 20)),
    "bubble 3": (bubble_select, bubble_most_calls),
    "bubble 2, all": (lambda n: bubble_select(n, 100, 2), lambda n: bubble_most_calls(n, 100, 2)),
    "bubble 4, top 1": (lambda n: bubble_select(n, 1, 4), lambda n: bubble_most_calls(n, 1, 4)),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("plan", BEST_PLANS)
def test_any_judge_of_the_best_gets_a_permutation_within_the_bound(plan: str, judge: str, n: int) -> None:
    make, most = BEST_PLANS[plan]
    answer, shown = kept(leads(judge, n))
    found = run(make(n), answer, n)
    assert sorted(found.orders[0]) == list(range(n))
    assert found.calls <= most(n)
    assert found == run(make(n), leads(judge, n), n)
    assert all(len(set(group)) == len(group) >= 2 for group in shown)


@given(hundred, st.integers(1, 100), st.integers(3, 8))
def test_heap_and_bubble_find_the_best_in_order(order: list[int], k: int, docs: int) -> None:
    worth = [float(w) for w in order]
    heap = run(heap_select(100, k, docs), best(worth), 100)
    assert heap.orders[0][:k] == ideal(worth)[:k]
    assert heap.orders[0][k:] == sorted(heap.orders[0][k:])  # the rest in prior order
    assert heap.calls <= heap_most_calls(100, k, docs)
    bubble = run(bubble_select(100, k, docs), best(worth), 100)
    assert bubble.orders[0][:k] == ideal(worth)[:k]
    assert bubble.calls <= bubble_most_calls(100, k, docs)


def heap_by_the_book(n: int, k: int, children: int, answer: Best) -> list[int]:
    """Setwise heapsort of the paper, node by node: heapify from n // c down to 0, then extract k."""
    heap = list(range(n))

    def heapify(size: int, node: int) -> None:
        below = range(children * node + 1, min(children * node + children + 1, size))
        if below:
            family = [node, *below]
            top = family[answer(tuple(heap[at] for at in family))]
            if top != node:
                heap[node], heap[top] = heap[top], heap[node]
                heapify(size, top)

    for node in range(n // children, -1, -1):
        heapify(n, node)
    for size in range(n - 1, 0, -1):
        heap[0], heap[size] = heap[size], heap[0]
        if n - size == k:
            break
        heapify(size, 0)
    top = heap[::-1][:k]
    return top + [item for item in range(n) if item not in top]


@given(st.integers(0, 60), st.integers(1, 60), st.integers(3, 6), st.sampled_from(sorted(JUDGES)))
def test_heap_asks_what_the_book_asks_in_fewer_rounds(n: int, k: int, docs: int, judge: str) -> None:
    by_book, asked_by_book = kept(leads(judge, n))
    expected = heap_by_the_book(n, k, docs - 1, by_book)
    answer, asked = kept(leads(judge, n))
    found = run(heap_select(n, k, docs), answer, n)
    assert found.orders == [expected]
    assert Counter(asked) == Counter(asked_by_book)
    assert found.rounds <= found.calls


def test_heap_costs_what_the_simulation_says() -> None:
    for docs, low, high in ((3, 117, 141), (4, 75, 83)):
        for noise in (25.0, 50.0, None):
            calls = [run(heap_select(100, 10, docs), best(w), 100).calls for w in (first_stage(100, noise, s) for s in range(60))]
            assert low <= np.mean(calls) <= high, (docs, noise)
    random_order = [run(heap_select(100), best(first_stage(100, None, s)), 100) for s in range(60)]
    assert np.mean([found.calls for found in random_order]) == pytest.approx(140, abs=2)
    assert np.mean([found.rounds for found in random_order]) == pytest.approx(71, abs=2)


def test_heap_bound_is_reached() -> None:
    for n, k, docs in ((100, 10, 3), (100, 10, 4), (13, 13, 4), (2, 1, 3)):
        seen = max(run(heap_select(n, k, docs), leads("whim", seed), n).calls for seed in range(60))
        assert seen <= heap_most_calls(n, k, docs) <= seen * 1.35
    assert run(heap_select(7, 1), lambda group: len(group) - 1, 7).calls == heap_most_calls(7, 1) == 4


def test_a_judge_that_names_the_smallest_item_keeps_the_prior_order() -> None:
    for n in SIZES:
        for plan in (heap_select(n), heap_select(n, n + 1, 4), bubble_select(n)):
            assert run(plan, lambda group: group.index(min(group)), n).orders == [list(range(n))]


def bubble_by_the_book(n: int, k: int, step: int, answer: Best) -> list[int]:
    """Pass after pass, every window asked."""
    order = list(range(n))
    for head in range(min(k, n - 1)):
        end = n
        while end - 1 > head:
            start = max(end - step - 1, head)
            at = start + answer(tuple(order[start:end]))
            order.insert(start, order.pop(at))
            end -= step
    return order


@given(st.integers(0, 50), st.integers(1, 50), st.integers(2, 6), st.sampled_from(sorted(JUDGES)))
def test_bubble_asks_each_window_of_the_book_once(n: int, k: int, docs: int, judge: str) -> None:
    by_book, asked_by_book = kept(leads(judge, n))
    expected = bubble_by_the_book(n, k, docs - 1, by_book)
    answer, asked = kept(leads(judge, n))
    found = run(bubble_select(n, k, docs), answer, n)
    assert found.orders == [expected]
    assert len(asked) == len(set(asked))
    assert set(asked) == set(asked_by_book)
    assert len(asked_by_book) == bubble_most_calls(n, k, docs)
    assert found.rounds <= math.ceil(max(n - 1, 0) / (docs - 1)) + 2 * min(k, n)


def test_bubble_calls_and_rounds() -> None:
    worths = [first_stage(100, None, seed) for seed in range(60)]
    found = [run(bubble_select(100), best(worth), 100) for worth in worths]
    assert np.mean([f.calls for f in found]) == pytest.approx(444, abs=8)
    assert max(f.rounds for f in found) <= 50 + 20
    good = [run(bubble_select(100), best(first_stage(100, 10.0, seed)), 100).calls for seed in range(60)]
    assert np.mean(good) == pytest.approx(245, abs=15)
    # in order already: the first pass asks 50 windows, each later one only the window that begins one place further on
    assert run(bubble_select(100), best([-float(i) for i in range(100)]), 100).calls <= 50 + 9


# pairs

PAIR_PLANS: dict[str, tuple[Callable[[int, int | None], PairPlan], Callable[[int, int | None], int]]] = {
    "all": (all_pairs, all_pairs_calls),
    "heap": (lambda n, m: pair_heap(n, 10, m), lambda n, m: pair_heap_most_calls(n, 10, m)),
    "heap, all": (lambda n, m: pair_heap(n, 100, m), lambda n, m: pair_heap_most_calls(n, 100, m)),
    "bubble": (lambda n, m: pair_bubble(n, 10, m), lambda n, m: pair_bubble_most_calls(n, 10, m)),
    "bubble, all": (lambda n, m: pair_bubble(n, 100, m), lambda n, m: pair_bubble_most_calls(n, 100, m)),
}
PAIR_JUDGES: dict[str, Callable[[int], Pair]] = {
    "whim": lambda n: lambda pair: random.Random(f"{n} {pair}").random(),
    "hard whim": lambda n: lambda pair: float(random.Random(f"{n} {pair}").random() < 0.5),
    "first": lambda n: lambda pair: 1.0,
    "tie": lambda n: lambda pair: 0.5,
    "constant": lambda n: lambda pair: 0.3,
    "wheel": lambda n: lambda pair: float((pair[1] - pair[0]) % n in range(1, n // 2 + 1)),
    "reverse": lambda n: lambda pair: float(pair[0] > pair[1]),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("judge", PAIR_JUDGES)
@pytest.mark.parametrize("plan", PAIR_PLANS)
def test_any_judge_of_pairs_gets_a_permutation_within_the_bound(plan: str, judge: str, n: int) -> None:
    make, most = PAIR_PLANS[plan]
    for budget in (None, 0, 1, 17, 200):
        shown: list[Group] = []

        def answer(pair: Group, shown: list[Group] = shown) -> float:
            shown.append(pair)
            return PAIR_JUDGES[judge](n)(pair)

        found = run(make(n, budget), answer, n)
        assert sorted(found.orders[0]) == list(range(n))
        assert found.calls <= most(n, budget) <= (n * n if budget is None else budget)
        assert len(set(shown)) == len(shown) == found.calls  # nothing twice
        assert {(j, i) for i, j in shown} == set(shown)  # both orders
        if judge in ("first", "tie", "constant") or budget == 0:  # contradictions and ties
            assert found.orders == [list(range(n))]


@given(st.integers(0, 40), st.integers(1, 40), seeds)
def test_pairs_give_the_best_in_order(n: int, k: int, seed: int) -> None:
    worth = first_stage(n, None, seed)
    everything = run(all_pairs(n), surer(worth), n)
    assert everything.orders == [ideal(worth)]
    assert (everything.calls, everything.rounds) == (n * n - n, int(n > 1))
    heap = run(pair_heap(n, k), surer(worth), n)
    assert heap.orders[0][:k] == ideal(worth)[:k]
    assert heap.orders[0][k:] == sorted(heap.orders[0][k:])
    assert run(pair_bubble(n, k), surer(worth), n).orders[0][:k] == ideal(worth)[:k]


@given(st.integers(2, 25), seeds)
def test_all_pairs_sums_as_duo_t5_does(n: int, seed: int) -> None:
    p = np.random.default_rng(seed).random((n, n))
    found = run(all_pairs(n), lambda pair: p[pair], n)
    sums = [sum(p[i, j] + 1 - p[j, i] for j in range(n) if j != i) for i in range(n)]
    ranked = [sums[item] for item in found.orders[0]]
    assert all(a >= b - 1e-9 for a, b in pairwise(ranked))


def test_counts_of_pairs() -> None:
    assert all_pairs_calls(50) == 2450  # duoT5 over its top 50
    assert run(all_pairs(100), surer(first_stage(100, None, 1)), 100).calls == 9900
    ordered = [-float(i) for i in range(100)]
    assert run(pair_bubble(100), surer(ordered), 100).calls == 2 * 99  # one pass, which moves nothing
    assert run(pair_bubble(100, 100), surer(ordered[::-1]), 100).calls == 9900 == pair_bubble_most_calls(100, 100)
    comparisons = [
        run(pair_heap(100), surer(first_stage(100, noise, seed)), 100).calls / 2 for noise in (10.0, 25.0) for seed in range(40)
    ]  # the paper counts 230-242 comparisons, each of both orders, behind BM25
    assert 215 <= np.mean(comparisons) <= 245


def test_a_judge_that_prefers_the_first_shown_is_overruled_by_asking_both_orders() -> None:
    worth = first_stage(30, None, 2)

    def biased(pair: Group) -> float:
        return min(1.0, surer(worth)(pair) * 0.4 + 0.45)  # .85 or .45: right in sum, and names an item each way

    for plan in (pair_heap(30, 30), pair_bubble(30, 30), all_pairs(30)):
        assert run(plan, biased, 30).orders == [ideal(worth)]


@given(st.floats(0, 1), st.floats(0, 1))
def test_preference_is_antisymmetric(p: float, q: float) -> None:
    assert preference(p, q) == 1 - preference(q, p)
    if (p - 0.5) * (q - 0.5) > 0:
        assert preference(p, q) == 0.5  # both name the first shown, or both the second
    elif p > 0.5 > q:
        assert preference(p, q) == 1.0


@given(st.integers(2, 30), st.integers(1, 30), st.integers(0, 900), seeds)
@settings(max_examples=60)
def test_budgets_are_kept_and_enough_is_as_good_as_none(n: int, k: int, budget: int, seed: int) -> None:
    worth = first_stage(n, None, seed)
    makes = (lambda m: all_pairs(n, m), lambda m: pair_heap(n, k, m), lambda m: pair_bubble(n, k, m))
    for make in makes:
        whole, bounded = run(make(None), surer(worth), n), run(make(budget), surer(worth), n)
        assert bounded.calls == min(whole.calls, budget // 2 * 2) or bounded.calls < whole.calls
        if budget >= whole.calls:
            assert (bounded.orders, bounded.calls) == (whole.orders, whole.calls)
    m = max(m for m in range(n + 1) if m * m - m <= budget)  # so many of the first are compared with each other
    assert run(all_pairs(n, m * m - m), surer(worth), n).orders == [[*ideal(worth[:m]), *range(m, n)]]
    assert run(pair_bubble(n, k, 2 * (n - 1)), surer(worth), n).orders[0][0] == ideal(worth)[0]  # one pass: the best is at the top


def test_a_larger_budget_disagrees_less_with_the_right_order() -> None:
    def reversals(order: list[int], worth: list[float]) -> int:
        return sum(worth[a] < worth[b] for at, a in enumerate(order) for b in order[at + 1 :])

    for make in (lambda m: all_pairs(40, m), lambda m: pair_bubble(40, 40, m)):
        means = [
            np.mean([reversals(run(make(m), surer(w), 40).orders[0], w) for w in (first_stage(40, None, s) for s in range(8))])
            for m in (0, 300, 600, 1200, 1560)
        ]
        assert means == sorted(means, reverse=True)
        assert means[-1] == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: heap_select(5, 0), "k must be"),
        (lambda: heap_select(5, 1, 2), "docs_per_call must be at least 3"),
        (lambda: heap_most_calls(-1), "n must be"),
        (lambda: bubble_select(5, 1, 1), "docs_per_call must be at least 2"),
        (lambda: all_pairs(5, -1), "max_calls must be a whole number of at least 0, got -1"),
        (lambda: pair_heap(5, 0), "k must be"),
        (lambda: pair_bubble(5, 1, -2), "max_calls must be"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
