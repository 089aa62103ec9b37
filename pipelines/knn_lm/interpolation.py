"""The mixture of a language model with the tokens that followed the nearest contexts.

    p(y) = lambda p_kNN(y) + (1 - lambda) p_LM(y)        p_kNN(y) ~ sum over neighbours i with value y of exp(-d_i / tau)

d is a squared Euclidean distance, tau is given in the datastore's unit. Where even the nearest entry is farther than a limit, the
language model is left alone.

source  Khandelwal et al., Generalization through Memorization, ICLR 2020, equations 2 and 3; that lambda falls to 0 where nothing
        is near is ours, after He et al., Efficient Nearest Neighbor Language Models, EMNLP 2021, who learn when to search
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.registry import need


@dataclass(frozen=True)
class Interpolation:
    """How the two are mixed.

    weight    lambda, from 0 (the language model alone) to 1
    tau       above 0, in squared distance
    farthest  squared distance of the nearest entry beyond which lambda is 0; None: any
    """

    weight: float
    tau: float
    farthest: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"the weight must be from 0 to 1, got {self.weight}")
        if not 0 < self.tau < math.inf:
            raise InputError(f"tau must be above 0, got {self.tau}")
        if self.farthest is not None and not self.farthest >= 0:
            raise InputError(f"farthest must be at least 0, got {self.farthest}")

    def mix(self, logits: Any, distances: NDArray[np.float64], tokens: NDArray[np.int32]) -> Any:
        """Logits of the mixture, float32 (1, V): its log-probabilities. Those of the model themselves, where it is left alone.

        logits     float32 (1, V), of torch
        distances  (k,), ascending, of the neighbours; tokens: what followed them
        """
        if self.alone(distances):
            return logits
        torch = need("torch", extra="models", why="mixing distributions")
        known, p = knn_distribution(distances, tokens, self.tau)
        out = logits.double().log_softmax(-1) + _log(1 - self.weight)
        at = torch.from_numpy(known.astype(np.int64)).to(out.device)
        with np.errstate(divide="ignore"):  # of what is too far to count
            more = torch.from_numpy(np.log(self.weight * p)).to(out.device)
        out[0, at] = torch.logaddexp(out[0, at], more)
        return out.float()

    def alone(self, distances: NDArray[np.float64]) -> bool:
        """Whether the language model is left alone with neighbours at these distances."""
        return self.weight == 0 or not len(distances) or (self.farthest is not None and bool(distances[0] > self.farthest))


def knn_distribution(
    distances: NDArray[np.float64], tokens: NDArray[np.int32], tau: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(tokens, ascending, their probabilities): p_kNN where it is not 0.

    >>> tokens, p = knn_distribution(np.array([0.0, 0.0, 1.0]), np.array([7, 3, 7], np.int32), 1.0)
    >>> tokens.tolist(), p.round(4).tolist()
    ([3, 7], [0.4223, 0.5777])
    """
    known, which = np.unique(tokens, return_inverse=True)
    weights = np.exp(-(distances - distances[0]) / tau)
    p = np.bincount(which, weights, len(known))
    return known, p / p.sum()


def shares(distances: NDArray[np.float64], right: NDArray[np.bool_], tau: float) -> NDArray[np.float64]:
    """p_kNN of one token each (T,), of which the neighbours (T, k) that were followed by it are known."""
    weights = np.exp(-(distances - distances[:, :1]) / tau)
    found: NDArray[np.float64] = (weights * right).sum(1) / weights.sum(1)
    return found


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf
