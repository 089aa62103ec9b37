"""Speculative decoding: passages retrieved from cpp-docs and a beginning to go on with, by docs-7m, against writing a token at a time.

The model has seen neither the files that are gone on with nor, here, has the corpus: it is cpp-docs without them. All is timed whole:
reading the prompt, cutting passages into tokens, drafting, writing. Texts that go round in circles, as small models' do, don't count.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.continuing import WRITTEN, Task, distinct_4_grams, files, models, target, tasks
from ragkit.generation.speculative.draft_model import DraftModel
from ragkit.generation.speculative.fused import Fused
from ragkit.generation.speculative.infinity_gram import InfinityGramDrafter
from ragkit.generation.speculative.rasd import RASD
from ragkit.generation.speculative.rest import REST
from ragkit.generation.speculative.suffix_automaton import SuffixAutomatonDrafter
from ragkit.generation.speculative.token_recycling import TokenRecycling
from ragkit.generation.speculative.tri_gram import TriGramDrafter
from ragkit.generation.types import Completion, Sources
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.tokens import TokenSuffixes
from ragkit.loaders.beir import load_beir

DISTINCT = 0.7
ROUNDS = 3
UNRELATED = 40
"""Texts of the workload without overlap: drawn at a temperature at which the model repeats nothing, behind passages of another field."""
HOT = 1.5
LOOKUPS = [(3, 2), (5, 2), (10, 2), (10, 3), (20, 3)]
"""(tokens, longest n-gram) that transformers' prompt lookup is tried with; the fastest counts."""

Write = Callable[[int], tuple[list[int], Any]]
"""Writes a task's text: its tokens, and the report if there is one."""


def run(data: Path) -> dict[str, Any]:
    """Time every drafter alone and together, and transformers itself."""
    seen, unseen = files(data)
    plain = target(prefix_cache=False)
    tokenizer = plain.tokens.tokenizer
    corpus = TokenSuffixes.build(tokenizer(list(seen.values()), add_special_tokens=False, verbose=False)["input_ids"])
    every = tasks(seen, unseen, tokenizer)
    texts = [_tokens(plain, plain.generate([t.prompt], max_tokens=WRITTEN)[0]) for t in every]
    counted = [t for t, text in zip(every, texts, strict=True) if distinct_4_grams(text) >= DISTINCT]
    expected = [text for text in texts if distinct_4_grams(text) >= DISTINCT]

    small = DraftModel(str(models() / "docs-1m"))
    presets: dict[str, Any] = {
        "passages": SuffixAutomatonDrafter(),
        "corpus": REST(),
        "recycled": TokenRecycling(),
        "infinity-gram": InfinityGramDrafter(InfinityGram(corpus)),
        "tri-grams": TriGramDrafter(),
        "draft model": small,
        "RASD": RASD(small, REST()),
        "passages + corpus": "corpus",
        "auto": "auto",
        "auto + draft model": Fused(SuffixAutomatonDrafter(), REST(), TokenRecycling(), small),
    }
    systems: dict[str, Write] = {"plain": _ours(plain, counted, corpus)}
    systems |= {name: _ours(target(prefix_cache=False, speculate=s), counted, corpus) for name, s in presets.items()}
    lookups = _transformers(plain, counted)
    systems["transformers"] = lookups.pop("transformers")
    tried = _timed(lookups, len(counted), rounds=1)[0]
    fastest = min(tried, key=lambda name: tried[name])
    systems[fastest] = lookups[fastest]
    seconds, written, reports = _timed(systems, len(counted))
    mismatches = {name: sum(w != e for w, e in zip(texts, expected, strict=True)) for name, texts in written.items()}
    n_tokens = sum(map(len, expected))
    per_pass = {name: (n_tokens - len(expected)) / sum(r.passes for r in reports[name]) for name in presets}
    unrelated, parted = _unrelated(data, every, corpus)
    auto = reports["auto"]
    return {
        "benchmark": "speculate",
        "ratios": {
            "tokens_per_target_pass": round(per_pass["auto"], 2),
            "wallclock_vs_plain": round(seconds["plain"] / seconds["auto"], 2),
            "wallclock_vs_hf_plain": round(seconds["transformers"] / seconds["auto"], 2),
            "wallclock_vs_hf_prompt_lookup": round(seconds[fastest] / seconds["auto"], 2),
            "worst_case_vs_plain": round(unrelated, 3),
        },
        "quality": {
            "mismatches": sum(n for name, n in mismatches.items() if not name.startswith("transformers")),
            "drawn texts that part": f"{parted} of {ROUNDS * UNRELATED}",
            "mismatches of transformers": sum(n for name, n in mismatches.items() if name.startswith("transformers")),
            "tokens per pass": {name: round(x, 2) for name, x in per_pass.items()},
            "times as fast as plain": {name: round(seconds["plain"] / seconds[name], 2) for name in seconds},
            "accepted by source, of auto": dict(sum((Counter(r.accepted) for r in auto), Counter[str]())),
            "paths at least so long, of auto": np.sum([np.pad(r.depths, (0, 64 - len(r.depths))) for r in auto], axis=0)[:16].tolist(),
            "share of tokens with a passage, of auto": round(
                sum(x.end - x.start for r in auto for x in r.runs if x.passage is not None) / n_tokens, 3
            ),
        },
        "context": {
            "texts": f"{len(counted)} of {len(every)} continuations, whose 4-grams are different by {DISTINCT:.0%} or more",
            "tokens": f"{n_tokens:,} written; prompts of {sum(len(plain.encode(t.prompt)) for t in counted) / len(counted):.0f} on average",
            "corpus": f"{len(corpus):,} tokens of {len(seen):,} files",
            "without overlap": f"{UNRELATED} texts drawn at temperature {HOT} behind passages of scifact",
            "rounds": ROUNDS,
            "prompt lookup tried with": {name.rpartition(" ")[2]: round(s, 2) for name, s in tried.items()},
            "seconds": {name: round(s, 2) for name, s in seconds.items()},
            "seconds of auto": {
                part: round(sum(r.seconds[part] for r in auto), 3) for part in auto[0].seconds
            },
            "tokens drafted a pass, of auto": round(sum(r.drafted for r in auto) / sum(r.passes for r in auto), 1),
        },
    }  # fmt: skip


def _ours(model: Any, counted: list[Task], corpus: TokenSuffixes) -> Write:
    sources = [Sources(t.passages, corpus) for t in counted]

    def write(i: int) -> tuple[list[int], Any]:
        (done,) = model.generate([counted[i].prompt], max_tokens=WRITTEN, sources=[sources[i]])
        return _tokens(model, done), done.speculation

    return write


def _tokens(model: Any, done: Completion) -> list[int]:
    """What was written, as tokens of its text."""
    found: list[int] = model.tokens.continuing(done.text)
    return found


def _transformers(plain: Any, counted: list[Task]) -> dict[str, Write]:
    """transformers' own loop, with the weights as it loads them."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models() / "docs-7m", dtype=torch.float32).eval()
    model.generation_config.pad_token_id = 1

    def writes(**how: Any) -> Write:
        def write(i: int) -> tuple[list[int], Any]:
            ids = torch.tensor([plain.encode(counted[i].prompt)])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN, do_sample=False, **how)
            text = plain.tokens.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            return plain.tokens.continuing(text), None

        return write

    looked = {
        f"transformers, prompt lookup {n}/{gram}": {"prompt_lookup_num_tokens": n, "max_matching_ngram_size": gram} for n, gram in LOOKUPS
    }
    return {"transformers": writes(), **{name: writes(**how) for name, how in looked.items()}}


def _timed(
    systems: dict[str, Write], count: int, *, rounds: int = ROUNDS
) -> tuple[dict[str, float], dict[str, list[list[int]]], dict[str, list[Any]]]:
    """(seconds of all texts, median of the rounds; the texts and the reports of the last round), by system; systems take turns."""
    times: list[dict[str, float]] = []
    written: dict[str, list[list[int]]] = {}
    reports: dict[str, list[Any]] = {}
    for _ in range(rounds):
        seconds = dict.fromkeys(systems, 0.0)
        written, reports = {name: [] for name in systems}, {name: [] for name in systems}
        for i in range(count):
            for name, write in systems.items():
                began = time.perf_counter()
                text, report = write(i)
                seconds[name] += time.perf_counter() - began
                written[name].append(text)
                reports[name].append(report)
        times.append(seconds)
    return {name: statistics.median(r[name] for r in times) for name in systems}, written, reports


def _unrelated(data: Path, every: list[Task], corpus: TokenSuffixes) -> tuple[float, int]:
    """(time of plain writing over that of "auto" where there is nothing to copy, median over rounds; texts that were not the same)."""
    passages = [d.text for d in islice(load_beir(data / "scifact"), 2 * UNRELATED)]
    pair = target(prefix_cache=False), target(prefix_cache=False, speculate="auto", batch_tokens=4096)  # one that has learnt nothing yet
    ratios, parted = [], 0
    for round_ in range(ROUNDS):
        seconds = [0.0, 0.0]
        for i in range(UNRELATED):
            beginning = every[3 * i % len(every)].prompt.rsplit("\n\n", 1)[-1]
            sources = [Sources((passages[2 * i], passages[2 * i + 1]), corpus)]
            asked = ["\n\n".join([*sources[0].passages, beginning])[-1200:]]
            texts = {}
            for which in (0, 1) if i % 2 else (1, 0):
                began = time.perf_counter()
                (done,) = pair[which].generate(asked, max_tokens=WRITTEN, temperature=HOT, seed=1000 * round_ + i, sources=sources)
                seconds[which] += time.perf_counter() - began
                texts[which] = done.text
            parted += texts[0] != texts[1]
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios), parted
