"""The vector kernels of the bounded search against plain numpy."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit.indexes.kernels.simd import add_up, count_ones, lowest_one, rows_above, sum_block

N = 320  # entries of a row of the matrix: five blocks


@nb.njit
def call_add_up(matrix: Any, numbers: Any, times: Any, n: int, at: int, sums: Any, place: int) -> None:
    add_up(matrix, numbers, times, n, at, sums, place)


@nb.njit
def call_sum_block(steps: Any, tops: Any, numbers: Any, times: Any, n: int, block: int, most: int, needed: int, sums: Any) -> Any:
    return sum_block(steps, tops, numbers, times, n, block, most, needed, sums)


@nb.njit
def call_rows_above(totals: Any, at: int, sums: Any, step: Any, threshold: Any) -> Any:
    return rows_above(totals, at, sums, step, threshold)


@nb.njit
def bits_of(word: Any) -> tuple[int, int]:
    return lowest_one(word), count_ones(word)


Question = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint16], int]


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """(matrix, which rows, multipliers, how many of them count): products of 16 bits, as `_multiply` makes them."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    rows = draw(st.integers(1, 9))
    matrix = (rng.integers(0, 256, (rows, N)) * (rng.random((rows, N)) < draw(st.sampled_from([0.05, 0.3, 1.0])))).astype(np.uint8)
    n = draw(st.integers(0, rows))
    times = rng.integers(1, max(2, 65535 // max(n, 1) - 2), rows).astype(np.uint16)
    return matrix, rng.permutation(rows).astype(np.int64), times, n


def products(entries: NDArray[np.uint8], multiplier: np.uint16) -> NDArray[np.int64]:
    return (entries.astype(np.int64) * int(multiplier) >> 8) + (entries > 0)


def word(rows: NDArray[np.bool_]) -> int:
    return sum(1 << i for i in np.flatnonzero(rows).tolist())


@given(questions(), st.integers(0, N - 64), st.integers(0, 9))
@settings(max_examples=150)
def test_add_up_is_a_sum_of_products(question: Question, at: int, place: int) -> None:
    matrix, numbers, times, n = question
    sums = np.full(64 + 10, 7, np.uint16)
    call_add_up(matrix, numbers, times, n, at, sums, place)
    wanted = sum((products(matrix[numbers[c], at : at + 64], times[c]) for c in range(n)), np.zeros(64, np.int64))
    assert sums[place : place + 64].tolist() == wanted.tolist()
    assert (np.delete(sums, np.s_[place : place + 64]) == 7).all()


@given(questions(), st.integers(0, 4), st.floats(0, 1.2))
@settings(max_examples=150)
def test_sum_block_finds_every_row_that_reaches_what_is_needed(question: Question, block: int, share: float) -> None:
    matrix, numbers, times, n = question
    tops = np.ascontiguousarray(matrix.reshape(len(matrix), -1, 64).max(axis=2))
    most = int(sum(products(tops[numbers[c], block : block + 1], times[c])[0] for c in range(n)))
    wanted = sum((products(matrix[numbers[c], block * 64 : block * 64 + 64], times[c]) for c in range(n)), np.zeros(64, np.int64))
    assert most <= 65535
    needed = min(65535, int(share * most) if most else int(share > 0.5))
    sums = np.zeros(64, np.uint16)
    found = call_sum_block(matrix, tops, numbers, times, n, block, most, needed, sums)
    assert found == word(wanted >= needed)
    if found:
        assert sums.tolist() == wanted.tolist()


@given(st.integers(0, 1 << 30), st.integers(0, 30), st.floats(0, 4))
@settings(max_examples=100)
def test_rows_above_compares_each_bound(seed: int, at: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    totals, sums = rng.random(100) * 2, rng.integers(0, 200, 64).astype(np.uint16)
    step, limit = np.float32(0.01), np.float32(threshold)
    bounds = totals[at : at + 64].astype(np.float32) + step * sums.astype(np.float32)
    assert call_rows_above(totals, at, sums, step, limit) == word(bounds > limit)


@given(st.integers(1, (1 << 64) - 1))
def test_bits_of_a_word(value: int) -> None:
    assert bits_of(np.uint64(value)) == ((value & -value).bit_length() - 1, value.bit_count())
