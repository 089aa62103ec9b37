"""Beam search that writes only what is allowed, for causal and encoder-decoder models alike.

source: De Cao et al., Autoregressive Entity Retrieval, ICLR 2021 (constrained beam search); Bevilacqua et al., Autoregressive Search
Engines, NeurIPS 2022 (all partial hypotheses are kept).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.local.model import LocalModel
from ragkit.generation.local.sampling import check_numbers
from ragkit.generation.types import Prompt

S = TypeVar("S")


class States(Protocol[S]):
    """What may be written: which tokens may come next in a state, and the state behind one."""

    @property
    def root(self) -> S: ...
    def allowed(self, state: S, /) -> NDArray[np.int32]: ...
    def extend(self, state: S, token: int, /) -> S: ...


@dataclass(frozen=True)
class Hypothesis(Generic[S]):
    """Tokens that the model may write, with their log-probability among all that it could write, in nats."""

    tokens: tuple[int, ...]
    logprob: float
    state: S


def constrained_beams(
    model: LocalModel, prompt: Prompt, states: States[S], *, beams: int = 15, length: int = 10
) -> tuple[NDArray[np.float64], list[Hypothesis[S]]]:
    """(log-probabilities of the first token, float64 (V,); the best hypotheses of each length up to `length`, at most `beams` each).

    Probabilities are the model's over its whole vocabulary; tokens that are not allowed are left out, not shared among the others.
    Tokens that the model does not have are never written. raises InputError for fewer than one beam or token
    """
    if beams < 1 or length < 1:
        raise InputError(f"beam search needs at least one beam and one token, got {beams} beams of {length}")
    found: list[Hypothesis[S]] = []
    first = np.zeros(0)
    for opened in model._open(model._sequences([prompt], length), length):
        batch = opened.batch
        logits = batch.start()[:, -1]
        live = [Hypothesis[S]((), 0.0, states.root)]
        for step in range(length):
            check_numbers(logits, [0] * len(live), model.name)
            logprobs = logits.double().log_softmax(-1).cpu().numpy()
            if step == 0:
                first = logprobs[0]
            chosen = _best(live, logprobs, states, beams)
            if not chosen:
                break
            live = [Hypothesis((*live[row].tokens, token), p, states.extend(live[row].state, token)) for p, row, token in chosen]
            found += live
            if step + 1 < length:
                batch.keep([row for _, row, _ in chosen])
                logits = batch.step([token for _, _, token in chosen])
    return first, found


def _best(live: list[Hypothesis[Any]], logprobs: NDArray[np.float64], states: States[Any], beams: int) -> list[tuple[float, int, int]]:
    """(log-probability, row, token) of the best ways to go on; of equal ones that of the better row and the smaller token comes first."""
    ways: list[tuple[float, int, int]] = []
    for row, hypothesis in enumerate(live):
        tokens = states.allowed(hypothesis.state)
        tokens = tokens[tokens < logprobs.shape[1]]
        scores = hypothesis.logprob + logprobs[row, tokens]
        kept = np.argsort(-scores, kind="stable")[:beams]
        ways += [(p, row, token) for p, token in zip(scores[kept].tolist(), tokens[kept].tolist(), strict=True)]
    return sorted(ways, key=lambda way: (-way[0], way[1], way[2]))[:beams]
