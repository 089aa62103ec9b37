"""Position bias: how much an order depends on where in the input an item stood."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragkit.errors import ShapeError
from ragkit.rerankers.plans.consistency import disagreements


@dataclass(frozen=True, eq=False)
class PositionBias:
    """What `position_bias` returns.

    tau   mean Kendall tau between the orders that came of the same items: 1 where the input order makes no difference
    gain  (n,) ranks that an item gains, on average, by standing in this slot of the input, over its mean rank in all runs
    """

    tau: float
    gain: NDArray[np.float64]


def position_bias(inputs: ArrayLike, outputs: ArrayLike) -> PositionBias:
    """Compare the orders that a reranker gives to the same items, fed in several orders.

    inputs   (R, n), or (Q, R, n) for Q queries: the orders in which the items 0..n-1 were fed, R at least 2
    outputs  the same shape: the orders that came out, best first
    raises   ShapeError for anything else

    Every item is compared with itself, so a reranker that does not look at places has gain 0 in every slot, however good the
    order fed. Two inputs, forward and reversed, compare a slot with its mirror: gain[s] = -gain[n - 1 - s]. To see the middle
    of a prompt too, feed shuffled orders.

    >>> forward, backward = [0, 1, 2, 3], [3, 2, 1, 0]
    >>> bias = position_bias([forward, backward], [[0, 1, 3, 2], [3, 1, 0, 2]])
    >>> round(bias.tau, 3), bias.gain.tolist()
    (0.0, [1.0, 0.0, 0.0, -1.0])
    """
    fed, came = _runs(inputs, "inputs"), _runs(outputs, "outputs")
    if fed.shape != came.shape:
        raise ShapeError(f"inputs and outputs must have the same shape, got {fed.shape} and {came.shape}")
    queries, runs, n = fed.shape
    if runs < 2 or not queries:
        raise ShapeError(f"position bias needs at least one query with two runs, got {queries} with {runs}")
    ranks = np.argsort(came, axis=2)  # (Q, R, n) of each item
    gained = ranks.mean(axis=1, keepdims=True) - ranks
    gain = np.take_along_axis(gained, fed, axis=2).mean(axis=(0, 1)) + 0.0  # no negative zeros
    pairs = n * (n - 1) / 2
    taus = [1.0 if n < 2 else 1 - 2 * disagreements([a], b) / pairs for query in came.tolist() for a, b in combinations(query, 2)]
    return PositionBias(float(np.mean(taus)), gain)


def _runs(orders: ArrayLike, name: str) -> NDArray[np.int64]:
    try:
        given = np.asarray(orders)
    except ValueError as exc:
        raise ShapeError(f"{name} must all have the same length") from exc
    if given.ndim == 2:
        given = given[None]
    if given.ndim != 3 or (given.size and given.dtype.kind not in "iu") or (np.sort(given, axis=2) != np.arange(given.shape[-1])).any():
        raise ShapeError(f"{name} must be permutations (R, n) or (Q, R, n), got {given.dtype} {given.shape}")
    return given.astype(np.int64)
