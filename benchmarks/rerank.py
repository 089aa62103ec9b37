"""What LLM reranking costs: single-token against generated order, full ranking against sliding windows, and prefix reuse.

The model is Qwen2-shaped with about 100 million random weights: its orders mean nothing, its costs are real. Candidates are
100 passages of at least 100 tokens; windows are 20 by 10, and full ranking reads all passages in one. Single-token and generated
ranking are timed on the same prompts, one after the other in turn, so that a machine that slows down slows both; each way has
a model object of its own with default settings, so that neither begins with what the other has kept. The generated answer is held
to a full permutation. Pointwise prompts are timed with and without reuse of what they share.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragkit import Full, Run, SingleToken, Sliding
from ragkit.evaluation.dataset import load_dataset
from ragkit.generation import Permutation, Prompt, Usage
from ragkit.generation.local.transformers_model import TransformersModel
from ragkit.rerankers.prompts import labels_of, spellings
from ragkit.rerankers.templates import LISTWISE, POINTWISE

CANDIDATES = 100
TOKENS = 100
"""A passage has at least so many tokens."""

WINDOW = 20
PROMPT = "listwise"
"""Numbers as identifiers: each of 1 to 100 is one token of this tokenizer, so that one token can order all of them."""

WAYS = ("single token", "generated")
REPEATS = 3
SHARES = (0.5, 0.75)
"""Shares of a pointwise prompt's tokens that all prompts of a query have in common."""


def run(data: Path) -> dict[str, Any]:
    """Time all of them on one model."""
    network, tokenizer = random_network()
    model = _model(network, tokenizer)
    dataset = load_dataset(data / "scifact")
    passages = passages_of(model, (document.text for document in dataset.documents()))
    query = next(iter(dataset.judged().values()))
    timed = _orders([_model(network, tokenizer) for _ in WAYS], Run.from_texts(query, passages))
    reusing, plain = (_model(network, tokenizer, prefix_cache=kept) for kept in (True, False))
    shares = {share: _prefix_reuse(reusing, plain, query, passages, share) for share in SHARES}

    def ratio(one: str, other: str, field: str) -> float:
        return round(float(timed[one][field] / timed[other][field]), 4)

    single, generated, full = "sliding, single token", "sliding, generated", "full, generated"
    fields = {"seconds": "time", "passes": "passes", "prompt_tokens": "prompt_tokens", "generated_tokens": "generated_tokens"}
    ratios = {
        **{f"single_token_vs_generated_{label}": ratio(single, generated, f) for f, label in fields.items() if f != "prompt_tokens"},
        **{f"full_vs_sliding_{label}": ratio(full, generated, f) for f, label in fields.items()},
        "full_vs_sliding_single_token_time": ratio("full, single token", single, "seconds"),
        "prefix_reuse_vs_ideal": round(max(s["time with / time without"] / (1 - s["share"]) for s in shares.values()), 4),
    }
    context = {
        "parameters (millions)": round(sum(p.numel() for p in network.parameters()) / 1e6, 1),
        "model": "Qwen2, 24 layers, hidden 512, 8 heads (2 for keys), random weights, float32",
        "candidates": CANDIDATES,
        "tokens of a passage": {"least": TOKENS, "mean": round(statistics.mean(model.count_tokens(p) for p in passages), 1)},
        "window": WINDOW,
        "stride": WINDOW // 2,
        "repeats (medians)": REPEATS,
    }
    quality = {**timed, **{f"prefix reuse, share {share}": found for share, found in shares.items()}}
    return {"benchmark": "rerank", "ratios": ratios, "quality": quality, "context": context}


def random_network() -> tuple[Any, Any]:
    """A Qwen2-shaped model with random weights, and a tokenizer for it."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=2304, num_hidden_layers=24, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(7)
    return Qwen2ForCausalLM(config), tokenizer


def _model(network: Any, tokenizer: Any, **settings: Any) -> TransformersModel:
    return TransformersModel(network, tokenizer, name="random-qwen2", **settings)


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


def _orders(models: Sequence[TransformersModel], run: Run) -> dict[str, dict[str, Any]]:
    """The windows of one query, and all its candidates in one, each ordered by one token and by a written permutation in turn.

    models  one for each of `WAYS`
    """
    scoring, writing = models
    prompts: dict[str, list[Prompt]] = {}
    for name, windows in (("sliding", Sliding(WINDOW, WINDOW // 2)), ("full", Full())):
        recorder = Recorder(scoring)
        SingleToken(recorder, prompt=PROMPT, windows=windows, max_words=None, on_error="raise")(run)
        prompts[name] = recorder.prompts
    sizes = {"sliding": WINDOW, "full": len(run.rows)}
    ways = [f"{name}, {way}" for name in prompts for way in WAYS]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        spent = dict.fromkeys(ways, 0.0)
        usage = dict.fromkeys(ways, Usage())
        for name, asked in prompts.items():
            labels = labels_of("numbers", sizes[name])
            order = Permutation(tuple(f"[{label}]" for label in labels), begin=LISTWISE[PROMPT].prefill)
            for prompt in asked:
                start = time.perf_counter()
                scored = scoring.next_token_logprobs([prompt], [spellings(label) for label in labels])
                middle = time.perf_counter()
                written = writing.generate([prompt], max_tokens=8 * len(labels), constraint=order)[0]
                spent[f"{name}, generated"] += time.perf_counter() - middle
                spent[f"{name}, single token"] += middle - start
                usage[f"{name}, generated"] += written.usage
                usage[f"{name}, single token"] += scored.usage
        for way in ways:
            seconds[way].append(spent[way])
    fields = ("calls", "passes", "prompt_tokens", "generated_tokens")
    return {way: {"seconds": round(statistics.median(seconds[way]), 2), **{f: getattr(usage[way], f) for f in fields}} for way in ways}


def _prefix_reuse(
    with_reuse: TransformersModel, without: TransformersModel, query: str, passages: Sequence[str], share: float
) -> dict[str, float]:
    """Pointwise prompts of one query that share their beginning, with and without reuse, in turn."""
    prompt = POINTWISE["yes_no"]
    background = " ".join(passages).split()

    def prompts_of(repeat: int, n: int, some: Sequence[str]) -> list[Prompt]:
        return [prompt.build(_said(repeat, query, background[:n]), text, "", prefill=True) for text in some]

    n = next(n for n in range(0, len(background), 5) if _shared(without, prompts_of(0, n, passages[:8])) >= share)
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for repeat in range(REPEATS + 1):  # the first warms up, on a few
        some = passages[: len(passages) if repeat else 4]
        prompts = prompts_of(repeat, n, some)
        for name, model in (("with", with_reuse), ("without", without)):
            start = time.perf_counter()
            found = model.next_token_logprobs(prompts, prompt.answers)
            seconds[name].append(time.perf_counter() - start)
            if name == "with":
                used = found.usage
        ratios.append(seconds["with"][-1] / seconds["without"][-1])
    return {
        "share": round(_shared(without, prompts), 4),
        "prompts": len(passages),
        "tokens": used.prompt_tokens,
        "tokens not computed again": used.cached_tokens,
        "seconds with": round(statistics.median(seconds["with"][1:]), 2),
        "seconds without": round(statistics.median(seconds["without"][1:]), 2),
        "time with / time without": round(statistics.median(ratios[1:]), 4),
    }


def _shared(model: TransformersModel, prompts: Sequence[Prompt]) -> float:
    """Share of the prompts' tokens that all begin with, counted on the tokens themselves."""
    ids = [model.encode(prompt) for prompt in prompts]
    common = next((at for at, tokens in enumerate(zip(*ids, strict=False)) if len(set(tokens)) > 1), min(map(len, ids)))
    return common * len(ids) / sum(map(len, ids))


def _said(repeat: int, query: str, background: Sequence[str]) -> str:
    """The query with what else a user says about it; each repeat begins anew, so that nothing is left over from the one before."""
    return f"{repeat}. {query} {' '.join(background)}"
