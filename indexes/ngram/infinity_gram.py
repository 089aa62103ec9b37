"""The infinity-gram language model: what follows the longest end of a text that occurs in the corpus.

source: Liu et al., Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens, COLM 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.indexes.ngram.token_fm import TokenFM
from ragkit.indexes.ngram.tokens import SEPARATOR, Following, TokenSuffixes


@dataclass(frozen=True)
class Estimate:
    """How likely a token is behind a text.

    probability     count / context_count; nan where the context does not occur
    count           how often the token follows
    context_count   how often anything follows
    length          tokens of the context that were looked up
    """

    probability: float
    count: int
    context_count: int
    length: int


@dataclass(frozen=True)
class NextTokens:
    """What comes next, and behind how much of the context.

    following  tokens and counts; of a sample only, where `exact` is false
    length     tokens of the context that occur and were looked up
    """

    following: Following
    length: int
    exact: bool = True

    @property
    def sparse(self) -> bool:
        """Whether all of it is one token: then the estimate is the surest (paper, section 4)."""
        return len(self.following.tokens) == 1


@dataclass(frozen=True)
class TokenScores:
    """What the infinity-gram model says of each of a text's n tokens.

    probabilities  float64 (n,)   of the token that is there; 0 where it never followed
    lengths        int64 (n,)     tokens of the context that were found
    sparse         bool (n,)      one token alone followed there
    agreed         bool (n,)      the token that is there followed most often, or as often as any
    """

    probabilities: NDArray[np.float64]
    lengths: NDArray[np.int64]
    sparse: NDArray[np.bool_]
    agreed: NDArray[np.bool_]


class InfinityGram:
    """Counts, probabilities and next tokens over tokens of a corpus.

    index    `TokenSuffixes`, the fastest, or `TokenFM`, the smallest
    support  occurrences of a context that are looked at to say what follows; of more, so many evenly spread over them. None: all, as
             an FM-index always does
    """

    def __init__(self, index: TokenSuffixes | TokenFM, *, support: int | None = None) -> None:
        if support is not None and support < 1:
            raise InputError(f"support must be at least 1, got {support}")
        self.index, self.support = index, support

    def probability(self, context: Sequence[int], token: int) -> Estimate:
        """Of the n-gram model that takes the whole context: P(token | context) = count(context token) / count(context)."""
        low, high = self.index.interval(context)
        return self._estimate(low, high, len(context), token)

    def infinity_probability(self, context: Sequence[int], token: int) -> Estimate:
        """The same behind the longest end of the context that occurs."""
        length, low, high = self.index.longest_ending(context)
        return self._estimate(low, high, length, token)

    def next_tokens(self, context: Sequence[int]) -> NextTokens:
        """All that follows the whole context."""
        low, high = self.index.interval(context)
        return self._next(low, high, len(context))

    def infinity_next_tokens(self, context: Sequence[int]) -> NextTokens:
        """All that follows the longest end of the context that occurs."""
        length, low, high = self.index.longest_ending(context)
        return self._next(low, high, length)

    def score(self, tokens: Sequence[int], *, context: int = 512) -> TokenScores:
        """Each token of a document, from its beginning on, behind the longest end of at most so many tokens before it that occurs.

        cost  O(log context log corpus) a token, and what follows is counted: some 30 µs
        """
        whole = [SEPARATOR, *tokens]
        n = len(tokens)
        probabilities, lengths = np.zeros(n), np.zeros(n, np.int64)
        sparse, agreed = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        for i, token in enumerate(tokens):
            found = self.infinity_next_tokens(whole[max(0, i + 1 - context) : i + 1])
            following, lengths[i] = found.following, found.length
            at = int(np.searchsorted(following.tokens, token))
            if at < len(following.tokens) and following.tokens[at] == token:
                probabilities[i] = following.counts[at] / following.total
                agreed[i] = following.counts[at] == following.counts.max()
            sparse[i] = found.sparse
        return TokenScores(probabilities, lengths, sparse, agreed)

    def _estimate(self, low: int, high: int, length: int, token: int) -> Estimate:
        total = self.index.followed(low, high, length)
        count = self.index.continued(low, high, length, token)
        return Estimate(count / total if total else float("nan"), count, total, length)

    def _next(self, low: int, high: int, length: int) -> NextTokens:
        if isinstance(self.index, TokenFM) or self.support is None or high - low <= self.support:
            return NextTokens(self.index.following(low, high, length), length)
        rows = low + (np.arange(self.support, dtype=np.int64) * (high - low)) // self.support
        return NextTokens(self.index.following_rows(rows, length), length, exact=False)
