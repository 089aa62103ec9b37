"""Kernels over posting lists: invert a token stream, count live rows, find a term."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import I32, I64, READ_BOOL, READ_I32, READ_I64, READ_U8


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

    list_starts  int64 (V,)     from the document frequencies
    rows, tfs    int32 (P,)     output
    """
    last = np.full(len(list_starts), -1, np.int64)
    at = list_starts.copy()
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


@nb.njit(nb.int64(READ_U8, READ_U8, READ_I64), cache=True, nogil=True)
def find_bytes(wanted: NDArray[np.uint8], data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> int:
    """Number of a string among sorted ones, -1 where it is none of them.

    wanted   uint8 (any,)   the string in UTF-8
    data     uint8 (any,)   the strings end to end; sorted by bytes, which is sorted by code points
    offsets  int64 (V+1,)
    """
    low, high = 0, len(offsets) - 1
    while low < high:
        middle = (low + high) >> 1
        start, size = offsets[middle], offsets[middle + 1] - offsets[middle]
        i, shared = 0, min(size, len(wanted))
        while i < shared and data[start + i] == wanted[i]:
            i += 1
        if i == size and i == len(wanted):
            return middle
        if i == size or (i < len(wanted) and data[start + i] < wanted[i]):
            low = middle + 1
        else:
            high = middle
    return -1
