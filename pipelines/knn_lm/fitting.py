"""Lambda, tau and the distance beyond which lambda is 0, by the likelihood of texts that are not measured later.

In lambda the log-likelihood is concave, so that a golden section finds its maximum. In tau it has no such law: a coarse row of
values first says where to look. The limit is one of some percentiles of the distances, or none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.pipelines.knn_lm.interpolation import Interpolation, shares

_GOLDEN = (math.sqrt(5) - 1) / 2
_TAUS = 2.0 ** np.arange(-6, 7)
"""In the datastore's unit."""
_PERCENTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True)
class Scored:
    """T tokens as both see them.

    logprobs   float64 (T,)   of the language model, in nats
    distances  float64 (T, k) of the neighbours of their contexts, ascending
    right      bool (T, k)    whether a neighbour was followed by the token
    """

    logprobs: NDArray[np.float64]
    distances: NDArray[np.float64]
    right: NDArray[np.bool_]

    def mixed(self, how: Interpolation) -> NDArray[np.float64]:
        """Log-probabilities in the mixture, (T,), in nats."""
        if how.weight == 0 or not self.distances.shape[1]:
            return self.logprobs
        return self._mixed(shares(self.distances, self.right, how.tau), how.weight, self._near(how.farthest))

    def fit(self, unit: float) -> Interpolation:
        """The mixture that makes these tokens most likely; unit: of tau, where to look for it"""
        if not len(self.logprobs):
            raise InputError("no token was given to fit the weight on; give at least one text")
        limits = [None, *(float(d) for d in np.percentile(self.distances[:, 0], _PERCENTILES))]

        def loss(tau: float, limit: float | None) -> tuple[float, float]:
            """(mean negative log-likelihood, the weight at which it is reached)."""
            p, near = shares(self.distances, self.right, tau), self._near(limit)
            weight = golden_section(lambda w: -float(self._mixed(p, w, near).mean()), 0.0, 1.0)
            return -float(self._mixed(p, weight, near).mean()), weight

        coarse = [loss(unit * float(t), None)[0] for t in _TAUS]
        best = math.log(float(_TAUS[int(np.argmin(coarse))]))
        step = math.log(2.0)
        tau = unit * math.exp(golden_section(lambda x: loss(unit * math.exp(x), None)[0], best - step, best + step, tolerance=0.01))
        found = [(*loss(tau, limit), limit) for limit in limits]
        _, weight, limit = min(found, key=lambda f: f[0])  # of equal ones the first: no limit
        return Interpolation(weight, tau, limit)

    def _near(self, limit: float | None) -> NDArray[np.bool_]:
        return np.ones(len(self.logprobs), np.bool_) if limit is None else self.distances[:, 0] <= limit

    def _mixed(self, p: NDArray[np.float64], weight: float, near: NDArray[np.bool_]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):  # at a weight of 1, what the neighbours don't know is impossible
            mixed = np.logaddexp(np.log(weight * p), np.log(1 - weight) + self.logprobs)
        return np.where(near, mixed, self.logprobs)


def golden_section(loss: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-4) -> float:
    """Where a function with one minimum between low and high has it, to a tolerance; the ends themselves are never asked.

    source  Kiefer, Sequential minimax search for a maximum, 1953

    >>> round(golden_section(lambda x: (x - 0.3) ** 2, 0.0, 1.0), 3)
    0.3
    """
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > tolerance:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = loss(b)
    return (low + high) / 2
