"""The package infini-gram over the same tokens: a file in its format, indexed by its own program, asked through its own engine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ragkit.indexes.ngram.infinity_gram import InfinityGram, NextTokens
from ragkit.indexes.ngram.tokens import SEPARATOR, TokenSuffixes
from ragkit.registry import need

_END = (1 << 16) - 2
"""What it is told to call the end of a document; no token of the corpus."""
_ALL = 1 << 31
REPEATS = 5


def engine(index: TokenSuffixes, folder: Path) -> tuple[Any, float]:
    """Its engine, and the seconds that its indexing took; tokens must fit two bytes."""
    package = need("infini_gram.engine", extra="bench", why="the comparison of next tokens")
    source, target = folder / "source", folder / "index"
    for made in (source, target):
        made.mkdir()
    np.where(index.tokens == SEPARATOR, (1 << 16) - 1, index.tokens).astype("<u2").tofile(target / "tokenized.0")
    separators = np.flatnonzero(index.tokens == SEPARATOR)  # one more than documents: the last one separates an empty document
    (separators * 2).astype("<u8").tofile(target / "offset.0")
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "infini_gram.indexing", "--data_dir", source, "--save_dir", target,
         "--mem", "8", "--ulimit", "1024", "--cpus", "1"],  # with two, small files come out in the wrong order
        check=True, capture_output=True,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return package.InfiniGramEngine(str(target), eos_token_id=_END, vocab_size=_END + 1, load_to_ram=True, max_support=_ALL), seconds


def compare(index: TokenSuffixes, peer: Any, contexts: Sequence[list[int]]) -> tuple[float, dict[str, float]]:
    """Share of contexts for which all counts are the same, and what ragkit's answers take as a share of the time of the peer's."""
    ours = InfinityGram(index)
    equal = sum(
        peer.count(c)["count"] == int(index.count([c])[0])
        and _same(peer.ntd(c), ours.next_tokens(c), peer_length=len(c))
        and _same(found := peer.infgram_ntd(c), ours.infinity_next_tokens(c), peer_length=found["suffix_len"])
        for c in contexts
    )
    ways: dict[str, tuple[Callable[[list[int]], Any], Callable[[list[int]], Any]]] = {
        "count": (index.interval, peer.count),
        "next tokens": (ours.next_tokens, peer.ntd),
        "infinity-gram next tokens": (ours.infinity_next_tokens, peer.infgram_ntd),
    }
    return equal / len(contexts), {name: _ratio(one, other, contexts) for name, (one, other) in ways.items()}


def _same(theirs: dict[str, Any], ours: NextTokens, peer_length: int) -> bool:
    """Whether two answers hold the same tokens with the same counts, behind as much of the context."""
    tokens = np.where(ours.following.tokens == SEPARATOR, _END, ours.following.tokens)
    counts = dict(zip(tokens.tolist(), ours.following.counts.tolist(), strict=True))
    found = {token: result["cont_cnt"] for token, result in theirs["result_by_token_id"].items()}
    return not theirs["approx"] and theirs["prompt_cnt"] == ours.following.total and found == counts and peer_length == ours.length


def _ratio(one: Callable[[list[int]], Any], other: Callable[[list[int]], Any], contexts: Sequence[list[int]]) -> float:
    """Median over turns of the time of one by that of the other, a context after the other."""
    ratios = []
    for turn in range(REPEATS + 1):
        seconds = []
        for call in (one, other):
            start = time.perf_counter()
            for context in contexts:
                call(context)
            seconds.append(time.perf_counter() - start)
        if turn:
            ratios.append(seconds[0] / seconds[1])
    return round(median(ratios), 3)
