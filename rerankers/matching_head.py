"""A cross-encoder's head that matches tokens: each token of the query with the most similar one of the passage, in the states that both
have after reading each other (after CEDR, MacAvaney et al., SIGIR 2019, and ColBERT's MaxSim, Khattab and Zaharia, SIGIR 2020).

An encoder with this head ranks well before any training, where a head on its first token begins with chance: an encoder's states
are alike for tokens that mean alike. So hundreds of judged queries do, where a fresh linear head needs many thousands.

This file imports torch; it is itself imported only where a model with such a head is trained or loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers.base.modules import Module

SHARPNESS = 20.0
"""What a mean cosine counts in the logit at the start: those of a query's hits lie within tenths of each other."""


class MatchingHead(Module):  # type: ignore[misc]  # seen as Any
    """logit = sharpness * sum_i w_i max_j cos(q_i, p_j) + a linear view of the first token, for query tokens i and passage tokens j.

    The weights w of query tokens are a softmax that is even at the start; special tokens take no part. Needs tokenizers that tell
    both texts apart by token types, as BERT's do.
    """

    config_keys = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.sharpness = torch.nn.Parameter(torch.tensor(SHARPNESS))
        self.importance = torch.nn.Linear(dim, 1, bias=False)
        self.first = torch.nn.Linear(dim, 1)
        for layer in (self.importance, self.first):
            torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(self.first.bias)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add "scores" (B, 1) to features that hold token_embeddings (B, L, dim), attention_mask and token_type_ids (B, L)."""
        with torch.autocast(features["token_embeddings"].device.type, enabled=False):
            states = features["token_embeddings"].float()
            query, passage = _parts(features["attention_mask"], features["token_type_ids"])
            unit = torch.nn.functional.normalize(states, dim=-1)
            alike = (unit @ unit.transpose(1, 2)).masked_fill(~passage[:, None, :], -1.0)
            weights = self.importance(states)[..., 0].masked_fill(~query, float("-inf"))
            weights = torch.where(query.any(1, keepdim=True), weights, torch.zeros_like(weights)).softmax(1)
            matched = (weights * alike.max(2).values).sum(1, keepdim=True)
            features["scores"] = self.sharpness * matched + self.first(states[:, 0])
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write config.json and model.safetensors."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> MatchingHead:
        """The head of a model's folder."""
        folder = Path(model_name_or_path, subfolder)
        weights = load_file(folder / "model.safetensors")
        head = cls(dim=weights["importance.weight"].shape[1])
        head.load_state_dict(weights)
        return head


def _parts(attention_mask: Any, token_type_ids: Any) -> tuple[Any, Any]:
    """Bool (B, L) masks of the query's and the passage's tokens, less the special ones: first, and last of each text."""
    read, second = attention_mask.bool(), token_type_ids.bool()
    query, passage = read & ~second, read & second
    place = torch.arange(read.shape[1], device=read.device)
    end_of_query, end_of_passage = query.sum(1, keepdim=True) - 1, read.sum(1, keepdim=True) - 1
    return query & (place > 0) & (place < end_of_query), passage & (place < end_of_passage)
