"""The randomisation test against full enumeration, scipy and theory; Holm's correction against hand cases and its laws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ragkit.errors import InputError, ShapeError
from ragkit.evaluation import holm, randomization_test
from ragkit.evaluation.randomization import EXACT

tenths = st.integers(-10, 10).map(lambda i: i / 10)


def by_enumeration(values: list[float]) -> float:
    """Every sign pattern, one after the other."""
    observed = abs(sum(values))
    far = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= observed - 1e-9
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(far) / len(far)


@given(st.lists(tenths, min_size=1, max_size=9))
def test_up_to_the_limit_the_value_is_exact(values: list[float]) -> None:
    p = randomization_test(values)
    assert p == pytest.approx(by_enumeration(values), abs=1e-12)
    assert randomization_test([-v for v in values]) == p
    assert randomization_test([*values, 0.0, 0.0]) == p, "a difference of 0 changes nothing"
    assert randomization_test([3 * v for v in values]) == p
    assert 0 < p <= 1


@pytest.mark.parametrize("n", [2, 5, 9, 13])
def test_exact_values_equal_scipy(n: int) -> None:
    values = np.round(np.random.default_rng(n).normal(0.3, 1, n), 1)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert randomization_test(values) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_drawn_values_are_near_scipy_and_the_exact_ones() -> None:
    rng = np.random.default_rng(7)
    for mean in (0.0, 0.15, 0.3):
        values = rng.normal(mean, 1, 80)
        theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(1))
        assert randomization_test(values) == pytest.approx(theirs.pvalue, abs=0.02)  # 4 standard errors of both at p = 0.5
    # at the limit both ways are open: one more value, far smaller than the rounding, makes the same test a drawn one
    values = rng.normal(0.25, 1, EXACT)
    drawn = randomization_test(np.append(values, 1e-14))
    assert drawn != randomization_test(values)
    assert drawn == pytest.approx(randomization_test(values), abs=0.02)


def test_a_value_on_the_border_is_counted_when_drawn() -> None:
    """All differences equal: only two of 2^40 patterns are as far as the observed one, and none is drawn."""
    assert randomization_test(np.full(40, 0.1), draws=999) == 1 / 1000


def test_about_one_in_twenty_true_null_hypotheses_has_p_below_5_percent() -> None:
    rng = np.random.default_rng(7)
    few = [randomization_test(rng.normal(size=15)) for _ in range(400)]
    many = [randomization_test(rng.normal(size=60), draws=400, seed=i) for i in range(400)]
    for p_values in (few, many):
        assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.085  # 400 trials: standard error 0.011


def test_values_are_seeded() -> None:
    values = np.random.default_rng(7).normal(0.1, 1, 100)
    assert randomization_test(values, seed=3) == randomization_test(values.tolist(), seed=3)
    assert randomization_test(values, seed=3) != randomization_test(values, seed=4)


@pytest.mark.parametrize(("values", "p"), [([0.7], 1.0), ([0.0, 0.0], 1.0), ([0.0] * 50, 1.0), ([0.3, 0.3], 0.5), ([0.1, 0.2, -0.3], 1.0)])
def test_where_nothing_can_be_told(values: list[float], p: float) -> None:
    assert randomization_test(values) == p


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        ([], {}, InputError, "at least one difference"),
        ([0.1, float("nan")], {}, InputError, r"differences\[1\] is nan"),
        ([float("-inf")], {}, InputError, r"differences\[0\] is -inf"),
        ([[0.1]], {}, ShapeError, "one-dimensional"),
        ([0.1], {"draws": 0}, InputError, "draws"),
    ],
)
def test_the_test_refuses(values: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        randomization_test(values, **options)


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        # sorted 0.005 0.01 0.03 0.04: x4 = 0.02; x3 = 0.03; x2 = 0.06; x1 = 0.04, raised to 0.06
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2], [0.2]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([], []),
    ],
)
def test_holm_by_hand(raw: list[float], adjusted: list[float]) -> None:
    assert holm(raw).tolist() == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_laws_of_holm(raw: list[float]) -> None:
    adjusted = holm(raw)
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all(), "a smaller p-value never gets the larger adjusted one"
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(np.array(raw) * len(raw), 1)).all(), "never stricter than Bonferroni"
    assert adjusted[order[0]] == min(raw[order[0]] * len(raw), 1)
    assert holm(raw[::-1]).tolist() == adjusted[::-1].tolist() or len(set(raw)) < len(raw)


@pytest.mark.parametrize(
    ("raw", "error"), [([0.1, float("nan")], InputError), ([1.5], InputError), ([-0.1], InputError), ([[0.1]], ShapeError)]
)
def test_holm_refuses(raw: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        holm(raw)
