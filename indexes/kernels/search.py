"""One part's share of the search for the best rows of many questions, each by the algorithm that suits it."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.bounded import MAX_COLUMNS, Asked, Columns, Kept, room_for, search_bounded
from ragkit.indexes.kernels.exhaustive import search_all
from ragkit.indexes.kernels.impacts import BLOCK, RANKS
from ragkit.indexes.kernels.windows import BLOCKS, WINDOW, Lists, Postings, Window
from ragkit.kernels.signatures import (
    F32_2D,
    I64,
    I64_2D,
    READ_BOOL,
    READ_F32,
    READ_F32_2D,
    READ_F64,
    READ_I32,
    READ_I64,
    READ_U8_2D,
    READ_U64_3D,
)  # fmt: skip

_SPREAD = 1e-6  # smallest share of the largest weight for which bounds in float32 are good enough
_LARGEST = 1e25  # a weight above it, or below its reciprocal, is none for float32


@nb.njit(
    nb.void(
        READ_I64, READ_I64, READ_F64, READ_F64, READ_I64, READ_I32, READ_F32, READ_F32_2D, READ_I32, READ_F32, READ_U8_2D, READ_U8_2D,
        READ_U64_3D, nb.int64, nb.int64, READ_BOOL, nb.boolean, F32_2D, I64_2D, I64,
    ),
    cache=True,
    nogil=True,
)  # fmt: skip
def search_part(
    query_starts: NDArray[np.int64],
    numbers: NDArray[np.int64],
    weights: NDArray[np.float64],
    constants: NDArray[np.float64],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    impacts: NDArray[np.float32],
    ranked: NDArray[np.float32],
    column_of: NDArray[np.int32],
    tops: NDArray[np.float32],
    columns: NDArray[np.uint8],
    block_tops: NDArray[np.uint8],
    held: NDArray[np.uint64],
    n_rows: int,
    base: int,
    allow: NDArray[np.bool_],
    bounded: bool,
    heap_scores: NDArray[np.float32],
    heap_rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Offer a part's rows that hold a term of a question to the question's heap of the best rows.

    query_starts  int64 (Q+1,)    question q has numbers[query_starts[q]:query_starts[q+1]], all different
    numbers       int64 (Z,)      each term's list in this part, -1 where it has none
    weights       float64 (Z,)    idf times the term's weight in the question
    constants     float64 (Q,)    added to every score
    indptr, rows  (V+1,), (P,)    the postings
    impacts       float32 (P,)    filled in for the lists that are asked for
    ranked        float32 (V, ranks)   each list's impacts at RANKS
    column_of     int32 (V,)      column of a list, -1 where it has none
    tops          float32 (C,)    the columns' largest impacts; (C, ...) columns, block_tops, held as `fill_column` makes them
    base          added to the rows in the heaps
    allow         bool (N,), or (0,) for all
    bounded       whether bounds may be used: no impact is 0
    heap_scores, heap_rows, sizes   (Q, k), (Q, k), (Q,): the heaps, as `offer` keeps them
    cost          at most the sum of the terms' lists and N for each frequent term, in bytes
    scratch       160 KiB and 72 k bytes
    """
    most, k = 1, heap_scores.shape[1]
    for q in range(len(sizes)):
        most = max(most, query_starts[q + 1] - query_starts[q])
    lists = Lists(
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float64)
    )  # fmt: skip
    asked = Asked(
        np.empty(MAX_COLUMNS, np.int64), np.empty(MAX_COLUMNS, np.int64), np.empty(MAX_COLUMNS, np.float64),
        np.empty(MAX_COLUMNS, np.float64), np.empty(MAX_COLUMNS, np.uint16),
    )  # fmt: skip
    window = Window(np.zeros(WINDOW, np.float64), np.zeros(BLOCKS, np.float64), np.zeros(BLOCKS, np.bool_), np.zeros(WINDOW, np.bool_))
    postings, all_columns = Postings(indptr, rows, impacts), Columns(columns, block_tops, held)
    few = k > 0 and 8 * k <= n_rows
    rank = 0
    while rank < len(RANKS) and RANKS[rank] < k:
        rank += 1
    rank = rank if len(allow) == 0 else len(RANKS)  # of the rows behind a rank, some may not be wanted
    room = room_for(k) if few else 0
    kept = Kept(
        np.empty(room, np.int64), np.empty(room, np.float32), np.empty(room, np.float64), np.empty(room, np.float32),
        np.empty(BLOCKS, np.uint16), np.empty(BLOCK, np.uint16), np.empty(BLOCKS, np.int64),
    )  # fmt: skip
    for q in range(len(sizes)):
        low, high = np.inf, 0.0
        for z in range(query_starts[q], query_starts[q + 1]):
            if numbers[z] >= 0:
                low, high = min(low, weights[z]), max(high, weights[z])
        use_bounds = bounded and few and low >= _SPREAD * high and low > 1 / _LARGEST and high < _LARGEST
        n, n_asked, least = 0, 0, 0.0
        for z in range(query_starts[q], query_starts[q + 1]):
            number = numbers[z]
            if number < 0:
                continue
            if rank < len(RANKS):
                least = max(least, weights[z] * ranked[number, rank])
            column = column_of[number] if use_bounds and n_asked < MAX_COLUMNS else -1
            if column >= 0:
                asked.numbers[n_asked], asked.lists[n_asked], asked.weights[n_asked] = column, number, weights[z]
                asked.highest[n_asked] = weights[z] * tops[column]
                n_asked += 1
            else:
                lists.at[n], lists.ends[n], lists.weights[n] = indptr[number], indptr[number + 1], weights[z]
                n += 1
        if n + n_asked == 0:
            continue
        if use_bounds:
            sizes[q] = search_bounded(
                lists, n, asked, n_asked, all_columns, postings, n_rows, constants[q], base, allow, least, window, kept,
                heap_scores[q], heap_rows[q], sizes[q],
            )  # fmt: skip
        else:
            sizes[q] = search_all(
                lists, n, postings, n_rows, constants[q], base, allow, window, heap_scores[q], heap_rows[q], sizes[q]
            )  # fmt: skip
