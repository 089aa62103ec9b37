"""The infinity-gram language model: what follows the longest end of a text that occurs in the corpus.

source: Liu et al., Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens, COLM 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.indexes.ngram.token_fm import TokenFM
from ragkit.indexes.ngram.token_searcher import TokenNGramSearcher
from ragkit.indexes.ngram.tokens import SEPARATOR, Following, TokenSuffixes

_Rows = tuple[TokenSuffixes | TokenFM, int, int]
"""An index and the rows [low, high) of a context in it."""


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

    indexes  `TokenSuffixes`, the fastest, or `TokenFM`, the smallest; several are parts of one corpus, whose counts add up
    support  occurrences of a context that are looked at to say what follows; of more, so many evenly spread over them. None: all, as
             an FM-index always does
    """

    def __init__(self, *indexes: TokenSuffixes | TokenFM, support: int | None = None) -> None:
        if support is not None and support < 1:
            raise InputError(f"support must be at least 1, got {support}")
        self.indexes, self.support = indexes, support

    @classmethod
    def over(cls, collection: Any, index: str = "token_ngram", *, support: int | None = None) -> InfinityGram:
        """Over the documents of a collection, by its index of tokens.

        raises  InputError where documents were deleted since the last `compact`: they would be counted
        """
        version = collection.version
        searcher = version.searcher(index)
        if not isinstance(searcher, TokenNGramSearcher):
            raise InputError(f"the infinity-gram model needs an index of tokens, and {index!r} is none; name a TokenNGram index")
        if any(view.live is not None for view in version.views):
            raise InputError("some documents were deleted or replaced, and their tokens would be counted; compact() the collection first")
        return cls(*(part.index for part in searcher.parts), support=support)

    def __len__(self) -> int:
        """Tokens of the corpus."""
        return sum(map(len, self.indexes))

    def probability(self, context: Sequence[int], token: int) -> Estimate:
        """Of the n-gram model that takes the whole context: P(token | context) = count(context token) / count(context)."""
        return self._estimate(self._whole(context), len(context), token)

    def infinity_probability(self, context: Sequence[int], token: int) -> Estimate:
        """The same behind the longest end of the context that occurs."""
        length, found = self._longest(context)
        return self._estimate(found, length, token)

    def next_tokens(self, context: Sequence[int]) -> NextTokens:
        """All that follows the whole context."""
        return self._next(self._whole(context), len(context))

    def infinity_next_tokens(self, context: Sequence[int]) -> NextTokens:
        """All that follows the longest end of the context that occurs."""
        length, found = self._longest(context)
        return self._next(found, length)

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

    def _whole(self, context: Sequence[int]) -> list[_Rows]:
        return [(index, *index.interval(context)) for index in self.indexes]

    def _longest(self, context: Sequence[int]) -> tuple[int, list[_Rows]]:
        """The longest end that any index has, and its rows in those that have it."""
        found = [(index, *index.longest_ending(context)) for index in self.indexes]
        length = max((f[1] for f in found), default=0)
        return length, [(index, low, high) for index, mine, low, high in found if mine == length]

    def _estimate(self, found: Sequence[_Rows], length: int, token: int) -> Estimate:
        total = sum(index.followed(low, high, length) for index, low, high in found)
        count = sum(index.continued(low, high, length, token) for index, low, high in found)
        return Estimate(count / total if total else float("nan"), count, total, length)

    def _next(self, found: Sequence[_Rows], length: int) -> NextTokens:
        n = sum(high - low for _, low, high in found)
        counted = [self._following(index, low, high, length, n) for index, low, high in found if low < high]
        exact = all(whole for _, whole in counted)
        if len(counted) == 1:
            return NextTokens(counted[0][0], length, exact)
        tokens, which = np.unique(np.concatenate([np.zeros(0, np.int32), *(f.tokens for f, _ in counted)]), return_inverse=True)
        counts = np.concatenate([np.zeros(0, np.int64), *(f.counts for f, _ in counted)])
        return NextTokens(Following(tokens, np.bincount(which, weights=counts, minlength=len(tokens)).astype(np.int64)), length, exact)

    def _following(self, index: TokenSuffixes | TokenFM, low: int, high: int, length: int, n: int) -> tuple[Following, bool]:
        """(what follows in one index, whether all was counted), of its share of the support for n occurrences in all."""
        if isinstance(index, TokenFM) or self.support is None or n <= self.support:
            return index.following(low, high, length), True
        share = max(1, self.support * (high - low) // n)
        rows = low + (np.arange(share, dtype=np.int64) * (high - low)) // share
        return index.following_rows(rows, length), False
