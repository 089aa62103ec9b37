"""A draft model's tokens taken as they are where it and the target all but agree, if that was seen to cost no quality. Lossy.

source: Bachmann et al., Judge Decoding, ICLR 2025 (that tokens may be right without being the target's); its trained judge is replaced by
a threshold on the divergence of the two distributions, which needs no training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.evaluation.answers import f1
from ragkit.evaluation.statistics import bootstrap_interval
from ragkit.generation.load import llm
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.generation.speculative.draft import Request
from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.generation.speculative.shifting import Shifting, check_depth, shifting
from ragkit.generation.types import Prompt

_FEWEST = 20
"""Examples of a gate at least: fewer can't tell a loss from luck."""

Metric = Callable[[str, Sequence[str]], float]
"""How good a text is, by the texts that would be right."""


@dataclass(frozen=True)
class QualityGate:
    """What a judge did to the answers of a held-out task; made by `measure`, and plain data that can be kept.

    target, draft  fingerprints of the two models
    threshold      of the judge
    temperature, top_p  by which texts were chosen
    examples       texts that were written twice
    plain, judged  mean of the metric without the judge and with it
    lost_at_most   upper end of the 95 % bootstrap interval of what is lost by an example, in the mean
    most_lost      what may be
    """

    target: str
    draft: str
    threshold: float
    temperature: float
    top_p: float
    examples: int
    plain: float
    judged: float
    lost_at_most: float
    most_lost: float

    @property
    def passed(self) -> bool:
        """Whether no more can have been lost than may be."""
        return self.examples >= _FEWEST and self.lost_at_most <= self.most_lost

    @classmethod
    def measure(
        cls, target: TransformersModel, draft: str | TransformersModel, examples: Sequence[tuple[Prompt, Sequence[str]]], *,
        threshold: float, most_lost: float, metric: Metric = f1, max_tokens: int = 256, temperature: float = 0.0, top_p: float = 1.0,
        seed: int | None = None,
    ) -> QualityGate:  # fmt: skip
        """Write each example's text by the target alone and with the judge, and compare.

        examples   prompts, each with the texts that would be right; none that the models were trained or the threshold was chosen on
        threshold  nats; see `judged`
        most_lost  of the metric, in the mean
        seed       of texts drawn at a temperature; each example has its own
        raises     InputError for fewer than 20 examples, a threshold below 0, or models with different tokenizers
        cost       two texts an example
        """
        if len(examples) < _FEWEST:
            raise InputError(f"a quality gate needs at least {_FEWEST} examples, got {len(examples)}")
        models = target.drafting(False), target.drafting(_Trial(draft, threshold), allow_lossy=True)
        how: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        scores = np.empty((2, len(examples)))
        for i, (prompt, right) in enumerate(examples):
            for which, model in enumerate(models):
                (done,) = model.generate([prompt], **how, seed=None if seed is None else seed + i)
                scores[which, i] = metric(done.text, right)
        plain, judged = scores
        return cls(
            target.fingerprint, llm(draft).fingerprint, threshold, temperature, top_p, len(examples),
            float(plain.mean()), float(judged.mean()), bootstrap_interval(plain - judged)[1], most_lost,
        )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """The judge before its gate, for `QualityGate.measure` alone."""

    model: str | TransformersModel
    threshold: float
    depth: int = 10
    name: ClassVar[str] = "judge"
    cited: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_depth(self.depth)
        if not self.threshold >= 0:
            raise InputError(f"threshold must be at least 0 nats, got {self.threshold}")

    @property
    def lossless(self) -> bool:
        return self.threshold == 0

    @property
    def law(self) -> str:
        name = self.model if isinstance(self.model, str) else self.model.name
        return f"that of the draft model {name!r} where it diverges from the model's own by less than {self.threshold:g} nats, else its own"

    def begin(self, request: Request) -> Shifting:
        shift = None if self.lossless else partial(judged, threshold=self.threshold)
        return shifting(self.model, self.depth, request, shift)


@dataclass(frozen=True)
class Judge:
    """A draft model whose tokens are taken as they are where `judged` lets it, behind a quality gate that was passed.

    model  of transformers, or its name
    gate   measured for this draft model and the model that writes, by the way texts are chosen then; its threshold is the judge's
    depth  tokens to write ahead
    raises InputError, with both scores, where the gate was not passed

    Not for cited answers: `LLMReader` refuses it.
    """

    model: str | TransformersModel
    gate: QualityGate
    depth: int = 10
    name: ClassVar[str] = "judge"
    cited: ClassVar[bool] = False

    def __post_init__(self) -> None:
        gate = self.gate
        if not gate.passed:
            raise InputError(
                f"the judge costs too much quality: over {gate.examples} examples texts score {gate.judged:.4f} with it and "
                f"{gate.plain:.4f} without, a loss of up to {gate.lost_at_most:.4f} where {gate.most_lost:.4f} may be lost; measure a "
                f"gate with a smaller threshold than {gate.threshold:g}, or with more examples"
            )
        _Trial(self.model, gate.threshold, self.depth)  # which checks them

    @property
    def _trial(self) -> _Trial:
        return _Trial(self.model, self.gate.threshold, self.depth)

    @property
    def lossless(self) -> bool:
        """See `ragkit.protocols.Drafter`."""
        return self._trial.lossless

    @property
    def law(self) -> str:
        """See `ragkit.protocols.LossyDrafter`."""
        return self._trial.law

    def begin(self, request: Request) -> Shifting:
        """See `ragkit.protocols.Drafter`; raises InputError where the gate was measured for other models, or texts chosen otherwise."""
        gate, asked = self.gate, request.sampling
        for which, wanted, given in (
            ("model that writes", gate.target, request.target),
            ("draft model", gate.draft, DraftModel(self.model).load().fingerprint),
        ):
            if wanted != given:
                raise InputError(f"the judge's quality gate was measured for another {which}; measure one for these two")
        if asked is not None and (asked.temperature, asked.top_p) != (gate.temperature, gate.top_p):
            raise InputError(
                f"the judge's quality gate was measured at temperature {gate.temperature:g} and top_p {gate.top_p:g}, and texts are "
                f"asked for at {asked.temperature:g} and {asked.top_p:g}; measure one for these"
            )
        return self._trial.begin(request)


def judged(p: NDArray[np.float64], q: NDArray[np.float64], *, threshold: float) -> NDArray[np.float64]:
    """q where KL(q‖p) < threshold, else p: what is written diverges from the target by less than the threshold at every token.

    KL(q‖p) is how much less probable the target finds what the draft writes, in nats a token; so a text of n tokens diverges
    by less than n times the threshold from the target's. KL(p‖q) would let a draft through that writes what the target rules out.

    p, q  float64 (V,), the target's and the draft's

    >>> judged(np.array([0.5, 0.5]), np.array([0.6, 0.4]), threshold=0.1).tolist()  # 0.0201 nats
    [0.6, 0.4]
    >>> judged(np.array([1.0, 0.0]), np.array([0.9, 0.1]), threshold=0.1).tolist()
    [1.0, 0.0]
    """
    return q if _divergence(q, p) < threshold else p


def _divergence(q: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """KL(q‖p) in nats; infinite where q holds possible what p rules out."""
    held = q > 0
    if not p[held].all():
        return np.inf
    return float((q[held] * np.log(q[held] / p[held])).sum())
