"""Batches of texts of similar length: padding is work for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def batches(lengths: Sequence[int], budget: int) -> Iterator[NDArray[np.intp]]:
    """Positions of texts, longest first, in batches whose padded size stays within a budget of tokens.

    lengths  (n,)   tokens of each text
    budget   tokens of a batch, padding included; a longer text is a batch of its own

    >>> [b.tolist() for b in batches([3, 9, 4, 1], 10)]
    [[1], [2, 0], [3]]
    """
    sizes = np.maximum(np.asarray(lengths, np.int64), 1)
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, budget // int(sizes[order[start]]))
        yield order[start : start + count]
        start += count
