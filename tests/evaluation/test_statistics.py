"""AUROC against a count over all pairs; the bootstrap interval against theory and for its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.errors import InputError, ShapeError
from ragkit.evaluation import auroc, bootstrap_interval
from tests.evaluation import oracle

pairs = st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 0.5, 2.0, float("inf")]), st.integers(0, 1)), min_size=2, max_size=40)
pairs = pairs.filter(lambda rows: len({label for _, label in rows}) == 2)


@settings(derandomize=True, deadline=None)
@given(pairs)
def test_auroc_counts_pairs(rows: list[tuple[float, int]]) -> None:
    scores, labels = [s for s, _ in rows], [a for _, a in rows]
    value = auroc(scores, labels)
    assert value == pytest.approx(oracle.auroc(scores, labels), abs=1e-12)
    assert auroc([-s for s in scores], labels) == pytest.approx(1 - value)
    assert auroc(scores, [not a for a in labels]) == pytest.approx(1 - value)


def test_auroc_on_many_random_scores() -> None:
    rng = np.random.default_rng(7)
    for digits in (0, 1, 9):  # many ties, some, none
        scores = np.round(rng.normal(size=300), digits)
        labels = rng.random(300) < 0.3
        assert auroc(scores, labels) == pytest.approx(oracle.auroc(scores.tolist(), labels.astype(int).tolist()), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "value"),
    [([1, 2], [0, 1], 1.0), ([2, 1], [0, 1], 0.0), ([1, 1], [0, 1], 0.5), ([3, 3, 3, 3], [1, 0, 1, 0], 0.5)],
)
def test_auroc_by_hand(scores: list[float], labels: list[int], value: float) -> None:
    assert auroc(scores, labels) == value


@pytest.mark.parametrize(
    ("scores", "labels", "error", "words"),
    [
        ([1.0, 2.0], [1], ShapeError, "one label for each score"),
        ([[1.0, 2.0]], [[0, 1]], ShapeError, "one-dimensional"),
        ([1.0, float("nan")], [0, 1], InputError, r"scores\[1\] is NaN"),
        ([1.0, 2.0], [1, 1], InputError, "both classes, got 2 positive and 0 negative"),
        ([], [], InputError, "both classes"),
        ([1.0, 2.0], [0, 2], InputError, "bools, or 0 and 1"),
        ([1.0, 2.0], ["no", "yes"], InputError, "bools, or 0 and 1"),
    ],
)
def test_auroc_refuses(scores: Any, labels: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        auroc(scores, labels)


def test_the_interval_is_seeded() -> None:
    values = np.random.default_rng(7).random(50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values.tolist(), seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_the_interval_is_near_theory() -> None:
    values = np.random.default_rng(7).normal(size=2000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))  # central limit theorem
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    narrow_low, narrow_high = bootstrap_interval(values, level=0.5)
    assert low < narrow_low < values.mean() < narrow_high < high


def test_the_interval_covers_the_true_mean() -> None:
    """Of 200 samples of 60 yes-or-no answers about 95 % must cover; 9 in 10 is 3 standard errors below."""
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.random(60) < 0.4, seed=seed, resamples=300)
        covered += low <= 0.4 <= high
    assert 180 <= covered < 200


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ([], {}, "at least one value"),
        ([1.0, float("nan")], {}, r"values\[1\] is NaN"),
        ([1.0, float("inf")], {}, "finite"),
        ([1.0], {"resamples": 0}, "resamples"),
        ([1.0], {"level": 1.0}, "level"),
        ([1.0], {"level": 0.0}, "level"),
    ],
)
def test_the_interval_refuses(values: list[float], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        bootstrap_interval(values, **options)
