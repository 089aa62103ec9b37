"""Numbers as the kernels calculate with them: numba makes a float of an unsigned and a signed one together."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True)
def signed(number: Any) -> int:
    """The same number as an int64."""
    return np.int64(number)  # type: ignore[return-value]  # numpy's own are no int to the type checker
