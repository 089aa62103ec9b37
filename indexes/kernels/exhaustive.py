"""Exact top-k search that scores every row which holds a term: for any weights and any k."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.impacts import BLOCK, BLOCK_BITS
from ragkit.indexes.kernels.topk import offer
from ragkit.indexes.kernels.windows import WINDOW, Lists, Postings, Window, add_lists, mark_rows, next_window


@nb.njit(cache=True, nogil=True)
def search_all(
    lists: Lists,
    n: int,
    postings: Postings,
    n_rows: int,
    constant: float,
    base: int,
    allow: NDArray[np.bool_],
    window: Window,
    heap_scores: NDArray[np.float32],
    heap_rows: NDArray[np.int64],
    size: int,
) -> int:
    """Offer every row of n lists to the heap of the best; returns the heap's new size. Parameters as in `search_part`."""
    start = next_window(lists, n, postings.rows, n_rows)
    while start < n_rows:
        end = min(start + WINDOW, n_rows)
        mark_rows(lists, n, postings.rows, start, end, window)
        add_lists(lists, n, postings, start, end, window)
        for block in range((end - start + BLOCK - 1) >> BLOCK_BITS):
            if not window.touched[block]:
                continue
            for place in range(block * BLOCK, min((block + 1) * BLOCK, end - start)):
                if window.seen[place] and (len(allow) == 0 or allow[start + place]):
                    size = offer(heap_scores, heap_rows, size, np.float32(window.totals[place] + constant), base + start + place)
            window.seen[block * BLOCK : (block + 1) * BLOCK] = False
            window.totals[block * BLOCK : (block + 1) * BLOCK] = 0.0
            window.touched[block] = False
        window.peaks[:] = 0.0
        start = next_window(lists, n, postings.rows, n_rows)
    return size
