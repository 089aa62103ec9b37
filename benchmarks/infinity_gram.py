"""The infinity-gram model on files that neither it nor the language model has seen: the tokens it foretells, and what mixing the two gains.

The corpus is cpp-docs without the 66 files that docs-7m was not trained on. Weights are fitted on every other one of these; the rest is
measured.
"""

from __future__ import annotations

import os
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ragkit import llm
from ragkit.generation.local.scoring import token_logprobs
from ragkit.indexes.ngram.infinity_gram import InfinityGram
from ragkit.indexes.ngram.mixture import LENGTHS, Mixture, perplexity
from ragkit.indexes.ngram.tokens import TokenSuffixes


def run(data: Path) -> dict[str, Any]:
    """Score the held-out files by both models."""
    folder = Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m"
    held_out = set((folder / "held-out-files.txt").read_text().split())
    with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as files:
        texts = {m.name: opened.read().decode(errors="replace") for m in files if (opened := files.extractfile(m)) is not None}
    model: Any = llm(str(folder))
    names = sorted(texts)
    encoded = model.tokens.tokenizer([texts[n] for n in names], add_special_tokens=False, verbose=False)["input_ids"]
    tokens = dict(zip(names, encoded, strict=True))
    ngram = InfinityGram(TokenSuffixes.build([tokens[n] for n in names if n not in held_out]))
    left = [n for n in names if n in held_out]
    start = time.perf_counter()
    counted = {n: ngram.score(tokens[n]) for n in left}
    seconds = {"infinity-gram": round(time.perf_counter() - start, 1)}
    start = time.perf_counter()
    neural = {n: token_logprobs(model, tokens[n]) for n in left}
    seconds["docs-7m"] = round(time.perf_counter() - start, 1)
    fitted_on, measured = left[::2], left[1::2]
    mixture = Mixture.fit([counted[n] for n in fitted_on], [neural[n] for n in fitted_on])
    alone = perplexity([neural[n] for n in measured])
    mixed = perplexity([mixture.logprobs(counted[n], neural[n]) for n in measured])
    agreed, sparse, lengths = (np.concatenate([getattr(counted[n], field) for n in measured]) for field in ("agreed", "sparse", "lengths"))
    quality: dict[str, Any] = {
        "perplexity of docs-7m": round(alone, 3),
        "perplexity of the mixture": round(mixed, 3),
        "next-token agreement": round(float(agreed.mean()), 4),
        "next-token agreement where sparse": round(float(agreed[sparse].mean()), 4),
        "share of sparse contexts": round(float(sparse.mean()), 4),
        "next-token agreement by length": {
            f"{low} or more": [round(float(agreed[lengths >= low].mean()), 4), int((lengths >= low).sum())] for low in LENGTHS[1:]
        },
    }
    context = {
        "corpus": f"{len(ngram):,} tokens of {len(names) - len(left):,} files",
        "measured": f"{len(agreed):,} tokens of {len(measured)} files; weights fitted on {len(fitted_on)} others",
        "docs-7m": "windows of 512 tokens, of which 256 are taken",
        "seconds": seconds,
    }
    return {
        "benchmark": "infinity_gram",
        "ratios": {"perplexity_vs_docs_7m": round(mixed / alone, 4)},
        "quality": quality,
        "context": context,
    }
