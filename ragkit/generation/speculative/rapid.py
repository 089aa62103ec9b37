"""A draft model that reads few passages teaches the model that reads them all: what is written lies between the two. Lossy.

source: Chen et al., Long-Context Inference with Retrieval-Augmented Speculative Decoding, ICML 2025. What is taken of a draft is
min(q, p̂), which exceeds p where p̂ does, so that no residual could bring the target's distribution back: what is written follows p̂,
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.speculative.draft import Request
from ragkit.generation.speculative.shifting import Shifting, check_depth, shifting


@dataclass(frozen=True)
class RAPID:
    """A draft model that reads `Sources.short` in place of the prompt; it may be as large as the target, or larger.

    model  of transformers, or its name
    eta    how far the target is drawn to the draft model, at 0 not at all: then the text is the target's own
    depth  tokens to write ahead

    For the same weights as the target's, give one model: `target = small.drafting(RAPID(small), allow_lossy=True)`.
    """

    model: str | TransformersModel
    eta: float = 10.0
    depth: int = 10
    name: ClassVar[str] = "RAPID"
    cited: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if not (self.eta >= 0 and isfinite(self.eta)):
            raise InputError(f"eta must be a number from 0 on, got {self.eta}")

    @property
    def lossless(self) -> bool:
        """See `ragkit.protocols.Drafter`."""
        return self.eta == 0

    @property
    def law(self) -> str:
        """See `ragkit.protocols.LossyDrafter`."""
        name = self.model if isinstance(self.model, str) else self.model.name
        return f"softmax(log p + {self.eta:g} (q - p)), where p is the model's own distribution and q what {name!r} holds of fewer passages"

    def begin(self, request: Request) -> Shifting:
        """See `ragkit.protocols.Drafter`; raises InputError where the two models' tokens are not the same."""
        return shifting(self.model, self.depth, request, None if self.lossless else partial(drawn_to, eta=self.eta), short=True)


def drawn_to(p: NDArray[np.float64], q: NDArray[np.float64], *, eta: float) -> NDArray[np.float64]:
    """softmax(z/T + eta (q - p)): one step of size eta down the gradient of T² KL(q‖p) by the target's logits z.

    p        float64 (V,)   softmax(z/T), so that z/T is its logarithm up to a constant; a token that top_p rules out stays out
    q        float64 (V,)   the teacher's
    returns  float64 (V,)

    >>> p = np.exp([2, 1, 0, -1]) / np.exp([2, 1, 0, -1]).sum()
    >>> drawn_to(p, np.array([0.1, 0.6, 0.2, 0.1]), eta=5).round(4).tolist()
    [0.025, 0.8581, 0.0903, 0.0265]
    """
    step = eta * (q - p)
    shifted: NDArray[np.float64] = p * np.exp(np.minimum(step - step[p > 0].max(), 0))
    shifted /= shifted.sum()
    return shifted
