"""Weights packed once for oneDNN: a CPU then reads a handful of tokens in about the time of one.

A matrix product of few rows spends its time on arranging the weights anew for each call; packed beforehand, they are only read.
"""

from __future__ import annotations

from typing import Any

import torch

_ROWS = 32
"""Rows that the arrangement is chosen for; measured to suit everything from one token to long prompts."""


class PackedLinear(torch.nn.Module):  # type: ignore[misc]
    """A linear layer for inference in float32 on a CPU."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        with torch.no_grad():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack(model: Any) -> Any:
    """The same model with its linear layers packed, in place, where it computes in float32 on a CPU; else as it is.

    Their own weights are let go, less those that the model uses elsewhere too; so it can't be trained or saved any more.
    """
    if model.device.type != "cpu" or model.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return model
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is torch.nn.Linear:
                setattr(parent, name, PackedLinear(layer))
    return model
