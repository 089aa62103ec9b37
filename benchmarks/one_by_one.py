"""The search of an FM-index for a pattern after the other: what its search of many side by side is measured against."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.indexes.kernels.backward import FM, FM_TYPE
from ragkit.indexes.kernels.ranks import NONE, rank
from ragkit.kernels.signatures import I64, READ_I64, READ_U8
from ragkit.kernels.signed import signed


@nb.njit(nb.void(FM_TYPE, READ_U8, READ_I64, I64, I64), cache=True, nogil=True)
def find_one_by_one(
    fm: FM, patterns: NDArray[np.uint8], starts: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]
) -> None:
    """As `find`, a pattern after the other: what `find` is measured against."""
    firsts, numbers, entries, pool, pools, blocks, tokens, plain = fm[:8]
    shift, whole, n_rows = fm.shift, fm.whole, firsts[256]
    for q in range(len(lows)):
        low, high = 0, n_rows
        for k in range(starts[q + 1] - 1, starts[q] - 1, -1):
            symbol = signed(patterns[k])
            v = signed(numbers[symbol])
            if v == NONE:
                low = high
                break
            low, high = rank(entries, pool, pools, blocks, tokens, plain, shift, symbol, v, low - (low > whole), high - (high > whole))
            low, high = min(low + firsts[symbol], n_rows), min(high + firsts[symbol], n_rows)
            if low >= high:
                low = high
                break
        lows[q], highs[q] = low, high
