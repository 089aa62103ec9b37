"""Drafts copied from prompt, passages and what was written: what stood behind the longest end of the text where it stood before.

source: Hu et al., SAM Decoding, ACL 2025; Saxena, Prompt Lookup Decoding, 2023, which looks for ends of a fixed length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import Budget, Draft, Request, Verified
from ragkit.kernels.suffix_automaton import LENGTH, LINK, N_TOKENS, STATE, copies, extend

_GRADE_OF = np.array([0, *(min(int(4 * np.log2(n)), 31) for n in range(1, 257))], np.int32)
"""Grade by the length of a match: four a doubling."""


class SuffixAutomaton:
    """All substrings of a growing text of tokens; tokens are 0 or more, texts that must not run into another are `separate`d.

    >>> automaton = SuffixAutomaton()
    >>> automaton.extend([1, 2, 3, 1, 2])
    >>> automaton.longest
    2
    """

    def __init__(self, room: int = 1024) -> None:
        self._make_room(room)
        self._separators = 0

    def __len__(self) -> int:
        """Tokens so far, separators included."""
        return int(self._sizes[N_TOKENS])

    def extend(self, tokens: Sequence[int]) -> None:
        """Read more tokens."""
        new = np.asarray(tokens, np.int32)
        if len(self) + len(new) > len(self._text):
            new = np.concatenate((self._text[: len(self)], new))  # all is read again: every transition has another place then
            self._make_room(2 * len(new))
        extend(new, self._states, self._edges, self._table, self._sizes, self._text)

    def separate(self) -> None:
        """Let no match go from what was read into what comes."""
        self._separators += 1
        self.extend([-1 - self._separators])

    @property
    def longest(self) -> int:
        """Tokens at the end of the text that stood in it before, together."""
        link = int(self._states[LINK, self._sizes[STATE]])
        return int(self._states[LENGTH, link]) if link >= 0 else 0

    def copies(self, budget: int, depth: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """(tokens, parents, lengths, places): see `ragkit.kernels.suffix_automaton.copies`."""
        tokens, parents, lengths = (np.empty(budget, np.int32) for _ in range(3))
        places = np.empty(budget, np.int64)
        n = copies(self._states, self._sizes, self._text, depth, tokens, parents, lengths, places)
        return tokens[:n], parents[:n], lengths[:n], places[:n]

    def _make_room(self, room: int) -> None:
        self._states = np.empty((5, 2 * room), np.int32)
        self._states[:, 0] = [-1, 0, -1, -1, -1]
        self._edges = np.empty((4, 3 * room), np.int32)
        self._table = np.full(1 << (6 * room - 1).bit_length(), -1, np.int32)
        self._text = np.empty(room, np.int32)
        self._sizes = np.array([1, 0, 0, 0], np.int64)


@dataclass(frozen=True)
class SuffixAutomatonDrafter:
    """Copies from the passages, the prompt and the text itself, whichever the end of the text agrees with longest.

    depth  tokens to copy at most
    """

    depth: int = 32
    name: ClassVar[str] = "passages"
    lossless: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"depth must be at least 1, got {self.depth}")

    def begin(self, request: Request) -> _Copying:
        """See `ragkit.protocols.Drafter`."""
        return _Copying(request, self.depth)


class _Copying:
    """Reads passages first, so that what stands in one of them and in the prompt too is said to come from the passage."""

    def __init__(self, request: Request, depth: int) -> None:
        self._depth = depth
        size = sum(map(len, request.passages)) + len(request.passages) + len(request.prompt)
        self._automaton = SuffixAutomaton(2 * size + 256)
        self._starts = [0]
        for passage in request.passages:
            self._automaton.extend(passage)
            self._automaton.separate()
            self._starts.append(len(self._automaton))
        self._automaton.extend(request.prompt)

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        tokens, parents, lengths, places = self._automaton.copies(budget.nodes, min(self._depth, budget.depth))
        return Draft(tokens, parents, _GRADE_OF[np.minimum(lengths, len(_GRADE_OF) - 1)], places)

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._automaton.extend(verified.written)

    def passage_of(self, place: int) -> tuple[int, int] | None:
        """(passage, token in it) of a place; None for one in the prompt or the text itself."""
        if not 0 <= place < self._starts[-1]:
            return None
        passage = int(np.searchsorted(self._starts, place, side="right")) - 1
        return passage, place - self._starts[passage]
