"""A draft model whose distribution takes part in what is written: it says what it holds of every token, not only of those it drafts.

So the text follows one law at every token, whatever the depth of the drafts, how many of them were right and how fast the machine is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.speculative.acceptance import draw
from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Shift
from ragkit.generation.speculative.draft_model import DraftModel, Writing


def shifting(model: str | TransformersModel, depth: int, request: Request, shift: Shift | None, *, short: bool = False) -> Shifting:
    """A draft model at work on one text.

    shift   None: what is written stays the model's own
    short   read the shorter prompt, where there is one
    raises  InputError where the two models' tokens are not the same
    """
    spec = DraftModel(model, depth, drawn=True)
    sampling = Sampling(0.0, 1.0, None) if request.sampling is None else request.sampling
    read = request.short if short and request.short is not None else request.prompt
    return Shifting(spec, spec.load_for(request), replace(request, prompt=read), sampling, shift)


class Shifting(Writing):
    """See `shifting`. Chains of one depth, drawn as the model that writes draws; at temperature 0 the most probable tokens that pay."""

    def __init__(self, spec: DraftModel, model: TransformersModel, request: Request, sampling: Sampling, shift: Shift | None) -> None:
        super().__init__(spec, model, request, sampling.drawing())
        self._laws, self._draws, self._shift = sampling.drawing(), sampling.temperature > 0, shift

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`; the law alone where the budget has no node, nothing where the draft model reads no more."""
        depth = min(self._spec.depth, budget.depth, budget.nodes)
        if self._model.context is not None:
            depth = min(depth, self._model.context - len(self._ids))
        if depth < 0:
            return EMPTY
        tokens: list[int] = []
        laws = {-1: self._law(self._ids[self._read :], committed=True)}
        likely = rate = self._taken / self._tried
        while len(tokens) < depth and (not tokens or self._draws or self._pays(likely, budget)):
            q = laws[len(tokens) - 1]
            tokens.append(draw(q, self._generator) if self._draws else int(q.argmax()))
            laws[len(tokens) - 1] = self._law(tokens[-1:])
            likely *= rate
        self._chain = tokens
        chain = Draft.chain(tokens)
        return Draft(chain.tokens, chain.parents, chain.grades, chain.places, laws, self._shift)

    def _law(self, tokens: Sequence[int], *, committed: bool = False) -> NDArray[np.float64]:
        logits: Any = self._logits(tokens, committed=committed)
        q: NDArray[np.float64] = self._laws.probabilities(logits[None, : self._width])[0]
        return q


def check_depth(depth: int) -> None:
    """Raise InputError for a depth that drafts nothing."""
    if depth < 1:
        raise InputError(f"depth must be at least 1, got {depth}")
