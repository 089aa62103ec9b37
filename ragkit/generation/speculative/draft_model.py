"""Drafts written by a smaller model that cuts texts into the same tokens.

source: Leviathan et al., Fast Inference from Transformers via Speculative Decoding, ICML 2023; Chen et al., Accelerating Large Language
Model Decoding with Speculative Sampling, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import eq
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.load import llm
from ragkit.generation.local.causal import CausalBatch, CausalNet
from ragkit.generation.local.files import tokenizer_fingerprint
from ragkit.generation.local.sampling import Sampling
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.speculative.acceptance import draw
from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Verified
from ragkit.generation.speculative.vocab_trim import trimmed

_GRADES = 16
_FADES = 0.98
"""What a token counts that was drafted before the last."""
_FIRST_GUESS = 0.5
"""Share of its tokens that are taken, before that was measured."""


@dataclass(frozen=True)
class DraftModel:
    """A small language model of transformers, or its name.

    depth     tokens to write ahead at most; fewer where, as it sees it, too few of them are right to be worth its time
    branches  most probable tokens that are drafted at each place; the best of them goes on
    drawn     at a temperature above 0, draw the tokens as the model itself would, and take them by the ratio of both models'
              probabilities: more are right then than of the most probable ones
    vocabulary  tokens that are drafted at all: its head is cut down to them, see `vocab_trim.frequent_tokens`; None: all
    """

    model: str | TransformersModel
    depth: int = 8
    branches: int = 2
    drawn: bool = False
    vocabulary: tuple[int, ...] | None = None
    _trimmed: dict[TransformersModel, tuple[CausalNet, NDArray[np.int64]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    name: ClassVar[str] = "draft model"
    lossless: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.depth, self.branches) < 1:
            raise InputError(f"depth and branches must be at least 1, got {self.depth} and {self.branches}")

    def load(self) -> TransformersModel:
        """The model; raises InputError where it is none of this kind."""
        model = llm(self.model)
        if not isinstance(model, TransformersModel) or not model.net.goes_back:
            raise InputError(f"{model.name!r} can't draft: that needs a causal model of transformers that can forget what it has read")
        return model

    def net(self, model: TransformersModel) -> tuple[CausalNet, NDArray[np.int64] | None]:
        """(what computes logits, the tokens that they are of; None for all)."""
        if self.vocabulary is None:
            return model.net, None
        if model not in self._trimmed:
            self._trimmed[model] = trimmed(model, self.vocabulary)
        return self._trimmed[model]

    def begin(self, request: Request) -> Writing:
        """See `ragkit.protocols.Drafter`; raises InputError where the two models' tokens are not the same."""
        model = self.load_for(request)
        drawn = self.drawn and request.sampling is not None and request.sampling.temperature > 0
        return Writing(self, model, request, request.sampling if drawn else None)

    def load_for(self, request: Request) -> TransformersModel:
        """The same; raises InputError too where it cuts texts into other tokens than the model that writes."""
        model = self.load()
        mine = tokenizer_fingerprint(model.tokens.tokenizer)
        if request.tokenizer and mine != request.tokenizer:
            raise InputError(f"{model.name!r} can't draft here: it cuts texts into other tokens; give a model with the same tokenizer")
        return model


class Writing:
    """A small model at work on one text.

    first  what it held of the next token when it was last asked for guesses, float64 (V,)
    """

    def __init__(self, spec: DraftModel, model: TransformersModel, request: Request, sampling: Sampling | None) -> None:
        self._spec, self._model, self._sampling = spec, model, sampling
        self._net, self._kept = spec.net(model)
        self._width = request.width
        self._ids = [int(t) for t in request.prompt]
        self._batch: CausalBatch | None = None
        self._read = 0
        self._chain: list[int] = []
        self._seconds: float | None = None
        self._taken, self._tried = _FIRST_GUESS, 1.0
        self.first: NDArray[np.float64] | None = None
        self._generator: Any = None
        if sampling is not None:
            import torch

            self._generator = torch.Generator()
            if sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(sampling.seed + 1)  # not what texts are drawn by

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        depth = min(self._spec.depth, budget.depth, budget.nodes)
        if self._model.context is not None:
            depth = min(depth, self._model.context - len(self._ids))
        if depth < 1:
            self.first = None
            return EMPTY
        return self._guessed(budget, depth) if self._sampling is None else self._drawn(budget, depth)

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        written = [int(t) for t in verified.written]
        right = sum(takewhile(bool, map(eq, self._chain, written)))
        if self._chain:
            self._taken = _FADES * self._taken + right
            self._tried = _FADES * self._tried + min(right + 1, len(self._chain))
        self._ids += written
        if self._batch is not None:
            # of what was read ahead; the last token is read again in any case, for what follows it
            self._read += min(right, len(written) - 1, self._batch.size - self._read)
            self._batch.cut(self._read)
        self._chain = []

    def passage_of(self, place: int) -> None:
        """See `ragkit.protocols.Drafting`."""

    def _guessed(self, budget: Budget, depth: int) -> Draft:
        tokens: list[int] = []
        parents: list[int] = []
        grades: list[int] = []
        parent, likely, chain = -1, 1.0, self._chain
        q = self.first = self._whole(_softmax(self._logits(self._ids[self._read :], committed=True)))
        for d in range(depth):
            best = np.argpartition(-q[: self._width], min(self._spec.branches, len(q) - 1))[: self._spec.branches]
            best = best[np.argsort(-q[best], kind="stable")]
            for token in best.tolist():
                if len(tokens) < budget.nodes:
                    tokens.append(token)
                    parents.append(parent)
                    grades.append(min(_GRADES - 1, int(_GRADES * q[token])))
            likely *= float(q[best[0]])
            parent = len(tokens) - len(best)
            chain.append(int(best[0]))
            if d + 1 == depth or len(tokens) >= budget.nodes or not self._pays(likely, budget):
                break
            q = self._whole(_softmax(self._logits(chain[-1:])))
        return Draft.of(tokens, parents, grades)

    def _drawn(self, budget: Budget, depth: int) -> Draft:
        sampling, likely = self._sampling, 1.0
        assert sampling is not None
        tokens: list[int] = []
        laws: dict[int, NDArray[np.float64]] = {}
        logits = self._logits(self._ids[self._read :], committed=True)
        rate = self._taken / self._tried
        while True:
            q = self._whole(sampling.probabilities(logits[None, : self._width])[0])
            laws[len(tokens) - 1] = q
            tokens.append(draw(q, self._generator))
            likely *= rate
            # whether to go on may not depend on what was drawn last: a token that is verified must be any that could be drawn
            if len(tokens) == depth or not self._pays(likely, budget):
                break
            logits = self._logits(tokens[-1:])
        self._chain = tokens
        chain = Draft.chain(tokens)
        return Draft(chain.tokens, chain.parents, chain.grades, chain.places, laws)

    def _pays(self, likely: float, budget: Budget) -> bool:
        """Whether a token more, which is reached so often, brings as many a second as the model does alone."""
        return budget.plain is None or self._seconds is None or likely * budget.plain > self._seconds

    def _logits(self, tokens: Sequence[int], *, committed: bool = False) -> Any:
        """float32 (V,) of what follows, after more tokens were read."""
        began = perf_counter()
        if self._batch is None:
            self._batch = CausalBatch(self._net, [tokens], None, 256)
            logits = self._batch.start()[0, -1]
            self._batch.remember()
        else:
            logits = self._batch.read(tokens)[0]
            seconds = perf_counter() - began
            self._seconds = seconds if self._seconds is None else 0.8 * self._seconds + 0.2 * seconds
        if committed:
            self._read += len(tokens)
        return logits

    def _whole(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """A distribution over all tokens, from one over those that the head has."""
        if self._kept is None:
            return p
        out = np.zeros(self._net.width)
        out[self._kept] = p
        return out


def _softmax(logits: Any) -> NDArray[np.float64]:
    out: NDArray[np.float64] = logits.double().softmax(-1).cpu().numpy()
    return out
