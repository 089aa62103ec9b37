"""Holm's correction: p-values of many comparisons, adjusted so that any false alarm among them stays rare.

Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import InputError, ShapeError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """(M,) adjusted p-values, in the order given: compare each with the wanted level of the whole family.

    The i-th smallest of M, counted from 0, is multiplied by M - i, and is at least as large as the one before it; at most 1.

    p_values  (M,)  in [0, 1]; none at all gives none
    raises    InputError for a value that is NaN or not in [0, 1]; ShapeError for a table

    >>> holm([0.01, 0.04, 0.03]).tolist()  # 3 x 0.01; 2 x 0.03; 1 x 0.04, raised to the one before
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeError(f"p-values must be one-dimensional, got the shape {values.shape}")
    inside = (values >= 0) & (values <= 1)  # False for NaN
    if not inside.all():
        at = int(np.argmin(inside))
        raise InputError(f"p_values[{at}] is {values[at]}: a p-value lies between 0 and 1")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return adjusted
