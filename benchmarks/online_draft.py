"""A draft model that learns from a stream of texts: docs-1m drafts for docs-7m, which writes pages on compiler errors.

The draft model drafts the first part of the stream and learns from it, with updates as they fall due, and then drafts the second part, with
what it has learnt and without. Greedy texts of so small a model go round in circles of their field's own, which are easily learnt; texts
drawn at temperature 1 don't, and are drafted by drawing. Pages of another field tell what is forgotten meanwhile. Drafts are chains of four
tokens, all of which are verified, so that no figure but the seconds depends on the machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.continuing import distinct_4_grams, files, models, target
from ragkit.generation.speculative.costs import Costs
from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.generation.speculative.online import OnlineDraft
from ragkit.generation.speculative.speculator import Speculator
from ragkit.generation.types import Sources

DOMAIN, OTHER = "docs/error-messages/compiler-errors-2", "docs/mfc"
LEARNT, MEASURED, ELSEWHERE = 48, 20, 10
"""Texts of the stream's first part, of its second, and of another field."""
BEGINNING, WRITTEN = 64, 48
DEPTH, EVERY = 4, 1024


class _Even(Costs):
    """Passes that all cost the same: whatever is drafted is verified."""

    @property
    def plain(self) -> float:
        return 1e6

    @property
    def table(self) -> NDArray[np.float64]:
        return np.full(self._most, 1e6)


def run(data: Path) -> dict[str, Any]:
    """Draft a stream of texts, learn from its first part, and measure on the second; greedy texts, and drawn ones."""
    plain = target()
    seen, _ = files(data)
    stream = _beginnings(seen, DOMAIN, LEARNT + MEASURED, plain.tokens.tokenizer)
    elsewhere = _beginnings(seen, OTHER, ELSEWHERE, plain.tokens.tokenizer)
    found = {kind: _streamed(stream, elsewhere, kind == "drawn") for kind in ("greedy", "drawn")}
    expected = [plain.generate([p], max_tokens=WRITTEN)[0].text for p in stream[LEARNT:]]
    greedy = found["greedy"]
    return {
        "benchmark": "online_draft",
        "ratios": {
            f"{measure}_vs_untaught_{kind}": round(parts["taught"].figures[name] / parts["untaught"].figures[name], 2)
            for kind, parts in found.items() for measure, name in (("tokens_per_pass", "tokens per pass"), ("taken", "taken"))
        },
        "quality": {
            "mismatches of greedy texts": sum(
                a != e for part in ("untaught", "taught") for a, e in zip(greedy[part].texts, expected, strict=True)
            ),
            **{f"{kind}, {part}": one.figures for kind, parts in found.items() for part, one in parts.items()},
        },
        "context": {
            "texts": f"{LEARNT} to learn from and {MEASURED} to measure on, of {DOMAIN}; {ELSEWHERE} of {OTHER}; {WRITTEN} tokens each",
            "taken": "share of the drafted tokens, in chains of four",
            "different 4-grams": {
                kind: round(float(np.mean([distinct_4_grams(plain.tokens.continuing(t)) for t in parts["taught"].texts])), 2)
                for kind, parts in found.items()
            },
        },
    }  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """What was written of one part of a stream, and how its drafts did."""

    texts: list[str]
    figures: dict[str, float]


def _streamed(stream: list[str], elsewhere: list[str], drawn: bool) -> dict[str, _Part]:
    """The stream with a draft model that stays as it is, and with one that learns."""
    draft = DraftModel(str(models() / "docs-1m"), depth=DEPTH, branches=1, drawn=drawn)
    first, second = stream[:LEARNT], stream[LEARNT:]
    out = {"untaught": _write(draft, second, drawn), "untaught, elsewhere": _write(draft, elsewhere, drawn)}
    learning = OnlineDraft(draft, every=EVERY)
    began = time.perf_counter()
    while_learning = _write(learning, first, drawn, learn="stream")
    learning.update()
    more = {"seconds": round(time.perf_counter() - began, 1), "updates": learning.updates, "taken back": learning.rolled_back}
    out["while it learns"] = _Part(while_learning.texts, {**while_learning.figures, **more, "places": learning.recorded})
    learning.every = None
    return {**out, "taught": _write(learning, second, drawn), "taught, elsewhere": _write(learning, elsewhere, drawn)}


def _write(drafter: Any, prompts: list[str], drawn: bool, learn: str = "") -> _Part:
    model = target().drafting(drafter)
    model._speculator = Speculator([drafter], width=model.net.width, ends=model.ends, timed=_Even)
    done = [
        model.generate([p], max_tokens=WRITTEN, temperature=float(drawn), seed=seed, sources=[Sources(learn=learn)])[0]
        for seed, p in enumerate(prompts)
    ]  # fmt: skip
    reports = [c.speculation for c in done]
    taken, drafted = sum(sum(r.accepted.values()) for r in reports), sum(r.drafted for r in reports)
    per_pass = sum(r.tokens - 1 for r in reports) / sum(r.passes for r in reports)
    return _Part([c.text for c in done], {"taken": round(taken / drafted, 3), "tokens per pass": round(per_pass, 2)})


def _beginnings(texts: dict[str, str], folder: str, count: int, tokenizer: Any) -> list[str]:
    """Of the files of a folder, in an order drawn at random."""
    names = [n for n in texts if str(Path(n).parent) == folder]
    chosen = np.random.default_rng(7).permutation(len(names))[:count]
    ids = [tokenizer(texts[names[i]], add_special_tokens=False, verbose=False)["input_ids"][:BEGINNING] for i in chosen]
    return [tokenizer.decode(i) for i in ids]
