"""What drafters are told and what they give: requests, trees of drafted tokens, what verification found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError

if TYPE_CHECKING:
    from ragkit.generation.local.sampling import Sampling
    from ragkit.protocols import ContinuationIndex

Shift = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""The distribution that a text follows, of the model's own and a drafter's, each float64 (V,) of sum 1."""

GRADES = 32
"""Grades that a drafter's nodes can have: each is measured by itself."""


@dataclass(frozen=True)
class Request:
    """One text that is to be written.

    prompt     its tokens
    passages   tokens of texts that it may quote
    width      entries of the model's logits: only tokens below are drafted
    corpus     texts of the same kind as those that are written, for drafters that bring none of their own
    sampling   how tokens are chosen, for drafters that draw theirs
    tokenizer  its fingerprint; "" where that does not matter
    short      the same with fewer passages, for drafters that read it in place of the prompt; None where there is none
    target     fingerprint of the model that writes; "" where that does not matter
    learn      label under which a draft model may learn from it, see `Sources`; "": not at all
    """

    prompt: Sequence[int]
    passages: Sequence[Sequence[int]] = ()
    width: int = 1 << 31
    corpus: ContinuationIndex | None = None
    sampling: Sampling | None = None
    tokenizer: str = ""
    short: Sequence[int] | None = None
    target: str = ""
    learn: str = ""


@dataclass(frozen=True)
class Budget:
    """What a draft may be.

    nodes  at most
    depth  tokens in a path at most
    plain  seconds that the model takes for a token without drafts; None before that was measured
    """

    nodes: int
    depth: int
    plain: float | None = None


@dataclass(frozen=True)
class Draft:
    """Tokens that may come next, as a tree below the last token that was written.

    tokens   int32 (T,)
    parents  int32 (T,)   of each node, which comes before it; -1: the last token written. Siblings differ
    grades   int32 (T,)   0 to `GRADES` - 1: nodes of one grade are about as often right, where their parent is
    places   int64 (T,)   where a node comes from, as its drafter numbers places; -1: nowhere
    laws     by parent, the distribution float64 (V,) that its children here were drawn from, without replacement, in their order;
             children of other nodes are guesses
    shift    of a drafter that is not lossless: what is written behind the nodes of `laws`, be there children or not, follows
             shift(the model's distribution, the law); at temperature 0 it is the most probable token of that, both at temperature 1

    >>> Draft.of([5, 6, 5], [-1, -1, 0]).tokens.tolist()
    [5, 6, 5]
    """

    tokens: NDArray[np.int32]
    parents: NDArray[np.int32]
    grades: NDArray[np.int32]
    places: NDArray[np.int64]
    laws: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    shift: Shift | None = None

    @classmethod
    def of(cls, tokens: Sequence[int], parents: Sequence[int], grades: Sequence[int] | None = None) -> Draft:
        """A checked tree; raises InputError for a parent that does not come before its node, equal siblings, or a grade out of range."""
        made = cls(
            np.array(tokens, np.int32),
            np.array(parents, np.int32),
            np.zeros(len(tokens), np.int32) if grades is None else np.array(grades, np.int32),
            np.full(len(tokens), -1, np.int64),
        )
        made.check()
        return made

    @classmethod
    def chain(cls, tokens: Sequence[int], grades: Sequence[int] | None = None) -> Draft:
        """One token behind the other."""
        return cls.of(tokens, range(-1, len(tokens) - 1), grades)

    def __len__(self) -> int:
        return len(self.tokens)

    def check(self) -> None:
        """Raise InputError unless this is a tree: what drafters from outside give is not taken on trust."""
        n = len(self.tokens)
        if not len(self.parents) == len(self.grades) == len(self.places) == n:
            raise InputError(f"a draft of {n} tokens needs as many parents, grades and places")
        if n and ((self.parents < -1) | (self.parents >= np.arange(n))).any():
            raise InputError("a draft's node must come behind its parent; -1 is the parent of the first ones")
        if n and (self.tokens.min() < 0 or self.grades.min() < 0 or self.grades.max() >= GRADES):
            raise InputError(f"a draft's tokens must be 0 or more and its grades 0 to {GRADES - 1}")
        if len({*zip(self.parents.tolist(), self.tokens.tolist(), strict=True)}) < n:
            raise InputError("a draft's node has two children with one token")


EMPTY = Draft.of([], [])


@dataclass(frozen=True)
class Verified:
    """What one pass of the model found.

    written  tokens that were written, at least one: those of the draft that were right, and the one behind
    tokens   int64 (T,)     all that the pass read: the token before the draft, then its nodes
    parents  int32 (T,)     of those, -1 for the first
    path     the nodes that were right, from the first on
    logits   float32 (T, V) a tensor: what the model holds of the token behind each
    hidden   (T, hidden) a tensor: the last hidden states, of which the logits are made; for a `HiddenStateDrafter`, else None
    """

    written: Sequence[int]
    tokens: NDArray[np.int64]
    parents: NDArray[np.int32]
    path: Sequence[int]
    logits: Any
    hidden: Any = None


@dataclass(frozen=True)
class Continuations:
    """What stands in a corpus behind the end of a text.

    matched  tokens of that end
    tokens   int32 (R, L)  ascending; -1 behind the end of a document
    places   int64 (R,)    where in the corpus each begins, as its index numbers places
    """

    matched: int
    tokens: NDArray[np.int32]
    places: NDArray[np.int64]
