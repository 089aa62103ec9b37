"""The rerankers on real networks of random weights: what they read off is what the network says, and nothing is malformed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from ragkit import Query, Run
from ragkit.errors import GenerationError, InputError
from ragkit.generation.local.seq2seq_model import Seq2SeqModel
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.join import query_of
from ragkit.rerankers import Consistent, Full, Listwise, Pairwise, Pointwise, QueryLikelihood, SetBased, Setwise, SingleToken, Sliding
from ragkit.rerankers.templates import LISTWISE, template
from ragkit.run import TextTable
from tests.generation.tiny_models import gpt2, llama, next_logprobs, one_thread, qwen2, t5

__all__ = ["one_thread"]

WORDS = ["pump", "gasket", "winter", "valve", "pressure", "engine", "grease", "seal", "flow", "filter", "hose", "clamp"]
LETTERS = "ABCDEFGHIJKLMNOPQRST"


def run_of(n: int, seed: int = 7, words: tuple[int, int] = (4, 30), queries: int = 1) -> Run:
    """Queries with n passages each, of different lengths, in a random order of rows."""
    rng = np.random.default_rng(seed)
    texts = tuple(" ".join(rng.choice(WORDS, rng.integers(*words))) + f" {i}" for i in range(n))
    table = TextTable(tuple(f"d{i}" for i in range(n)), texts)
    rows = np.concatenate([rng.permutation(n) for _ in range(queries)]) if queries else np.zeros(0, np.int64)
    asked = tuple(Query(f"q{i}", f"how often is the {WORDS[i]} replaced?") for i in range(queries))
    scores = np.tile(-np.arange(n, dtype=np.float32), queries)
    return Run(asked, np.arange(queries + 1) * n, rows, scores, "rank", None, {}, table)


def model_of(kind: Any, **settings: Any) -> Any:
    if kind is t5:
        return Seq2SeqModel(*t5(), name="tiny", **settings)
    return TransformersModel(*kind(max_position_embeddings=4096), name="tiny", **settings)


def permutation_of(out: Run, run: Run) -> bool:
    return all(sorted(out.rows[query_of(out) == q]) == sorted(run.rows[query_of(run) == q]) for q in range(len(run.queries)))


@pytest.mark.parametrize("kind", [qwen2, llama])
def test_single_token_order_is_that_of_all_next_token_logits(kind: Any) -> None:
    """Oracle: the network run on the prompt's tokens by itself, and every token of the vocabulary looked at."""
    model, run = model_of(kind), run_of(20)
    stage = SingleToken(model, prompt="first", windows=Full(), depth=20)
    tokens = model.tokens
    texts = [p.text for p in run.source.passages(run.rows)]  # type: ignore[union-attr]
    prompt = stage.template.build(run.queries[0].text, texts, prefill=True)
    logprobs = next_logprobs(model.net.model, tokens.encode(prompt))[-1]
    spelled = [{ids[0] for s in (c, f" {c}") for ids in (tokens.continuing(s), tokens.plain(s)) if len(ids) == 1} for c in LETTERS]
    assert all(spelled)
    expected = sorted(range(20), key=lambda i: -max(float(logprobs[t]) for t in spelled[i]))
    assert stage(run).rows.tolist() == run.rows[expected].tolist()


MAKERS: dict[str, tuple[Any, Any]] = {
    "single": (qwen2, lambda m: SingleToken(m, windows=Sliding(8, 4))),
    "yes/no": (qwen2, lambda m: Pointwise(m)),
    "likelihood": (qwen2, lambda m: QueryLikelihood(m)),
    "pairwise": (qwen2, lambda m: Pairwise(m)),
    "setwise": (qwen2, lambda m: Setwise(m)),
    "listwise": (qwen2, lambda m: Listwise(m, windows=Sliding(8, 4))),
    "monoT5": (t5, lambda m: Pointwise(m, prompt="mono_t5")),
}


@pytest.mark.parametrize(("kind", "make"), MAKERS.values(), ids=MAKERS)
def test_neither_batch_nor_padding_nor_prefixes_change_the_order(kind: Any, make: Any) -> None:
    """Two queries in one run, in batches of many and of one, with and without what prompts share."""
    run = run_of(10, queries=2)
    causal = [{}, {"batch_tokens": 1}, {"prefix_cache": 0}]
    outs = [make(model_of(kind, **settings))(run) for settings in (causal if kind is qwen2 else causal[:2])]
    for out in outs:
        assert permutation_of(out, run)
        assert out.rows.tolist() == outs[0].rows.tolist()
        np.testing.assert_allclose(out.scores, outs[0].scores, atol=1e-4)
    assert outs[0].rows.tolist() != run.rows.tolist()


@pytest.mark.parametrize("kind", [qwen2, llama, gpt2])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_set_based_is_the_same_in_any_order(kind: Any, attention: str) -> None:
    model = TransformersModel(*kind(attention), name="tiny")
    run = run_of(6, words=(3, 9))
    stage = SetBased(model, windows=Full(), depth=6)
    first = stage(run)
    rng = np.random.default_rng(1)
    for _ in range(5):
        turned = stage(run.take(run.indptr, rng.permutation(6)))
        assert turned.rows.tolist() == first.rows.tolist()
    ordinary = SingleToken(model, prompt=stage.prompt, windows=Full(), depth=6)
    orders = {tuple(ordinary(run.take(run.indptr, rng.permutation(6))).rows.tolist()) for _ in range(5)}
    assert len(orders) > 1  # what the mask mends


def test_set_based_scores_do_not_move_with_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probabilities themselves, read where the stage asks for them, by passage."""
    model, run = model_of(qwen2), run_of(9)
    found: list[dict[str, float]] = []
    ask = model.parallel_next_token_logprobs

    def listen(prompt: Any, slot: str, blocks: Sequence[str], candidates: Any) -> Any:
        scored = ask(prompt, slot, blocks, candidates)
        found.append(dict(zip(blocks, scored.logprobs[0].tolist(), strict=True)))
        return scored

    monkeypatch.setattr(model, "parallel_next_token_logprobs", listen)
    for seed in range(4):
        SetBased(model, windows=Full(), depth=9)(run.take(run.indptr, np.random.default_rng(seed).permutation(9)))
    assert all(f == pytest.approx(found[0], abs=1e-4) for f in found)


@pytest.mark.parametrize("prompt", ["rank_zephyr", "listwise_letters"])
@pytest.mark.parametrize("windows", [Sliding(8, 4), Full(), Consistent(Full(), shuffles=2)], ids=["sliding", "full", "consistent"])
def test_a_network_of_noise_writes_valid_orders(prompt: str, windows: Any) -> None:
    """Constrained to permutations, the wildest model loses nothing; left free, nothing but noise comes, and the order stays."""
    model, run = model_of(qwen2), run_of(10, words=(3, 6))
    out = Listwise(model, prompt=prompt, windows=windows, depth=10)(run)
    counts = out.report[-1].counts
    assert permutation_of(out, run)
    assert counts["ok"] == counts["windows"] > 0
    free = Listwise(model, prompt=prompt, windows=windows, depth=10, constrained=False)(run)
    assert permutation_of(free, run)
    assert free.report[-1].counts.get("ok", 0) < free.report[-1].counts["windows"]


def test_identifiers_that_are_not_one_token_are_refused_by_name() -> None:
    numbers = replace(template(LISTWISE, "rank_zephyr"), prefill="[")
    with pytest.raises(InputError, match=r"\['11'.* of 'tiny'"):
        SingleToken(model_of(qwen2), prompt=numbers, windows=Full(), depth=12)(run_of(12, words=(2, 4)))


def test_logits_that_are_no_numbers() -> None:
    """A broken network fails by name, or its windows keep their order and are counted."""
    model = model_of(qwen2)
    with torch.no_grad():
        model.net.model.lm_head.weight[0, 0] = float("nan")
    run = run_of(8)
    for stage in (SingleToken, Pointwise, Listwise, QueryLikelihood):
        kept = stage(model, depth=8, on_error="keep")(run)
        assert kept.rows.tolist() == run.rows.tolist()
        assert kept.report[-1].counts["failed"] > 0
        with pytest.raises(GenerationError, match="tiny"):
            stage(model, depth=8, on_error="raise")(run)


def test_windows_shrink_to_what_the_network_reads() -> None:
    run = run_of(12, words=(30, 40))
    model = TransformersModel(*qwen2(), name="tiny", context=500)
    out = SingleToken(model, prompt="first", windows=Full(), depth=12)(run)
    assert permutation_of(out, run)
    counts = out.report[-1].counts
    assert counts["windows_shrunk"] == 1
    assert counts["windows"] > 1
    assert counts["shortened"] > 0
    assert "failed" not in counts


def test_one_pass_a_window() -> None:
    """FIRST's law: a window costs one forward pass and no token."""
    run = run_of(20)
    out = SingleToken(model_of(qwen2, prefix_cache=0), prompt="first", windows=Sliding(8, 4), depth=20)(run)
    usage = out.report[-1].usage
    assert (usage.calls, usage.passes, usage.generated_tokens) == (4, 4, 0)
