"""A mixture of the infinity-gram model and a neural language model, token by token.

source: Liu et al., Infini-gram, COLM 2024, section 5: one weight where all that follows is one token (sparse), another elsewhere; here also
by how much of the context was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError, ShapeError
from ragkit.indexes.ngram.infinity_gram import TokenScores

LENGTHS = (0, 1, 2, 4, 8, 16, 32)
"""Where the classes of contexts begin, in tokens that were found."""
_ROUNDS = 100


@dataclass(frozen=True)
class Mixture:
    """Weights of the infinity-gram model: float64 (2, L), of contexts that are not sparse and that are, by length class.

    >>> from ragkit.indexes.ngram.mixture import Mixture
    >>> Mixture.even(0.3).weights.shape
    (2, 7)
    """

    weights: NDArray[np.float64]

    @classmethod
    def even(cls, weight: float) -> Mixture:
        """The same weight everywhere."""
        return cls(np.full((2, len(LENGTHS)), weight))

    @classmethod
    def fit(cls, ngram: Sequence[TokenScores], neural: Sequence[NDArray[np.floating]], start: float = 0.2) -> Mixture:
        """The weights that make some texts most likely, by expectation maximisation; fit them on other texts than those you measure.

        ngram   scores of each text's tokens, from `InfinityGram.score`
        neural  log-probabilities of the same tokens, (n,) a text, in nats
        """
        if not ngram:
            raise InputError("no text was given to fit the weights on; give at least one")
        weights = np.full((2, len(LENGTHS)), start)
        classes, p, q = (np.concatenate(parts) for parts in zip(*(_matched(a, b) for a, b in zip(ngram, neural, strict=True)), strict=True))
        n = np.bincount(classes, minlength=weights.size)
        for _ in range(_ROUNDS):
            w = weights.ravel()[classes]
            share = w * p / np.maximum(w * p + (1 - w) * q, 1e-300)
            means = np.bincount(classes, weights=share, minlength=weights.size) / np.maximum(n, 1)
            weights = np.where(n > 0, means, start).reshape(weights.shape)
        return cls(np.clip(weights, 0.0, 0.9999))  # a token that the n-grams have not seen must stay possible

    def logprobs(self, ngram: TokenScores, neural: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-probabilities of a text's tokens in the mixture, float64 (n,), in nats."""
        classes, p, q = _matched(ngram, neural)
        w = self.weights.ravel()[classes]
        with np.errstate(divide="ignore"):
            mixed: NDArray[np.float64] = np.log(w * p + (1 - w) * q)
        return mixed


def perplexity(logprobs: Sequence[NDArray[np.floating]]) -> float:
    """exp of the mean negative log-probability of all tokens of some texts; infinite where one is impossible.

    >>> round(perplexity([np.log([0.5, 0.125]), np.log([0.25])]), 6)
    4.0
    """
    whole = np.concatenate([np.asarray(part, np.float64) for part in logprobs]) if len(logprobs) else np.zeros(0)
    if not len(whole):
        raise InputError("there is no token to take a perplexity of; give at least one text with one")
    return float(np.exp(-whole.mean()))


def _matched(ngram: TokenScores, neural: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(class, the infinity-gram's probability, the neural one) of each token."""
    if len(ngram.probabilities) != len(neural):
        raise ShapeError(
            f"{len(ngram.probabilities)} tokens were scored by the n-grams and {len(neural)} by the model; score the same text"
        )
    lengths = np.searchsorted(np.array(LENGTHS), ngram.lengths, side="right") - 1
    classes = ngram.sparse.astype(np.int64) * len(LENGTHS) + lengths
    return classes, ngram.probabilities, np.exp(np.asarray(neural, np.float64))
