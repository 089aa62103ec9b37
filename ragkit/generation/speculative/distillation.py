"""A draft model taught what a large one held probable at places of its texts.

source: Zhou et al., DistillSpec: Improving Speculative Decoding via Knowledge Distillation, ICLR 2024; Liu et al., Online Speculative
Decoding, ICML 2024.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ragkit.errors import GenerationError, InputError, UnknownNameError
from ragkit.generation.speculative.replay import Sample
from ragkit.registry import need

if TYPE_CHECKING:
    from ragkit.generation.speculative.lora import Adapter

Loss = Literal["forward", "reverse", "jensen-shannon"]
_LEAST = 1e-6
"""Probability that the tokens beyond the most probable ones are held to have together, at least."""
_LOWEST = -80.0
"""Log-probabilities are held to be at least that: float32 has no number for the probability of lower ones."""
_LONGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Distillation:
    """How a draft model learns.

    loss           of the large model's distribution p and the draft's q: "forward" KL(p‖q), "reverse" KL(q‖p), or "jensen-shannon"
    rank           of the adapter
    learning_rate  of AdamW, at most: rises within the first quarter of an update's steps, and falls to 0 until its last
    samples        places that an update draws, as whole texts: at least so many, where there are
    rounds         how often it goes over them
    batch          places a step, as whole texts too
    top            tokens that the large model tells of at each place; all others count as one
    seed           of all that is drawn at random
    """

    loss: Loss = "forward"
    rank: int = 8
    learning_rate: float = 2e-3
    samples: int = 4096
    rounds: int = 2
    batch: int = 64
    top: int = 50
    seed: int = 7

    def __post_init__(self) -> None:
        if self.loss not in get_args(Loss):
            raise UnknownNameError.near("loss", self.loss, get_args(Loss))
        for name in ("rank", "samples", "rounds", "batch", "top"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")


def divergence(teacher: Any, student: Any, loss: Loss = "forward") -> Any:
    """(N,) float32: how far two distributions lie apart, in nats.

    teacher, student  float32 (N, K): natural-log probabilities of the same K tokens, of distributions over all tokens

    The tokens beyond are taken together as one, so that this is a bound from below of the divergence over all, and 0 where the two agree.
    """
    p, q = _with_rest(teacher), _with_rest(student)
    if loss == "forward":
        return (p.exp() * (p - q)).sum(-1)
    if loss == "reverse":
        return (q.exp() * (q - p)).sum(-1)
    middle = ((p.exp() + q.exp()) / 2).log()
    return ((p.exp() * (p - middle)).sum(-1) + (q.exp() * (q - middle)).sum(-1)) / 2


def _with_rest(logprobs: Any) -> Any:
    """(N, K + 1): with the log-probability of all other tokens together behind them."""
    torch = need("torch", extra="models", why="training a draft model")
    logprobs = logprobs.clamp(min=_LOWEST)
    rest = (1 - logprobs.exp().sum(-1, keepdim=True)).clamp(min=_LEAST)
    return torch.cat([logprobs, rest.log()], -1)


def distil(
    model: Any, adapter: Adapter | None, samples: Sequence[Sample], settings: Distillation, number: int
) -> tuple[Adapter, list[float]]:
    """(a new adapter, the mean divergence of each step before it, and of the last one after it).

    model    of transformers, whose weights are left alone
    adapter  to begin with; None: one that changes nothing
    number   of the update, by which its random numbers differ from others'
    raises   GenerationError where a loss is no number

    The same arguments give the same adapter, on one machine with one number of threads; torch's random state is neither read nor
    changed. Nothing is dropped out.
    """
    torch = need("torch", extra="models", why="training a draft model")
    from ragkit.generation.speculative.lora import fresh, trainable

    order = np.random.default_rng((settings.seed, number, 1))
    with torch.inference_mode(False), torch.enable_grad():
        if adapter is None:
            adapter = fresh(model, settings.rank, torch.Generator().manual_seed(settings.seed))
        student, learnt = trainable(model, adapter)
        student.eval()
        parameters = [matrix for pair in learnt.values() for matrix in pair]
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
        steps: list[list[Sample]] = []
        for _ in range(settings.rounds):
            steps += _batches([samples[i] for i in order.permutation(len(samples))], settings.batch)
        losses = []
        for step, batch in enumerate(steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rise_and_fall(step, len(steps))
            optimizer.zero_grad(set_to_none=True)
            losses.append(_loss(student, batch, settings, learns=True))
            torch.nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
            optimizer.step()
        with torch.no_grad():
            losses.append(_loss(student, steps[-1], settings, learns=False))
        return {name: (a.detach(), b.detach()) for name, (a, b) in learnt.items()}, losses


def _loss(student: Any, batch: Sequence[Sample], settings: Distillation, *, learns: bool) -> float:
    """Mean over all places of a step; with their gradients added up."""
    count, total = sum(len(s.at) for s in batch), 0.0
    for sample in batch:
        part = divergence(*_told(student, sample), settings.loss).sum() / count
        if learns:
            part.backward()
        total += float(part.detach())
    if not math.isfinite(total):
        raise GenerationError(
            f"a step has a loss of {total}, and nothing can be learned from that; give a lower learning_rate than "
            f"{settings.learning_rate}, and see that the draft model's weights are numbers"
        )
    return total


def _rise_and_fall(step: int, steps: int) -> float:
    """Share of the learning rate: an update's first steps, of which AdamW knows little yet, must not undo what others have learnt."""
    warm = -(-steps // 4)
    return (step + 1) / warm if step < warm else (steps - step) / (steps - warm + 1)


def _batches(samples: Sequence[Sample], least: int) -> list[list[Sample]]:
    """Whole texts together, as many as give so many places."""
    out: list[list[Sample]] = []
    count = least
    for sample in samples:
        if count >= least:
            out.append([])
            count = 0
        out[-1].append(sample)
        count += len(sample.at)
    return out


def _told(student: Any, sample: Sample) -> tuple[Any, Any]:
    """Log-probabilities (n, K) of the large model and of the draft, of the tokens that the large one tells of."""
    torch = need("torch", extra="models", why="training a draft model")
    device = student.get_input_embeddings().weight.device
    ids, at, tokens, teacher = (torch.from_numpy(x).to(device) for x in (sample.ids, sample.at, sample.tokens, sample.logprobs))
    if "logits_to_keep" in inspect.signature(student.forward).parameters:
        logits = student(input_ids=ids[None], use_cache=False, logits_to_keep=at).logits[0]
    else:
        logits = student(input_ids=ids[None], use_cache=False).logits[0, at]
    return teacher, logits.float().log_softmax(-1).gather(-1, tokens)
