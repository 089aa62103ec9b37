"""How likely a local causal model finds each token of a text, also of one that is longer than its context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.local.transformers_model import TransformersModel


def token_logprobs(model: TransformersModel, tokens: Sequence[int], *, window: int = 512, stride: int = 256) -> NDArray[np.float64]:
    """Log-probability of each of n tokens behind those before it, float64 (n,), in nats.

    The text is read in windows of so many tokens, which begin with the token that the tokenizer begins texts with, if it has one; of
    each but the first only the last `stride` tokens are taken, so that they have at least window - stride before them.
    """
    if not 0 < stride < window:
        raise InputError(f"windows need 0 < stride < window, got {stride} and {window}")
    if model.context is not None and window > model.context:
        raise InputError(f"{model.name} reads {model.context} tokens, got a window of {window}; give a smaller one")
    import torch

    tokenizer = model.tokens.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    out = np.zeros(len(tokens))
    done = 0
    while done < len(tokens):
        end = min(len(tokens), done + (window - 1 if done == 0 else stride))
        first = max(0, end - (window - 1))
        ids = torch.tensor([[*([] if begin is None else [begin]), *tokens[first:end]]], device=model.net.device)
        with model.net.lock, torch.inference_mode():
            logits = model.net.model(input_ids=ids).logits[0].float().log_softmax(-1)
        begun = begin is not None
        for i in range(done, end):
            at = i - first - 1 + begun  # the position that tells of token i
            out[i] = float(logits[at, tokens[i]]) if at >= 0 else -np.log(logits.shape[-1])
        done = end
    return out
