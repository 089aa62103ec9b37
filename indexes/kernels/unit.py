"""Query vectors made ready: checked, measured and, for cosine, brought to length 1."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

_F32 = nb.types.Array(nb.float32, 2, "C")
_BOOL = nb.types.Array(nb.bool_, 1, "C")


@nb.njit(nb.int64(_F32, nb.bool_, _BOOL), cache=True, nogil=True)
def prepare(vectors: NDArray[np.float32], normalise: bool, nonzero: NDArray[np.bool_]) -> int:
    """Divide rows by their lengths in place, if asked to; returns how many have a direction, or -1 - q where row q is not finite.

    vectors  float32 (Q, D)
    nonzero  bool (Q,)   output: whether a row has a direction
    """
    n = 0
    for q in range(vectors.shape[0]):
        total = 0.0
        for i in range(vectors.shape[1]):
            total += np.float64(vectors[q, i]) * np.float64(vectors[q, i])
        if not np.isfinite(total):
            return -1 - q
        nonzero[q] = total > 0
        n += nonzero[q]
        if normalise and total > 0:
            length = np.sqrt(total)
            for i in range(vectors.shape[1]):
                vectors[q, i] = np.float32(np.float64(vectors[q, i]) / length)
    return n
