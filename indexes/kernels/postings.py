"""Kernels over posting lists: invert a token stream, score lists, count live rows."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.signatures import BOOL, F64, I32, I64, READ_BOOL, READ_F64, READ_I32, READ_I64

PLAIN, SCALED, SHIFTED_L, SHIFTED_PLUS = 0, 1, 2, 3
"""Term weights: tf/(tf+k1 L); the same times k1+1; BM25L; BM25+, the last two less their value at tf = 0."""


@nb.njit(nb.void(READ_I32, READ_I64, I64), cache=True, nogil=True)
def document_frequencies(ids: NDArray[np.int32], indptr: NDArray[np.int64], df: NDArray[np.int64]) -> None:
    """Count, for each term, the rows that hold it.

    ids     int32 (T,)     term of each token, rows end to end
    indptr  int64 (N+1,)
    df      int64 (V,)     zeros on entry
    """
    last = np.full(len(df), -1, np.int64)
    for row in range(len(indptr) - 1):
        for j in range(indptr[row], indptr[row + 1]):
            if last[ids[j]] != row:
                last[ids[j]] = row
                df[ids[j]] += 1


@nb.njit(nb.void(READ_I32, READ_I64, READ_I64, I32, I32), cache=True, nogil=True)
def invert(
    ids: NDArray[np.int32],
    indptr: NDArray[np.int64],
    list_starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    tfs: NDArray[np.int32],
) -> None:
    """Scatter tokens into posting lists; rows ascend within a list because they are visited in order.

    list_starts  int64 (V+1,)   from the document frequencies
    rows, tfs    int32 (P,)     output
    """
    last = np.full(len(list_starts) - 1, -1, np.int64)
    at = list_starts[:-1].copy()
    for row in range(len(indptr) - 1):
        for j in range(indptr[row], indptr[row + 1]):
            term = ids[j]
            if last[term] != row:
                last[term] = row
                rows[at[term]] = row
                tfs[at[term]] = 1
                at[term] += 1
            else:
                tfs[at[term] - 1] += 1


@nb.njit(nb.int64(READ_I32, nb.int64, nb.int64, READ_BOOL), cache=True, nogil=True)
def count_live(rows: NDArray[np.int32], start: int, end: int, alive: NDArray[np.bool_]) -> int:
    """How many rows of one list are alive."""
    n = 0
    for j in range(start, end):
        n += alive[rows[j]]
    return n


@nb.njit(
    nb.int64(
        READ_I64, READ_I64, READ_F64, READ_I32, READ_I32, READ_F64, nb.int64, nb.float64, nb.float64, READ_BOOL, F64, BOOL, I64,
    ),
    cache=True,
    nogil=True,
)  # fmt: skip
def score_lists(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    weights: NDArray[np.float64],
    rows: NDArray[np.int32],
    tfs: NDArray[np.int32],
    norms: NDArray[np.float64],
    kind: int,
    k1: float,
    delta: float,
    allow: NDArray[np.bool_],
    totals: NDArray[np.float64],
    seen: NDArray[np.bool_],
    touched: NDArray[np.int64],
) -> int:
    """Add up the weighted lists term at a time; returns how many rows were touched.

    starts, ends  int64 (t,)      where each query term's list lies
    weights       float64 (t,)    idf times the term's count in the query
    norms         float64 (N,)    1 - b + b dl / avgdl
    allow         bool (N,) or (0,) for all
    totals, seen  (N,)            scratch, zeros on entry; the caller clears the touched rows
    touched       int64 (N,)      output: rows that hold a term
    """
    n = 0
    for t in range(len(starts)):
        for j in range(starts[t], ends[t]):
            row = rows[j]
            if len(allow) and not allow[row]:
                continue
            tf = float(tfs[j])
            if kind == PLAIN:
                value = tf / (tf + k1 * norms[row])
            elif kind == SCALED:
                value = tf * (k1 + 1.0) / (tf + k1 * norms[row])
            elif kind == SHIFTED_L:
                ctd = tf / norms[row]
                value = (k1 + 1.0) * ((ctd + delta) / (k1 + ctd + delta) - delta / (k1 + delta))
            else:
                value = tf * (k1 + 1.0) / (tf + k1 * norms[row])
            totals[row] += weights[t] * value
            if not seen[row]:
                seen[row] = True
                touched[n] = row
                n += 1
    return n
