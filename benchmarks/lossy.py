"""RAPID: docs-7m goes on from three passages and the beginning of a file, a draft model from the best passage alone, by eta.

How much more is taken than of plain speculative sampling (eta 0), what it does to the text, and what it does to the time.
"""

from __future__ import annotations

import time
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any

from benchmarks.continuing import files, models, target, tasks
from ragkit.generation.speculative.rapid import RAPID
from ragkit.generation.types import Sources

TEXTS, WRITTEN = 10, 40
ETAS = (0.0, 5.0, 10.0, 20.0)


def run(data: Path) -> dict[str, Any]:
    """Most probable and drawn texts with every eta, by the small model and by the model itself as draft model."""
    plain = target()
    asked = [t for t in tasks(*files(data), plain.tokens.tokenizer) if len(t.passages) > 1]
    asked = asked[:: max(1, len(asked) // TEXTS)][:TEXTS]
    sources = [Sources(t.passages, short="\n\n".join([t.passages[0], t.beginning])) for t in asked]
    systems = {"plain": plain}
    for name, model in (("docs-1m", str(models() / "docs-1m")), ("docs-7m", plain)):
        systems |= {f"{name}, eta {eta:g}": plain.drafting(RAPID(model, eta=eta), allow_lossy=True) for eta in ETAS}
    seconds = dict.fromkeys(systems, 0.0)
    texts: dict[str, list[list[int]]] = {name: [] for name in systems}
    drawn: dict[str, list[Any]] = {name: [] for name in systems}
    for i, task in enumerate(asked):
        for name, model in systems.items():
            began = time.perf_counter()
            (done,) = model.generate([task.prompt], max_tokens=WRITTEN, sources=[sources[i]])
            seconds[name] += time.perf_counter() - began
            texts[name].append(model.tokens.continuing(done.text))
            drawn[name].append(
                model.generate([task.prompt], max_tokens=WRITTEN, temperature=1.0, seed=i, sources=[sources[i]])[0].speculation
            )
    del drawn["plain"]
    per_pass = {name: sum(r.tokens for r in reports) / sum(r.passes for r in reports) for name, reports in drawn.items()}
    first = {name: [right(r.depths, r.passes) for r in reports] for name, reports in drawn.items()}
    alike = {name: sum(common(a, b) for a, b in zip(found, texts["plain"], strict=True)) / len(asked) for name, found in texts.items()}
    return {
        "benchmark": "lossy",
        "ratios": {f"time of plain over {name}": round(seconds["plain"] / s, 2) for name, s in seconds.items() if name != "plain"},
        "quality": {
            "share of passes whose first drafted token is taken, drawn": {n: round(sum(x) / len(x), 3) for n, x in first.items()},
            "tokens per pass, drawn": {name: round(x, 2) for name, x in per_pass.items()},
            "tokens until the most probable text parts from plain": {name: round(x, 1) for name, x in alike.items() if name != "plain"},
        },
        "context": {"texts": f"{len(asked)}, of {WRITTEN} tokens at most", "passages": "3 of 256 tokens together, and the best of them"},
    }


def right(depths: tuple[int, ...], passes: int) -> float:
    """Share of passes that took a token at least."""
    return depths[0] / passes if depths else 0.0


def common(a: list[int], b: list[int]) -> int:
    """Tokens that two texts begin with."""
    return sum(takewhile(bool, map(eq, a, b)))
