"""Low-rank adapters: what is learnt is added to frozen linear layers as a product of two thin matrices.

source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

Adapter = Mapping[str, tuple[Any, Any]]
"""By the name of a linear layer, float32 A (rank, in) and B (out, rank): its weight W becomes W + `SCALE` · B A."""
SCALE = 2.0


class LoRALinear(torch.nn.Module):  # type: ignore[misc]
    """A frozen linear layer with what is learnt beside it, apart from its own weights."""

    def __init__(self, layer: torch.nn.Linear, a: torch.nn.Parameter, b: torch.nn.Parameter) -> None:
        super().__init__()
        self.layer, self.a, self.b = layer, a, b

    @property
    def weight(self) -> Any:
        """The frozen weights, for code of a model that looks at their kind or place."""
        return self.layer.weight

    def forward(self, x: Any) -> Any:
        learnt = torch.nn.functional.linear(torch.nn.functional.linear(x.to(self.a.dtype), self.a), self.b)
        return self.layer(x) + (SCALE * learnt).to(x.dtype)


def fresh(model: Any, rank: int, generator: torch.Generator) -> dict[str, tuple[Any, Any]]:
    """An adapter of all linear layers that changes nothing yet: A is drawn, uniform within 1 / √in, and B is 0."""
    made = {}
    for name, layer in _linear(model).items():
        a = (2 * torch.rand(rank, layer.in_features, generator=generator) - 1) / layer.in_features**0.5
        made[name] = a.to(layer.weight.device), torch.zeros(layer.out_features, rank, device=layer.weight.device)
    return made


def trainable(model: Any, adapter: Adapter) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """(a copy that shares all weights as constants, the parameters beside them, which begin as the adapter is)."""
    made = constant_copy(model)
    parameters = {}
    for name, (a, b) in adapter.items():
        parameters[name] = torch.nn.Parameter(a.clone()), torch.nn.Parameter(b.clone())
        _put(made, name, LoRALinear(made.get_submodule(name), *parameters[name]))
    return made, parameters


def merged(model: Any, adapter: Adapter) -> Any:
    """A copy whose linear layers have the adapter in their own weights; it shares all others."""
    made = constant_copy(model)
    for name, (a, b) in adapter.items():
        layer = copy.copy(made.get_submodule(name))
        weight = (layer.weight.float() + SCALE * (b @ a)).to(layer.weight.dtype)
        layer._parameters = {**layer._parameters, "weight": torch.nn.Parameter(weight, requires_grad=False)}
        _put(made, name, layer)
    return made


def constant_copy(model: Any) -> Any:
    """The same modules anew around the same memory of weights and buffers, none of which takes gradients."""
    memo: dict[int, Any] = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo | {id(b): b for b in model.buffers()})


def fits(model: Any, adapter: Adapter) -> bool:
    """Whether an adapter has finite matrices of the right shapes for all linear layers, and for no others."""
    layers = _linear(model)
    return adapter.keys() == layers.keys() and all(_fits(layers[name], a, b) for name, (a, b) in adapter.items())


def _fits(layer: torch.nn.Linear, a: Any, b: Any) -> bool:
    if b is None or a.ndim != 2 or a.dtype != torch.float32 or b.dtype != torch.float32:
        return False
    shapes = a.shape == (a.shape[0], layer.in_features) and b.shape == (layer.out_features, a.shape[0])
    return shapes and bool(a.isfinite().all() and b.isfinite().all())


def _linear(model: Any) -> dict[str, torch.nn.Linear]:
    return {name: layer for name, layer in model.named_modules() if type(layer) is torch.nn.Linear}


def _put(model: Any, name: str, module: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
