"""Speculative decoding: passages retrieved from cpp-docs and a beginning to go on with, by docs-7m, against writing a token at a time.

The model has seen neither the files that are gone on with nor, here, has the corpus: it is cpp-docs without them. All is timed whole:
reading the prompt, cutting passages into tokens, drafting, writing. Texts that go round in circles, as small models' do, don't count.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
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
from ragkit.generation.types import Sources
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.tokens import TokenSuffixes
from ragkit.loaders.beir import load_beir

DISTINCT = 0.7
ROUNDS = 3
MAIN = ("plain", "auto", "transformers")
"""Timed in every round, beside the fastest prompt lookup; the others in the first."""
UNRELATED = 40
"""Texts of the workload without overlap: drawn at a temperature at which the model repeats nothing, behind passages of another field."""
HOT = 1.5
LOOKUPS = [(3, 2), (5, 2), (10, 2), (10, 3), (20, 3)]
"""(tokens, longest n-gram) that transformers' prompt lookup is tried with; the fastest counts."""
LOOKED = [f"transformers, prompt lookup {n}/{gram}" for n, gram in LOOKUPS]

Write = Callable[[int], tuple[str, Any]]
"""Writes a task's text; beside it the completion, where it is ours."""


def run(data: Path) -> dict[str, Any]:
    """Time every drafter alone and together, and transformers itself."""
    seen, unseen = files(data)
    plain = target()
    tokenizer = plain.tokens.tokenizer
    corpus = TokenSuffixes.build(tokenizer(list(seen.values()), add_special_tokens=False, verbose=False)["input_ids"])
    every = tasks(seen, unseen, tokenizer)
    done = [plain.generate([t.prompt], max_tokens=WRITTEN)[0] for t in every]
    kept = [i for i, c in enumerate(done) if distinct_4_grams(plain.tokens.continuing(c.text)) >= DISTINCT]
    counted, expected = [every[i] for i in kept], [done[i].text for i in kept]
    n_tokens = sum(done[i].usage.generated_tokens for i in kept)
    for drafts in _presets(corpus).values():  # code is compiled, and the draft model loaded, before anything is timed
        plain.drafting(drafts).generate(["A pump and a valve."], max_tokens=32, sources=[Sources(("A valve and a pump.",), corpus)])
    timed = {name: _Timed() for name in ("plain", *_presets(corpus), "transformers", *LOOKED)}
    fastest = ""
    for round_ in range(ROUNDS):
        # drafters that learn begin anew in each round: none has seen these texts before
        systems = {"plain": _ours(plain, counted, corpus)}
        systems |= {name: _ours(plain.drafting(s), counted, corpus) for name, s in _presets(corpus).items()}
        systems |= _transformers(plain, counted)
        if round_:
            systems = {name: systems[name] for name in (*MAIN, fastest)}
        _time(systems, len(counted), timed)
        fastest = min(LOOKED, key=lambda name: timed[name].seconds[0])
    seconds = {name: t.median for name, t in timed.items()}
    first = {name: t.seconds[0] for name, t in timed.items()}
    mismatches = {name: sum(text != expected[i] for i, text in t.texts) for name, t in timed.items()}
    reports = {name: [c.speculation for c in timed[name].completions] for name in _presets(corpus)}
    per_pass = {name: (n_tokens - len(expected)) / sum(r.passes for r in found) for name, found in reports.items()}
    unrelated, parted = _unrelated(data, plain, every, corpus)
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
            "times as fast as plain": {
                name: round(first["plain"] / s, 2) for name, s in first.items() if name not in LOOKED or name == fastest
            },
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
            "rounds": f"{ROUNDS}, of which the median; the first alone for all but plain, auto, transformers and its fastest prompt lookup",
            "prompt lookup tried with": {name.rpartition(" ")[2]: round(first[name], 2) for name in LOOKED},
            "seconds": {name: round(s, 2) for name, s in seconds.items() if name not in LOOKED or name == fastest},
            "seconds of auto": {
                part: round(sum(r.seconds[part] for r in auto), 3) for part in auto[0].seconds
            },
            "tokens drafted a pass, of auto": round(sum(r.drafted for r in auto) / sum(r.passes for r in auto), 1),
        },
    }  # fmt: skip


def _presets(corpus: TokenSuffixes) -> dict[str, Any]:
    """What is compared, made anew."""
    small = DraftModel(str(models() / "docs-1m"))
    return {
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


def _ours(model: Any, counted: list[Task], corpus: TokenSuffixes) -> Write:
    sources = [Sources(t.passages, corpus) for t in counted]

    def write(i: int) -> tuple[str, Any]:
        (done,) = model.generate([counted[i].prompt], max_tokens=WRITTEN, sources=[sources[i]])
        return done.text, done

    return write


def _transformers(plain: Any, counted: list[Task]) -> dict[str, Write]:
    """transformers' own loop, with the weights as it loads them."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(models() / "docs-7m", dtype=torch.float32).eval()
    model.generation_config.pad_token_id = 1

    def writes(**how: Any) -> Write:
        def write(i: int) -> tuple[str, Any]:
            ids = torch.tensor([plain.encode(counted[i].prompt)])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN, do_sample=False, **how)
            return plain.tokens.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True), None

        return write

    how = [{"prompt_lookup_num_tokens": n, "max_matching_ngram_size": gram} for n, gram in LOOKUPS]
    return {"transformers": writes(), **{name: writes(**one) for name, one in zip(LOOKED, how, strict=True)}}


@dataclass
class _Timed:
    """Of one system.

    seconds      of all texts, by round
    texts        (task, text), of all rounds
    completions  of the last round, where they are ours
    """

    seconds: list[float] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    completions: list[Any] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def _time(systems: dict[str, Write], count: int, timed: dict[str, _Timed]) -> None:
    """One round; systems take turns, so that a slower minute of the machine meets all."""
    for name in systems:
        timed[name].seconds.append(0.0)
        timed[name].completions.clear()
    for i in range(count):
        for name, write in systems.items():
            began = time.perf_counter()
            text, done = write(i)
            timed[name].seconds[-1] += time.perf_counter() - began
            timed[name].texts.append((i, text))
            timed[name].completions.append(done)


def _unrelated(data: Path, plain: Any, every: list[Task], corpus: TokenSuffixes) -> tuple[float, int]:
    """(time of plain writing over that of "auto" where there is nothing to copy, median over rounds; texts that were not the same)."""
    passages = [d.text for d in islice(load_beir(data / "scifact"), 2 * UNRELATED)]
    ratios, parted = [], 0
    for round_ in range(ROUNDS):
        pair = plain, plain.drafting("auto")
        seconds = [0.0, 0.0]
        for i in range(UNRELATED):
            told = passages[2 * i], passages[2 * i + 1]
            asked = "\n\n".join([*told, every[3 * i % len(every)].beginning])[-1200:]
            texts = {}
            for which in (0, 1) if i % 2 else (1, 0):
                began = time.perf_counter()
                (done,) = pair[which].generate(
                    [asked], max_tokens=WRITTEN, temperature=HOT, seed=1000 * round_ + i, sources=[Sources(told, corpus)]
                )
                seconds[which] += time.perf_counter() - began
                texts[which] = done.text
            parted += texts[0] != texts[1]
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios), parted
