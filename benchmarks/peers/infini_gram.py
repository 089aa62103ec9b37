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
_USUAL = 1000
"""Occurrences that it looks at unless told otherwise."""
REPEATS = 5


def build(index: TokenSuffixes, folder: Path) -> float:
    """Write its index into a folder; the seconds that it took. Tokens must fit two bytes."""
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
    return time.perf_counter() - start


def _engine(folder: Path, support: int) -> Any:
    package = need("infini_gram.engine", extra="bench", why="the comparison of next tokens")
    return package.InfiniGramEngine(str(folder / "index"), eos_token_id=_END, vocab_size=_END + 1, load_to_ram=True, max_support=support)


def share_equal(index: TokenSuffixes, folder: Path, contexts: Sequence[list[int]]) -> float:
    """Share of contexts for which all counts are the same, every occurrence looked at."""
    ours, peer = InfinityGram(index), _engine(folder, _ALL)
    equal = sum(
        peer.count(c)["count"] == int(index.count([c])[0])
        and _same(peer.ntd(c), ours.next_tokens(c), peer_length=len(c))
        and _same(found := peer.infgram_ntd(c), ours.infinity_next_tokens(c), peer_length=found["suffix_len"])
        for c in contexts
    )
    return float(equal / len(contexts))


def times(index: TokenSuffixes, folder: Path, contexts: Sequence[list[int]]) -> dict[str, float]:
    """What ragkit's answers take as a share of the time of the peer's, both with the peer's usual support: so it is at its best."""
    ours, peer = InfinityGram(index, support=_USUAL), _engine(folder, _USUAL)
    ways: dict[str, tuple[Callable[[list[int]], Any], Callable[[list[int]], Any]]] = {
        "count": (index.interval, peer.count),
        "next tokens": (ours.next_tokens, peer.ntd),
        "infinity-gram next tokens": (ours.infinity_next_tokens, peer.infgram_ntd),
    }
    return {name: _ratio(one, other, contexts) for name, (one, other) in ways.items()}


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
