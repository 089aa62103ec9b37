"""Losses of listwise rerankers as functions of torch tensors: RankNet weighted by rank, ListNet, importance-aware cross-entropy.

Letters: N passages of a window, T tokens of an answer, V of the vocabulary; ``…`` are any leading axes, and each window there
gets its own loss. Ranks start at 0 in arrays; r in the formulas is rank + 1. They are imported with torch, not with ragkit.
"""

from __future__ import annotations

from typing import Any

from ragkit.registry import need

_WHY = "training a reranker"


def ranknet(scores: Any, teacher_ranks: Any) -> Any:
    """Pairs in a teacher's order, those at its top weighing most: Σ 1/(r_i + r_j) · log(1 + exp(s_j - s_i)) over all i before j.

    scores         (…, N)  of the passages, higher is better; finite
    teacher_ranks  (…, N)  whole numbers, 0 the best; equal ranks are undecided and make no pair, negative ones are no passage
    returns        (…)
    source         Reddy et al., FIRST, EMNLP 2024; Burges et al., RankNet, ICML 2005

    >>> import torch
    >>> ranknet(torch.zeros(2), torch.tensor([0, 1]))  # log(2) / (1 + 2)
    tensor(0.2310)
    """
    torch = need("torch", extra="train", why=_WHY)
    first, second = teacher_ranks[..., :, None], teacher_ranks[..., None, :]
    pairs = (first >= 0) & (first < second)
    weights = torch.where(pairs, 1 / (first + second + 2).clamp(min=1).to(scores.dtype), torch.zeros_like(scores[..., None]))
    margins = scores[..., None, :] - scores[..., :, None]  # [i, j] is s_j - s_i
    return (weights * torch.logaddexp(torch.zeros_like(margins), margins)).sum((-2, -1))


def listnet(scores: Any, teacher: Any) -> Any:
    """Cross-entropy of the chances to be the best: -Σ softmax(t)_i · log softmax(s)_i.

    scores   (…, N)  of the passages, higher is better; finite
    teacher  (…, N)  the teacher's scores t, higher is better; -inf where there is no passage
    returns  (…)     at least the entropy of softmax(t), which it reaches where s is t plus a constant
    source   Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007, top-one probabilities

    >>> import torch
    >>> listnet(torch.zeros(4), torch.zeros(4))  # log(4)
    tensor(1.3863)
    """
    absent = teacher == -float("inf")
    logprobs = scores.masked_fill(absent, -float("inf")).log_softmax(-1)
    return -(teacher.softmax(-1) * logprobs.masked_fill(absent, 0)).sum(-1)


def importance_weights(ranks: Any) -> Any:
    """What each token of a written ranking weighs: 1 + 1/log2(r + 1) for an identifier of rank r, 1 for a delimiter.

    ranks    (…, T)  rank of the identifier that a token spells, 0 the best; negative for delimiters
    returns  (…, T)  float32; 2 at the first identifier, falling towards 1
    source   Liu et al., Sliding Windows Are Not the End, 2024

    >>> import torch
    >>> importance_weights(torch.tensor([0, -1, 2]))
    tensor([2.0000, 1.0000, 1.5000])
    """
    torch = need("torch", extra="train", why=_WHY)
    r = ranks.clamp(min=0).float() + 1
    return torch.where(ranks >= 0, 1 + 1 / torch.log2(r + 1), torch.ones_like(r))


def importance_cross_entropy(logits: Any, targets: Any, weights: Any) -> Any:
    """Weighted mean over an answer's tokens of their negative log-probability: Σ w · -log softmax(logits)[target] / Σ w.

    logits   (…, T, V)
    targets  (…, T)     the tokens that should be written
    weights  (…, T)     see `importance_weights`; 0 leaves a token out
    returns  (…)        nats a token
    source   Liu et al. 2024, who sum; the mean makes windows of different lengths count alike

    >>> import torch
    >>> importance_cross_entropy(torch.zeros(2, 8), torch.tensor([3, 4]), torch.tensor([2.0, 1.0]))  # log(8)
    tensor(2.0794)
    """
    found = logits.gather(-1, targets[..., None])[..., 0]
    return (weights * (logits.logsumexp(-1) - found)).sum(-1) / weights.sum(-1)
