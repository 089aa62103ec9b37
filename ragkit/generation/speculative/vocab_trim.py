"""A draft model's head cut down to the tokens that the large model writes often: most of a small model's time goes into its head.

The large model's head stays whole, so that every token can still be written; the draft only never proposes the others.
source: Goel et al., VOCABTRIM: Vocabulary Pruning for Efficient Speculative Decoding in LLMs, 2025.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.local.causal import CausalNet
from ragkit.registry import need

if TYPE_CHECKING:
    from ragkit.generation.local.transformers_model import TransformersModel


def frequent_tokens(texts: Iterable[Sequence[int]], count: int, always: Iterable[int] = ()) -> tuple[int, ...]:
    """The tokens that stand most often in texts, ascending, and those that are always wanted, as what ends a text.

    texts  tokens; best those that the large model has written

    >>> frequent_tokens([[5, 5, 7], [7, 5, 9]], 2, always=[0])
    (0, 5, 7)
    """
    if count < 1:
        raise InputError(f"at least one token must be kept, got {count}")
    counts = Counter(int(t) for text in texts for t in text)
    best = sorted(counts, key=lambda t: (-counts[t], t))[:count]
    return tuple(sorted({*best, *map(int, always)}))


def trimmed(model: TransformersModel, tokens: Sequence[int]) -> tuple[CausalNet, NDArray[np.int64]]:
    """(a model that shares all weights but those of its head, which gives logits of these tokens alone; the tokens, ascending).

    raises  InputError for a token that the model does not have, or a head that is no plain layer
    """
    torch = need("torch", extra="models", why="running a language model")
    from ragkit.generation.local.packed import PackedLinear

    kept = np.unique(np.asarray(tokens, np.int64))
    whole = model.net.model
    if not len(kept) or kept[0] < 0 or kept[-1] >= model.net.width:
        raise InputError(f"the tokens to keep must be from 0 to {model.net.width - 1}, at least one, got {list(tokens)[:5]}")
    head = whole.get_output_embeddings()
    name = next((n for n, child in whole.named_children() if child is head), None)
    if name is None or not hasattr(head, "weight"):
        raise InputError(f"{model.name!r} can't be trimmed: its head is no layer of its own")
    with torch.no_grad():
        weight = head.weight.to_dense() if head.weight.is_mkldnn else head.weight.detach()
        rows = torch.from_numpy(kept).to(weight.device)
        small = torch.nn.Linear(weight.shape[1], len(kept), bias=head.bias is not None, device=weight.device, dtype=weight.dtype)
        small.weight.copy_(weight[rows])
        if head.bias is not None:
            small.bias.copy_(head.bias[rows])
    made: Any = copy.copy(whole)
    made._modules = dict(whole._modules)
    setattr(made, name, PackedLinear(small) if isinstance(head, PackedLinear) else small.requires_grad_(False))
    return CausalNet(made), kept
