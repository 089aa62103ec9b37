"""Shared beginnings: scores and texts are those without reuse, what was saved is told, and it saves what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.errors import ContextOverflow
from ragkit.generation.local.batches import plan
from ragkit.generation.local.growing import GrowingLayer
from ragkit.generation.local.prefix import SHORTEST, common_prefix, pays
from ragkit.generation.local.transformers_model import TransformersModel
from tests.generation.tiny_models import CORPUS, gpt2, llama, mistral, next_logprobs, one_thread, qwen2, torch

__all__ = ["one_thread"]

HEAD = " ".join(CORPUS[:4]) + " "
TAILS = ["The pump", "which", "Query: a valve opens at three bar. " * 5, "阀门", "[1] > [2]", "A"]
PROMPTS = [HEAD + tail for tail in TAILS]
CANDIDATES = [("A",), ("B",), ("p",)]


def made(kind: Any = qwen2, attention: str = "sdpa", **settings: Any) -> TransformersModel:
    model, tokenizer = kind(attention)
    return TransformersModel(model, tokenizer, name=kind.__name__, **settings)


def computed(model: TransformersModel) -> list[int]:
    """Tokens of every pass from now on."""
    passes: list[int] = []
    model.net.model.register_forward_pre_hook(lambda _, __, given: passes.append(given["input_ids"].numel()), with_kwargs=True)
    return passes


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", [qwen2, llama, gpt2])
def test_scores_and_texts_are_those_without_reuse(kind: Any, attention: str) -> None:
    shared, plain = made(kind, attention), made(kind, attention, prefix_cache=False)
    for prompts in (PROMPTS, PROMPTS[::-1], PROMPTS[:2] * 2, PROMPTS[3:4], [HEAD + "other", HEAD[:200] + "!"]):  # kept from one to the next
        a, b = (m.next_token_logprobs(prompts, CANDIDATES) for m in (shared, plain))
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert a.usage.cached_tokens > 0 == b.usage.cached_tokens or len(prompts) == 1
        endings = [" has two gaskets", " A", " yes", " no", " I", " am"][: len(prompts)]
        a, b = (m.continuation_logprobs(prompts, endings) for m in (shared, plain))
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert [c.text for c in shared.generate(prompts, max_tokens=12)] == [c.text for c in plain.generate(prompts, max_tokens=12)]
    expected = [next_logprobs(shared.net.model, shared.encode(p))[-1] for p in PROMPTS]
    ids = [shared.tokens.continuing(c)[0] for (c,) in CANDIDATES]
    found = shared.next_token_logprobs(PROMPTS, CANDIDATES).logprobs
    assert all(found[i, c] >= float(row[ids[c]]) - 1e-4 for i, row in enumerate(expected) for c in range(3))


def test_what_was_saved_is_told() -> None:
    model = made()
    passes = computed(model)
    lengths = [model.count_tokens(p) for p in PROMPTS]
    prefix = len(common_prefix([model.encode(p) for p in PROMPTS]))
    assert prefix > 90

    scored = model.next_token_logprobs(PROMPTS, CANDIDATES)
    assert passes[0] == prefix
    assert scored.usage.cached_tokens == prefix * (len(PROMPTS) - 1)
    assert scored.usage.passes == len(passes) == 2

    passes.clear()
    again = model.next_token_logprobs(PROMPTS, CANDIDATES)  # the beginning is still there
    assert again.usage.cached_tokens == prefix * len(PROMPTS)
    assert again.usage.passes == len(passes) == 1
    assert passes[0] == len(PROMPTS) * (max(lengths) - prefix)

    passes.clear()
    done = model.generate(PROMPTS, max_tokens=1)
    assert [c.usage.cached_tokens for c in done] == [prefix] * len(PROMPTS)
    assert [c.usage.prompt_tokens for c in done] == lengths
    assert [c.usage.passes for c in done] == [1, 0, 0, 0, 0, 0]


def test_a_prompt_that_goes_on_from_the_last_one_is_not_read_again() -> None:
    model = made()
    passes = computed(model)
    first = model.encode(PROMPTS[0])
    model.generate([PROMPTS[0]], max_tokens=5)
    passes.clear()
    longer = PROMPTS[0] + " has two gaskets"
    (done,) = model.generate([longer], max_tokens=1)
    shared = len(common_prefix([first, model.encode(longer)]))
    assert done.usage.cached_tokens == shared
    assert passes == [model.count_tokens(longer) - shared]
    assert done.text == made(prefix_cache=False).generate([longer], max_tokens=1)[0].text


def test_a_short_beginning_of_a_long_prompt_is_computed_again() -> None:
    """Behind a beginning every token attends to all that follows too: that costs more than the beginning saves."""
    model = made()
    words = "the pump of the house is old and its gasket wears out soon "
    (first, second, third) = (words * 2 + rest for rest in ("once", "twice " * 2, words * 14))
    model.next_token_logprobs([first], CANDIDATES)
    again = model.next_token_logprobs([second], CANDIDATES)
    assert again.usage.cached_tokens == len(common_prefix([model.encode(first), model.encode(second)]))
    tokens = model.count_tokens(third)
    assert not pays(len(common_prefix([model.encode(second), model.encode(third)])), tokens - 1, model.net.hidden)
    passes = computed(model)
    assert model.next_token_logprobs([third], CANDIDATES).usage.cached_tokens == 0
    assert passes == [tokens]


def test_a_prefix_of_many_batches_is_computed_once() -> None:
    model = made(batch_tokens=40)
    passes = computed(model)
    prefix = len(common_prefix([model.encode(p) for p in PROMPTS]))
    scored = model.next_token_logprobs(PROMPTS * 3, CANDIDATES)
    assert passes.count(prefix) == 1
    assert scored.usage.passes == len(passes) > 3
    np.testing.assert_allclose(scored.logprobs, made(prefix_cache=False).next_token_logprobs(PROMPTS * 3, CANDIDATES).logprobs, atol=1e-4)


def test_what_is_kept_is_bounded_and_can_be_nothing() -> None:
    model = made(prefix_cache=64)
    model.next_token_logprobs(PROMPTS, CANDIDATES)
    assert model._kept._kept is not None
    assert len(model._kept._kept) == 64
    assert model.next_token_logprobs(PROMPTS[:1], CANDIDATES).usage.cached_tokens == 64
    _held_alone(model)
    for prompts, reserve in ((PROMPTS, 1), (PROMPTS[:1], 200)):  # room for what is written is not kept either
        full = made()
        full.generate(prompts, max_tokens=reserve)
        _held_alone(full)
    none = made(prefix_cache=0)
    assert [none.next_token_logprobs(PROMPTS, CANDIDATES).usage.cached_tokens for _ in range(2)] == [0, 0]
    assert none._kept._kept is None


def _held_alone(model: TransformersModel) -> None:
    """What is kept holds the memory of its own tokens: a view would keep all of the buffer that it is a view of."""
    kept = model._kept._kept
    assert kept is not None
    assert kept.ids.base is None
    for values in (v for layer in kept.layers for v in layer):
        assert values.shape[2] == len(kept)
        assert values.untyped_storage().nbytes() == values.numel() * values.element_size()


def test_a_short_beginning_is_not_worth_a_pass() -> None:
    model = made()
    scored = model.next_token_logprobs(["The pump has", "The pump is"], CANDIDATES)
    assert len(common_prefix([model.encode(p) for p in ("The pump has", "The pump is")])) < SHORTEST
    assert (scored.usage.cached_tokens, scored.usage.passes) == (0, 1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_windows_share_nothing_and_stay_right(attention: str) -> None:
    model = made(mistral, attention)
    scored = model.next_token_logprobs(PROMPTS, [("p",)])
    assert scored.usage.cached_tokens == 0
    for prompt, row in zip(PROMPTS, scored.logprobs, strict=True):
        (token,) = model.tokens.continuing("p")
        assert row[0] == pytest.approx(float(next_logprobs(model.net.model, model.encode(prompt))[-1, token]), abs=1e-4)


LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": 64, "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0]}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}


def turning(rope: dict[str, Any], positions: int) -> TransformersModel:
    model, tokenizer = qwen2(rope_parameters={**rope, "rope_theta": 10000.0}, max_position_embeddings=positions)
    return TransformersModel(model, tokenizer, name="turning", context=512)


def test_angles_that_move_with_the_length_are_computed_alone() -> None:
    """Prompts on both sides of the length from which angles move, longest first: neither a neighbour nor a pass before moves a score."""
    model = turning(LONGROPE, 512)
    prompts = [*PROMPTS, *TAILS]
    assert len({model.count_tokens(p) > 64 for p in prompts}) == 2
    together = model.next_token_logprobs(prompts, CANDIDATES)
    assert together.usage.passes == len(prompts)
    alone = np.concatenate([turning(LONGROPE, 512).next_token_logprobs([p], CANDIDATES).logprobs for p in prompts])
    np.testing.assert_allclose(together.logprobs, alone, atol=1e-4)


def test_a_model_whose_angles_grow_reads_no_more_than_it_was_made_for() -> None:
    """The library keeps the angles of the longest text that it saw: beyond the original length a score would depend on the texts before."""
    model = turning(DYNAMIC, 64)
    assert model.context == 64
    with pytest.raises(ContextOverflow, match=r"prompt 1 has .* tokens, but 'turning' reads and writes at most 64"):
        model.next_token_logprobs(["The pump", HEAD], CANDIDATES)
    with pytest.raises(ContextOverflow, match=r"prompt 0 .* and 63 more are to be written"):
        model.generate(["The pump"], max_tokens=63)
    prompts = [" ".join(["A"] * 64), *TAILS[:2]]
    assert model.count_tokens(prompts[0]) == 64
    together = model.next_token_logprobs(prompts, CANDIDATES).logprobs
    alone = np.concatenate([turning(DYNAMIC, 64).next_token_logprobs([p], CANDIDATES).logprobs for p in prompts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5))
def test_common_prefix(sequences: list[list[int]]) -> None:
    n = 0
    while all(len(s) > n for s in sequences) and len({s[n] for s in sequences}) == 1:
        n += 1
    assert common_prefix(sequences).tolist() == sequences[0][:n]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
    st.integers(1, 60),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 9),
)
def test_batches_hold_each_prompt_once_within_budget(lengths: list[int], budget: int, begun: int, reserve: int, most: int) -> None:
    groups = list(plan(lengths, budget, begun=begun, reserve=reserve, most=most))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or (len(group) <= most and len(group) * longest <= budget)
        assert len(group) == 1 or len(group) * (begun + longest + reserve) <= 4 * budget


def test_a_batch_that_is_only_scored_keeps_little_once_it_is_large_enough() -> None:
    scored, written = (next(plan([100] * 100, 8192, begun=300, reserve=reserve)) for reserve in (0, 1))
    assert len(scored) * 100 >= 2048 > (len(scored) - 1) * 100  # 20 rows keep no more than the budget, but compute too little
    assert len(written) == 8192 * 4 // 401
    few = next(plan([10] * 500, 8192, begun=4000))
    assert len(few) == 8192 * 4 // 4010  # short rests behind a long beginning: as many as are kept at all


@given(st.integers(0, 5), st.integers(0, 9), st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_a_growing_layer_holds_what_was_written(begun: int, room: int, steps: list[int]) -> None:
    start = torch.arange(2.0 * begun * 3).reshape(1, 2, begun, 3)
    layer = GrowingLayer(room, (start, -start) if begun else None)
    expected = start.expand(4, -1, -1, -1)
    assert layer.get_seq_length() == begun
    for step in steps:
        new = torch.rand(4, 2, step, 3)
        expected = torch.cat([expected, new], 2)
        keys, values = layer.update(new, -new)
        assert torch.equal(keys, expected)
        assert torch.equal(values, -expected)
        assert layer.get_mask_sizes(1) == (expected.shape[2] + 1, 0)
    first = layer.beginning(begun + 1)[0].clone()
    layer.batch_select_indices(torch.tensor([3, 0]))
    layer.crop(-1)
    assert torch.equal(layer.keys, expected[[3, 0], :, :-1])
    assert torch.equal(first, expected[:1, :, : begun + 1])


@pytest.mark.parametrize("share", [0.5, 0.75])
@pytest.mark.parametrize("count", [20, 100])
def test_work_saved_is_the_share_saved(share: float, count: int) -> None:
    """Tokens that go through the network: what is shared once, and each prompt's own; padding is not counted, nor time (a benchmark's)."""
    model, tokenizer = qwen2(max_position_embeddings=1024)
    rng = np.random.default_rng(7)
    lengths = rng.integers(300, 601, count)
    head = rng.integers(1, 500, int(share * lengths.mean())).tolist()  # no 0: that pads
    sequences = [head + rng.integers(1, 500, max(10, n - len(head))).tolist() for n in lengths]
    sequences[0][len(head)], sequences[1][len(head)] = 1, 2  # so that not one token more is shared
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda layer, given, made: seen.append(int((given[0] != 0).sum())))
    work = {}
    for cache in (True, False):
        seen.clear()
        one = TransformersModel(model, tokenizer, name="counted", fingerprint="counted", prefix_cache=cache)
        for opened in one._open(sequences, 0):
            opened.batch.start()
        work[cache] = sum(seen)
    hook.remove()
    assert work[False] == sum(map(len, sequences))
    assert work[True] == work[False] - (count - 1) * len(head)
