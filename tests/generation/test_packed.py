"""Packed weights: the same numbers as the layers they replace, and nothing but plain linear layers replaced."""

from __future__ import annotations

import pytest

from tests.generation.tiny_models import llama, one_thread, qwen2, torch

from ragkit.generation.local.packed import PackedLinear, pack  # isort: skip

__all__ = ["one_thread"]


@pytest.mark.parametrize("make", [llama, qwen2])
@pytest.mark.parametrize("length", [1, 2, 9, 130])
def test_numbers_are_those_of_plain_layers(make: object, length: int) -> None:
    plain, packed = make(seed=3)[0], pack(make(seed=3)[0])  # type: ignore[operator]
    assert sum(isinstance(m, PackedLinear) for m in packed.modules()) == 2 * 7 + 1  # qwen2's have a bias in three of them
    ids = torch.arange(length)[None] % 500 + 5
    with torch.inference_mode():
        torch.testing.assert_close(packed(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-4, rtol=1e-5)


def test_other_precisions_stay_as_they_are() -> None:
    model = llama()[0].to(torch.bfloat16)
    assert not any(isinstance(m, PackedLinear) for m in pack(model).modules())
