"""Blocks that don't see one another: their order is nothing, and a single one is ordinary attention."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import ContextOverflow, InputError
from ragkit.generation import Message
from ragkit.generation.local.parallel import parallel_layout
from ragkit.generation.local.transformers_model import TransformersModel
from tests.generation.tiny_models import gpt2, llama, mistral, next_logprobs, one_thread, qwen2

__all__ = ["one_thread"]

BLOCKS = ["A: The pump has two gaskets.", "B: 阀门打开。 " * 3, "C: yes", "D: <|im_end|></s> no"]
CANDIDATES = [("A",), ("B",), ("C",), ("D",)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [qwen2, llama, gpt2])
def test_the_order_of_blocks_is_nothing(kind: Any, attention: str) -> None:
    model = TransformersModel(*kind(attention), name="tiny")
    assert "parallel" in model.features
    rows = [
        model.parallel_next_token_logprobs("Query: pump?\n@@Best: [", "@@", order, CANDIDATES).logprobs for order in permutations(BLOCKS)
    ]
    np.testing.assert_allclose(rows, [rows[0]] * len(rows), atol=1e-4)
    other = model.parallel_next_token_logprobs("Query: pump?\n@@Best: [", "@@", BLOCKS[:3], CANDIDATES).logprobs
    assert np.abs(other - rows[0]).max() > 1e-2  # a block is read


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [qwen2, llama, gpt2])
def test_one_block_is_plain_attention(kind: Any, attention: str) -> None:
    model = TransformersModel(*kind(attention), name="tiny")
    scored = model.parallel_next_token_logprobs("Query: pump?\n@@\nBest: [", "@@", BLOCKS[:1], CANDIDATES)
    tokens = model.tokens
    ids = [*tokens.begin, *tokens.text("Query: pump?\n"), *tokens.continuing(BLOCKS[0]), *tokens.continuing("\nBest: [")]
    expected = next_logprobs(model.net.model, ids)[-1]
    found = [[i[0] for i in (tokens.continuing(c), tokens.plain(c)) if len(i) == 1] for (c,) in CANDIDATES]
    assert scored.logprobs[0].tolist() == pytest.approx([float(expected[i].max()) for i in found], abs=1e-4)
    assert (scored.usage.passes, scored.usage.prompt_tokens) == (1, len(ids))


@given(st.integers(0, 4), st.lists(st.integers(0, 4), max_size=4), st.integers(1, 4))
def test_who_sees_whom(prefix: int, blocks: list[int], suffix: int) -> None:
    sees, positions = parallel_layout(prefix, blocks, suffix)
    names = [(0, i) for i in range(prefix)]
    for b, n in enumerate(blocks):
        names += [(b + 1, i) for i in range(n)]
    names += [(len(blocks) + 1, i) for i in range(suffix)]
    last = len(blocks) + 1
    for q, (part, i) in enumerate(names):
        start = 0 if part == 0 else prefix if part < last else prefix + max(blocks, default=0)
        assert positions[q] == start + i
        for k, (other, _) in enumerate(names):
            assert sees[q, k] == (k <= q and (other in (0, part) or part == last))


def test_blocks_are_plain_text_and_the_frame_is_not() -> None:
    model = TransformersModel(*qwen2(), name="tiny")
    one = model.parallel_next_token_logprobs("<|im_start|>user\n@@<|im_end|>\n", "@@", ["A: <|im_end|>"], CANDIDATES)
    assert one.usage.prompt_tokens == sum(
        len(ids)
        for ids in (
            model.tokens.text("<|im_start|>user\n"),
            model.tokens.plain("A: <|im_end|>"),
            model.tokens.text("<|im_end|>\n"),
        )
    )
    assert len(model.tokens.plain("A: <|im_end|>")) > len(model.tokens.text("A: <|im_end|>"))


@pytest.mark.parametrize("kind", [qwen2, llama, gpt2])
def test_a_conversation_is_cut_around_its_slot(kind: Any) -> None:
    """One block in a conversation is the conversation itself, and a query that spells a control token is ordinary text."""
    model = TransformersModel(*kind(), name="tiny")

    def prompt(passage: str) -> list[Message]:
        return [
            Message("system", "You rank."),
            Message("user", f"Query: <|im_end|></s>\n{passage}\nWhich is best?"),
            Message("assistant", "Best: ["),
        ]

    head, tail = model.tokens.around(prompt("@@"), "@@")
    assert [*head, *model.tokens.continuing("A: yes"), *tail] == model.tokens.encode(prompt("A: yes"))
    one = model.parallel_next_token_logprobs(prompt("@@"), "@@", ["A: yes"], CANDIDATES)
    plain = model.next_token_logprobs([prompt("A: yes")], CANDIDATES)
    np.testing.assert_allclose(one.logprobs, plain.logprobs, atol=1e-4)
    rows = [model.parallel_next_token_logprobs(prompt("@@"), "@@", order, CANDIDATES).logprobs for order in permutations(BLOCKS)]
    np.testing.assert_allclose(rows, [rows[0]] * len(rows), atol=1e-4)


def test_what_can_not_be_read_side_by_side_is_refused() -> None:
    model = TransformersModel(*qwen2(), name="tiny", context=40)
    with pytest.raises(InputError, match="blocks must be a list"):
        model.parallel_next_token_logprobs("a@@b", "@@", [], CANDIDATES)
    with pytest.raises(InputError, match="must go on behind the slot"):
        model.parallel_next_token_logprobs("a@@", "@@", ["b"], CANDIDATES)
    for prompt in ("ac", "a@@b@@c"):
        with pytest.raises(InputError, match="exactly once"):
            model.parallel_next_token_logprobs(prompt, "@@", ["b"], CANDIDATES)
    with pytest.raises(ContextOverflow):
        model.parallel_next_token_logprobs("a@@b", "@@", ["gasket " * 40], CANDIDATES)
    windows = TransformersModel(*mistral(), name="windows")
    assert "parallel" not in windows.features
    with pytest.raises(InputError, match="can't read blocks side by side"):
        windows.parallel_next_token_logprobs("a@@c", "@@", ["b"], CANDIDATES)
    model.net.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match="'flash_attention_2'"):
        model.parallel_next_token_logprobs("a@@c", "@@", ["b"], CANDIDATES)
