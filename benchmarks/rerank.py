"""What LLM reranking costs: single-token against generated order, full ranking against sliding windows, and prefix reuse.

The model is Qwen2-shaped with about 100 million random weights: its orders mean nothing, its costs are real. Candidates are
100 passages of at least 100 tokens; windows are 20 by 10. Single-token and generated ranking are timed on the same prompts,
one after the other in turn, so that a machine that slows down slows both. The generated answer is held to a full permutation.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragkit import Full, Listwise, Run, SingleToken
from ragkit.evaluation.dataset import load_dataset
from ragkit.generation import Permutation, Prompt
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.rerankers.prompts import labels_of, spellings
from ragkit.rerankers.templates import LISTWISE, POINTWISE

CANDIDATES = 100
TOKENS = 100
"""A passage has at least so many tokens."""

WINDOW = 20
REPEATS = 3
SHARES = (0.5, 0.75)
"""Shares of a pointwise prompt's tokens that all prompts of a query have in common."""


def run(data: Path) -> dict[str, Any]:
    """Time all three on one model."""
    model, size = random_model(prefix_cache=0)
    dataset = load_dataset(data / "scifact")
    passages = passages_of(model, (document.text for document in dataset.documents()))
    query = next(iter(dataset.judged().values()))
    run = Run.from_texts(query, passages)

    window = _windows(model, run)
    full = _full(model, query, passages)
    shares = {share: _prefix_reuse(query, passages, share) for share in SHARES}

    single, generated = window["single token"], window["generated"]
    ratios = {
        "single_token_vs_generated_time": round(single["seconds"] / generated["seconds"], 3),
        "single_token_vs_generated_passes": round(single["passes"] / generated["passes"], 4),
        "single_token_vs_generated_generated_tokens": single["generated_tokens"] / generated["generated_tokens"],
        "full_vs_sliding_time": round(full["seconds"] / generated["seconds"], 3),
        "full_vs_sliding_prompt_tokens": round(full["prompt_tokens"] / generated["prompt_tokens"], 3),
        "full_vs_sliding_generated_tokens": round(full["generated_tokens"] / generated["generated_tokens"], 3),
        "full_vs_sliding_passes": round(full["passes"] / generated["passes"], 3),
        "prefix_reuse_vs_ideal": round(max(s["time with / time without"] / (1 - s["share"]) for s in shares.values()), 3),
    }
    quality = {
        "sliding, single token": single,
        "sliding, generated": generated,
        "full ranking, generated": full,
        "full ranking, single token": "not with this tokenizer: 100 identifiers are not one token each",
        **{f"prefix reuse, share {share}": found for share, found in shares.items()},
    }
    context = {
        "parameters (millions)": round(size / 1e6, 1),
        "model": "Qwen2, 24 layers, hidden 512, 8 heads (2 for keys), random weights, float32",
        "candidates": CANDIDATES,
        "tokens of a passage": {"least": TOKENS, "mean": round(statistics.mean(model.count_tokens(p) for p in passages), 1)},
        "window": WINDOW,
        "stride": WINDOW // 2,
        "repeats (medians)": REPEATS,
    }
    return {"benchmark": "rerank", "ratios": ratios, "quality": quality, "context": context}


def random_model(**settings: Any) -> tuple[TransformersModel, int]:
    """A Qwen2-shaped model with random weights, and how many it has."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=2304, num_hidden_layers=24, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(7)
    network = Qwen2ForCausalLM(config).eval()
    return TransformersModel(network, tokenizer, name="random-qwen2", **settings), sum(p.numel() for p in network.parameters())


def passages_of(model: TransformersModel, texts: Any) -> list[str]:
    """Real passages, each cut at the first word with which it has enough tokens."""
    found: list[str] = []
    for text in texts:
        words = text.split()
        if model.count_tokens(text) < TOKENS + 20:
            continue
        n = next(n for n in range(1, len(words) + 1) if model.count_tokens(" ".join(words[:n])) >= TOKENS)
        found.append(" ".join(words[:n]))
        if len(found) == CANDIDATES:
            break
    return found


class Recorder:
    """The prompts that a reranker sends, as it sends them."""

    def __init__(self, model: TransformersModel) -> None:
        self._model = model
        self.prompts: list[Prompt] = []

    def next_token_logprobs(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Any:
        self.prompts.extend(prompts)
        return self._model.next_token_logprobs(prompts, candidates)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _windows(model: TransformersModel, run: Run) -> dict[str, dict[str, float]]:
    """The nine windows of one query, each timed both ways in turn."""
    recorder = Recorder(model)
    SingleToken(recorder, max_words=None)(run)
    letters = labels_of("letters", WINDOW)
    order = Permutation(tuple(f"[{letter}]" for letter in letters), begin=LISTWISE["listwise_letters"].prefill)
    seconds: dict[str, list[float]] = {"single token": [], "generated": []}
    for _ in range(REPEATS):
        spent = dict.fromkeys(seconds, 0.0)
        usage: dict[str, dict[str, int]] = {name: {"passes": 0, "prompt_tokens": 0, "generated_tokens": 0} for name in seconds}
        for prompt in recorder.prompts:
            start = time.perf_counter()
            scored = model.next_token_logprobs([prompt], [spellings(letter) for letter in letters])
            middle = time.perf_counter()
            written = model.generate([prompt], max_tokens=400, constraint=order)[0]
            spent["single token"] += middle - start
            spent["generated"] += time.perf_counter() - middle
            for name, used in (("single token", scored.usage), ("generated", written.usage)):
                for field in usage[name]:
                    usage[name][field] += getattr(used, field)
        for name in seconds:
            seconds[name].append(spent[name])
    return {
        name: {"seconds": round(statistics.median(seconds[name]), 2), "calls": len(recorder.prompts), **usage[name]} for name in seconds
    }


def _full(model: TransformersModel, query: str, passages: Sequence[str]) -> dict[str, float]:
    """All candidates in one prompt, the whole order generated."""
    report = Listwise(model, windows=Full(), max_words=None)(Run.from_texts(query, passages)).report[-1]
    used = report.usage
    return {
        "seconds": round(report.seconds, 2),
        "calls": used.calls,
        "passes": used.passes,
        "prompt_tokens": used.prompt_tokens,
        "generated_tokens": used.generated_tokens,
    }


def _prefix_reuse(query: str, passages: Sequence[str], share: float) -> dict[str, float]:
    """Pointwise prompts of one query that share their beginning, with and without reuse, in turn."""
    with_reuse, without = (random_model(prefix_cache=size)[0] for size in (100_000, 0))
    prompt = POINTWISE["yes_no"]
    own = statistics.mean(map(without.count_tokens, passages))
    background = " ".join(passages).split()
    n = 0
    while without.count_tokens(prompt.build(_said(0, query, background[:n]), "", "", prefill=True)) < own * share / (1 - share):
        n += 1
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for repeat in range(REPEATS + 1):  # the first warms up, on a few
        some = passages[: len(passages) if repeat else 4]
        prompts = [prompt.build(_said(repeat, query, background[:n]), text, "", prefill=True) for text in some]
        for name, model in (("with", with_reuse), ("without", without)):
            start = time.perf_counter()
            found = model.next_token_logprobs(prompts, prompt.answers)
            seconds[name].append(time.perf_counter() - start)
            if name == "with":
                used = found.usage
        ratios.append(seconds["with"][-1] / seconds["without"][-1])
    # all prompts but one take their beginning from it
    shared = used.cached_tokens * len(passages) / (len(passages) - 1) / used.prompt_tokens
    return {
        "share": round(shared, 4),
        "prompts": len(passages),
        "tokens": used.prompt_tokens,
        "seconds with": round(statistics.median(seconds["with"][1:]), 2),
        "seconds without": round(statistics.median(seconds["without"][1:]), 2),
        "time with / time without": round(statistics.median(ratios[1:]), 4),
    }


def _said(repeat: int, query: str, background: Sequence[str]) -> str:
    """The query with what else a user says about it; each repeat begins anew, so that nothing is left over from the one before."""
    return f"{repeat}. {query} {' '.join(background)}"
