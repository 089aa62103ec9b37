"""Descent of one query vector: Adam (Kingma & Ba, 2015) on a loss of its scores with some hits, in float64.

Letters in shapes: n hits of one query, D dimensions. A loss is given by its gradient with respect to the scores: `kl_gradient`
for a reranker that scores, `ranknet_gradient` for one that only orders.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def descend(query: Floats, vectors: Floats, gradient: Callable[[Floats], Floats], *, steps: int, learning_rate: float) -> Floats:
    """(D,) the query vector after so many steps of Adam, starting from `query`.

    query     (D,);  vectors  (n, D): the scores are vectors @ query
    gradient  scores (n,) → the gradient of the loss with respect to them (n,)
    cost      O(steps · n · D) multiply-adds, and `gradient` once a step
    """
    made = query.copy()
    mean, square = np.zeros_like(made), np.zeros_like(made)
    for step in range(1, steps + 1):
        slope = gradient(vectors @ made) @ vectors
        mean += (1 - BETA1) * (slope - mean)
        square += (1 - BETA2) * (slope * slope - square)
        made -= learning_rate / (1 - BETA1**step) * mean / (np.sqrt(square / (1 - BETA2**step)) + EPSILON)
    return made


def kl_gradient(target: Floats) -> Callable[[Floats], Floats]:
    """Gradient of KL(softmax(target) ‖ softmax(scores)) with respect to the scores: softmax(scores) - softmax(target).

    >>> kl_gradient(np.zeros(2))(np.log([3.0, 1.0])).tolist()
    [0.25, -0.25]
    """
    wanted = softmax(target)
    return lambda scores: softmax(scores) - wanted


def ranknet_gradient(judged: Floats) -> Callable[[Floats], Floats]:
    """Gradient, with respect to the scores s, of the sum over pairs with judged_i > judged_j of log(1 + exp(s_j - s_i)) / (r_i + r_j).

    judged  (n,) the reranker's scores in its order, highest first, so that hit i has the rank r_i = i + 1; equals make no pair
    source  Burges et al., Learning to rank using gradient descent, ICML 2005; the weights are those of FIRST (Reddy et al., 2024)
    cost    O(n²) exponentials a call

    >>> (ranknet_gradient(np.array([2.0, 1.0]))(np.zeros(2)) * 3).round(6).tolist()
    [-0.5, 0.5]
    """
    rank = np.arange(1, len(judged) + 1)
    weights = np.where(judged[:, None] > judged, 1 / (rank[:, None] + rank), 0.0)

    def gradient(scores: Floats) -> Floats:
        pull = weights * (1 + np.tanh((scores - scores[:, None]) / 2)) / 2  # tanh: a logistic function that can't overflow
        pulled: Floats = pull.sum(axis=0) - pull.sum(axis=1)
        return pulled

    return gradient


def onto(judged: Floats, scores: Floats) -> Floats:
    """(n,) the reranker's scores, min-maxed onto the range of the retriever's; the retriever's own where the reranker's are all the same.

    >>> onto(np.array([9.0, 7.0, 5.0]), np.array([0.2, 0.4, 0.3])).round(3).tolist()
    [0.4, 0.3, 0.2]
    """
    low, high = judged.min(), judged.max()
    if low == high:
        return scores
    bottom, top = scores.min(), scores.max()
    return np.asarray(bottom + (top - bottom) * ((judged - low) / (high - low)))


def softmax(scores: Floats) -> Floats:
    """(n,) exp(scores), divided by their sum."""
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())
