"""Kemeny orders against enumeration, permutation self-consistency, and position bias."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit.errors import ShapeError
from ragkit.rerankers.plans import (
    Group,
    all_pairs,
    borda,
    consistent,
    disagreements,
    drive,
    full,
    heap_select,
    kemeny,
    position_bias,
    reordered,
    sliding,
)
from ragkit.rerankers.plans import consistency as module
from tests.rerankers.test_plans import first_stage, ideal, run, seeds, whim

Ints = NDArray[np.int64]


def kendall(a: list[int], b: list[int]) -> int:
    place = {item: at for at, item in enumerate(b)}
    return sum(place[x] > place[y] for x, y in combinations(a, 2))


def total(orders: list[list[int]], order: list[int]) -> int:
    return sum(kendall(one, order) for one in orders)


def best_by_enumeration(orders: list[list[int]]) -> list[int]:
    """The first, in lexicographic order, of the orders of least total distance."""
    n = len(orders[0])
    tried = np.array(list(permutations(range(n))))
    places = np.argsort(tried, axis=1)
    costs = np.zeros(len(tried), np.int64)
    for order in orders:
        for a, b in combinations(order, 2):
            costs += places[:, a] > places[:, b]
    found: list[int] = tried[costs.argmin()].tolist()
    return found


def noisy(n: int, m: int, noise: float, seed: int) -> list[list[int]]:
    """m orders of n items around 0..n-1."""
    rng = np.random.default_rng(seed)
    found: list[list[int]] = np.argsort(np.arange(n) + rng.normal(0, noise, (m, n)), axis=1).tolist()
    return found


def lists(n: int, most: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.permutations(list(range(n))), min_size=1, max_size=most)


@given(lists(7, 7))
@settings(max_examples=60)
def test_kemeny_is_the_first_best_of_all_permutations_of_seven(orders: list[list[int]]) -> None:
    assert kemeny(orders) == best_by_enumeration(orders)


@given(st.integers(1, 5).flatmap(lambda n: lists(n, 9)))
def test_kemeny_of_few_items(orders: list[list[int]]) -> None:
    assert kemeny(orders) == best_by_enumeration(orders)


@given(st.integers(0, 20), st.integers(1, 8), seeds)
def test_disagreements_count_pairs(n: int, m: int, seed: int) -> None:
    orders = noisy(n, m, 4.0, seed)
    (order,) = noisy(n, 1, 4.0, seed + 1)
    assert disagreements(orders, order) == total(orders, order)


def test_kemeny_of_twelve_in_a_circle_is_exact() -> None:
    # each item beats the next in two of three orders, all the way round: one set, so dynamic programming over all 2^12 subsets
    circle = [[*range(12)], [*range(4, 12), *range(4)], [*range(8, 12), *range(8)]]
    before = module._before(np.array(circle))
    assert len(module._sets(before)) == 1
    found = kemeny(circle)
    assert disagreements(circle, found) == min(disagreements(circle, [*range(s, 12), *range(s)]) for s in range(12)) == 64
    swapped = [[*found[:a], found[b], *found[a + 1 : b], found[a], *found[b + 1 :]] for a, b in combinations(range(12), 2)]
    assert all(disagreements(circle, other) >= 64 for other in swapped)


@given(st.integers(1, 12), st.integers(1, 6), seeds)
@settings(max_examples=40)
def test_local_search_is_between_borda_and_the_optimum(n: int, m: int, seed: int) -> None:
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (m, 1)), axis=1)
    before = module._before(orders)
    improved = module._improved(before, module._borda_order(before)).tolist()
    exact = disagreements(orders, kemeny(orders))
    assert exact <= disagreements(orders, improved) <= disagreements(orders, borda(orders))
    for item in range(n):  # no insertion helps: counted in full
        rest = [other for other in improved if other != item]
        moved = [[*rest[:at], item, *rest[at:]] for at in range(n)]
        assert all(disagreements(orders, other) >= disagreements(orders, improved) for other in moved)


def test_local_search_is_near_the_optimum() -> None:
    found, best = 0, 0
    for seed in range(40):
        orders = np.random.default_rng(seed).permuted(np.tile(np.arange(12), (5, 1)), axis=1)
        before = module._before(orders)
        found += disagreements(orders, module._improved(before, module._borda_order(before)).tolist())
        best += disagreements(orders, kemeny(orders))
    assert best <= found <= 1.01 * best


def test_long_lists_split_into_sets_and_are_exact() -> None:
    for n, noise in ((40, 1.0), (100, 2.0)):
        orders = np.array(noisy(n, 21, noise, 3))
        before = module._before(orders)
        sets = module._sets(before)
        assert sorted(np.concatenate(sets).tolist()) == list(range(n))
        assert len(sets) > n / 4
        for at, ahead in enumerate(sets):
            for behind in sets[at + 1 :]:
                assert (before[np.ix_(ahead, behind)] > before[np.ix_(behind, ahead)].T).all()
        assert disagreements(orders, kemeny(orders)) >= int(np.minimum(before, before.T)[np.triu_indices(n, 1)].sum())
        assert disagreements(orders, kemeny(orders)) <= disagreements(orders, borda(orders))


def test_kemeny_of_a_hundred_random_orders_ends_and_is_a_permutation() -> None:
    orders = np.random.default_rng(5).permuted(np.tile(np.arange(100), (20, 1)), axis=1)
    found = kemeny(orders)
    assert sorted(found) == list(range(100))
    assert found == kemeny(orders)
    assert disagreements(orders, found) < disagreements(orders, borda(orders))


def test_kemeny_takes_the_majority_where_borda_does_not() -> None:
    orders = [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 0], [1, 2, 3, 0]]
    assert borda(orders) == [1, 0, 2, 3]
    assert kemeny(orders) == [0, 1, 2, 3]


@pytest.mark.parametrize("orders", [[], [[0, 0]], [[0, 1], [0]], [[1, 2]], [0, 1], [[0.0, 1.0]], [["a", "b"]]])
def test_what_are_no_orders_is_refused(orders: list[object]) -> None:
    for function in (kemeny, borda):
        with pytest.raises(ShapeError, match=r"^(orders must|each order must)"):
            function(orders)


def test_disagreements_refuse_another_length() -> None:
    with pytest.raises(ShapeError, match="an order of 3 items was given to compare with orders of 2"):
        disagreements([[0, 1]], [0, 1, 2])


# self-consistency


def test_consistent_joins_the_rounds_of_its_shuffles_and_returns_their_kemeny_order() -> None:
    rng = np.random.default_rng(11)
    inputs = [list(range(30)), *(rng.permutation(30).tolist() for _ in range(4))]
    alone = [run(reordered(sliding(30, 6, 3), order), whim(1), 30) for order in inputs]
    found = run(consistent(lambda n: sliding(n, 6, 3), 30, shuffles=5, seed=11), whim(1), 30)
    assert found.orders == [kemeny([one.orders[0] for one in alone])]
    assert found.calls == 5 * alone[0].calls
    assert found.rounds == alone[0].rounds


@given(st.integers(0, 30), st.integers(1, 5), seeds)
@settings(max_examples=30)
def test_consistent_of_a_right_judge_is_right(n: int, shuffles: int, seed: int) -> None:
    worth = first_stage(n, None, seed)
    assert run(consistent(full, n, shuffles, seed), lambda g: sorted(range(len(g)), key=lambda at: -worth[g[at]]), n).orders == [
        ideal(worth)
    ]
    by_pairs = run(consistent(all_pairs, n, shuffles), lambda pair: float(worth[pair[0]] > worth[pair[1]]), n)
    assert by_pairs.orders == [ideal(worth)]
    by_best = run(consistent(lambda m: heap_select(m, 100), n, shuffles), lambda g: max(range(len(g)), key=lambda at: worth[g[at]]), n)
    assert by_best.orders == [ideal(worth)]


def test_consistency_corrects_a_judge_that_looks_at_places() -> None:
    alone, together = 0, 0
    for seed in range(20):
        worth = first_stage(20, None, seed)

        def biased(group: Group, worth: list[float] = worth) -> list[int]:
            return sorted(range(len(group)), key=lambda at: 0.7 * at - worth[group[at]])

        alone += kendall(run(full(20), biased, 20).orders[0], ideal(worth))
        together += kendall(run(consistent(full, 20), biased, 20).orders[0], ideal(worth))
    assert together < 0.5 * alone


# position bias


def outputs(inputs: list[list[int]], weight: dict[int, float] | None = None) -> list[list[int]]:
    """What a judge makes of each input who likes small items, and adds the weight of a slot."""
    by_slot = weight or {}
    found = []
    for order in inputs:
        plan = reordered(full(len(order)), order)
        judged = drive([plan], lambda batch: [sorted(range(len(g)), key=lambda at: g[at] - by_slot.get(at, 0.0)) for _, g in batch])
        found.append(judged.orders[0])
    return found


def test_a_judge_that_does_not_look_at_places_has_no_bias() -> None:
    inputs = [list(range(9)), list(range(8, -1, -1)), [4, 0, 8, 2, 6, 1, 3, 7, 5]]
    bias = position_bias(inputs, outputs(inputs))
    assert bias.tau == 1.0
    assert bias.gain.tolist() == [0.0] * 9


def test_forward_and_reversed_show_a_judge_that_repeats_its_input() -> None:
    inputs = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    bias = position_bias(inputs, inputs)
    assert bias.tau == -1.0
    assert bias.gain.tolist() == [2.0, 1.0, 0.0, -1.0, -2.0]  # an item's mean rank is 2 in both
    both = position_bias([inputs, inputs], [inputs, outputs(inputs)])  # two queries: the mean of -1 and 1
    assert both.tau == 0.0
    assert both.gain.tolist() == [1.0, 0.5, 0.0, -0.5, -1.0]


def test_shuffles_show_a_middle_that_is_passed_over() -> None:
    rng = np.random.default_rng(3)
    inputs = [rng.permutation(9).tolist() for _ in range(60)]
    bias = position_bias(inputs, outputs(inputs, {3: -3.0, 4: -3.0, 5: -3.0}))
    assert (bias.gain[[3, 4, 5]] < -1).all()
    assert (bias.gain[[0, 1, 2, 6, 7, 8]] > 0.3).all()
    assert 0 < bias.tau < 1
    assert bias.gain.sum() == pytest.approx(0)


def test_bias_of_one_item_and_wrong_shapes() -> None:
    assert position_bias([[0], [0]], [[0], [0]]).tau == 1.0
    for inputs, came, said in (
        ([[0, 1]], [[0, 1]], "needs at least one query with two runs, got 1 with 1"),
        ([[0, 1], [1, 0]], [[0, 1]], "the same shape"),
        ([[0, 1], [1, 1]], [[0, 1], [1, 0]], "inputs must be permutations"),
        ([[0, 1], [1, 0]], [[0, 1], [1]], "outputs must all have the same length"),
        ([0, 1], [0, 1], "inputs must be permutations"),
    ):
        with pytest.raises(ShapeError, match=said):
            position_bias(inputs, came)
