"""Drafts by the infinity-gram model: what mostly follows the longest end of the text that occurs in a corpus.

source: Liu et al., Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens, COLM 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified

_CONTEXT = 32
"""Tokens at the end of the text that are looked for."""


class NextTokenCounts(Protocol):
    """A model of counts, as `ragkit.InfinityGram`: what follows the longest end of a context that occurs, and how long that is."""

    def infinity_next_tokens(self, context: Any, /) -> Any: ...


@dataclass(frozen=True)
class InfinityGramDrafter:
    """Goes on with the most frequent token while the model is sure enough of it.

    ngram     over the model's tokens
    shortest  tokens that must agree, the foretold one included
    share     of occurrences that go on with the token, at least
    depth     tokens at most
    """

    ngram: NextTokenCounts
    shortest: int = 4
    share: float = 0.5
    depth: int = 10
    name: ClassVar[str] = "infinity-gram"
    lossless: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.shortest < 2 or self.depth < 1 or not 0 < self.share <= 1:
            raise InputError(
                f"shortest must be at least 2, share above 0 and at most 1, depth at least 1, got {self.shortest}, {self.share} "
                f"and {self.depth}"
            )

    def begin(self, request: Request) -> _Counting:
        """See `ragkit.protocols.Drafter`."""
        return _Counting(self, request)


class _Counting:
    def __init__(self, spec: InfinityGramDrafter, request: Request) -> None:
        self._spec, self._width = spec, request.width
        self._tail = [int(t) for t in request.prompt[-_CONTEXT:]]

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        spec, text = self._spec, list(self._tail)
        grades: list[int] = []
        for _ in range(min(spec.depth, budget.depth, budget.nodes)):
            found = spec.ngram.infinity_next_tokens(text[-_CONTEXT:])
            counts = found.following.counts
            if not len(counts) or found.length + 1 < spec.shortest:
                break
            best = int(counts.argmax())
            share, token = float(counts[best] / counts.sum()), int(found.following.tokens[best])
            if share < spec.share or token >= self._width:
                break
            grades.append(8 * min(3, found.length // 6) + min(7, int(8 * share)))
            text.append(token)
        return Draft.chain(text[len(self._tail) :], grades)

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._tail = [*self._tail, *map(int, verified.written)][-_CONTEXT:]

    def passage_of(self, place: int) -> None:
        """See `ragkit.protocols.Drafting`."""
