"""Retrieved drafts kept where a draft model finds their first token likely, put together with its own.

source: Quan et al., RASD: Retrieval-Augmented Speculative Decoding, ACL 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Verified
from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.kernels.draft_trees import unite
from ragkit.protocols import Drafter

_RETRIEVED = 16
"""Grades from here on are those of retrieved nodes, two of their drafter's in one."""


@dataclass(frozen=True)
class RASD:
    """A draft model beside a drafter that retrieves.

    model      writes its drafts first
    retrieved  a path of its tree is kept where its first token is among the model's `k` most probable
    """

    model: DraftModel
    retrieved: Drafter
    k: int = 10
    name: ClassVar[str] = "RASD"
    lossless: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k must be at least 1, got {self.k}")
        if self.model.drawn:
            raise InputError("RASD fuses guesses; give a DraftModel with drawn=False")
        if not self.retrieved.lossless:
            raise InputError(f"RASD fuses guesses, and {self.retrieved.name} changes what is written; let it draft alone")

    def begin(self, request: Request) -> _Fusing:
        """See `ragkit.protocols.Drafter`."""
        return _Fusing(self, request)


class _Fusing:
    def __init__(self, spec: RASD, request: Request) -> None:
        self._spec = spec
        self._writing, self._retrieving = spec.model.begin(request), spec.retrieved.begin(request)
        self._known = np.ones(request.width, bool)

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        written = self._writing.propose(budget)
        found = self._retrieving.propose(budget)
        likely = self._writing.first
        if likely is None or not len(found):
            return written
        kept = _below(found, np.argpartition(-likely, min(self._spec.k, len(likely) - 1))[: self._spec.k])
        if not len(kept):
            return written
        room = len(written) + len(kept)
        tokens, parents = np.empty(room, np.int32), np.empty(room, np.int32)
        grades, places = np.empty((room, 2), np.int32), np.full(room, -1, np.int64)
        n = 0
        for source, draft in enumerate((written, kept)):
            args = draft.tokens, draft.parents, draft.grades, draft.places
            n = unite(*args, self._known, source, n, tokens, parents, grades, places)
        both = np.where(grades[:n, 0] >= 0, grades[:n, 0], _RETRIEVED + grades[:n, 1] // 2).astype(np.int32)
        return Draft(tokens[:n], parents[:n], both, places[:n])

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._writing.observe(verified)
        self._retrieving.observe(verified)

    def passage_of(self, place: int) -> tuple[int | None, int] | None:
        """See `ragkit.protocols.Drafting`."""
        return self._retrieving.passage_of(place)


def _below(draft: Draft, first: NDArray[np.int64]) -> Draft:
    """The paths of a tree that begin with one of some tokens."""
    allowed = set(first.tolist())
    at: dict[int, int] = {-1: -1}
    for i, (token, parent) in enumerate(zip(draft.tokens.tolist(), draft.parents.tolist(), strict=True)):
        if parent in at and (parent >= 0 or token in allowed):
            at[i] = len(at) - 1
    kept = np.array([i for i in at if i >= 0], np.int64)
    if not len(kept):
        return EMPTY
    parents = np.array([at[p] for p in draft.parents[kept].tolist()], np.int32)
    return Draft(draft.tokens[kept], parents, draft.grades[kept], draft.places[kept])
