"""The FM-index against naive search and against the plain suffix array, and token suffixes against the package infini-gram.

The text is cpp-docs, documents end to end with a byte between them that no UTF-8 text has. The loops over the patterns run inside one
kernel each, take turns, and search for the same patterns of 4 to 64 bytes; figures are medians of the ratios of turns. The search of
many patterns side by side is measured on more than 500 MB: cpp-docs repeated, in each copy about every third word exchanged for another.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import memory
from benchmarks.one_by_one import find_one_by_one
from benchmarks.peers import infini_gram
from ragkit.indexes.kernels.backward import find
from ragkit.indexes.kernels.suffixes import suffix_ranges
from ragkit.indexes.ngram.fm_index import LAYOUTS, FMIndex
from ragkit.indexes.ngram.suffixes import end_to_end, sort_suffixes
from ragkit.indexes.ngram.tokens import TokenSuffixes

REPEATS = 5
TIMED = 20_000
"""Patterns that are timed; a fifth of them with a byte changed."""
CHECKED = 10_000
LARGE = 512 << 20
CHANGED = 0.3
CONTEXTS = 2000
FEW = 100
"""Occurrences up to which also the places are compared."""


def run(data: Path) -> dict[str, Any]:
    """Build, check and time both presets, and the token suffixes."""
    documents = documents_of(data)
    text = np.frombuffer(b"\xff".join(documents), np.uint8)
    rng = np.random.default_rng(5)
    ratios, quality, seconds, checked = _presets(text, documents, rng)
    with tempfile.TemporaryDirectory(prefix="ragkit-ngram-") as folder:
        ratios["peak_memory_vs_text"] = max(_peak(text, preset, Path(folder)) for preset in LAYOUTS)
    large = larger_text(text, LARGE, rng)
    ratios.update(_batches(large, rng))
    tokens = tokens_of(documents)
    start = time.perf_counter()
    token_index = TokenSuffixes.build(tokens)
    seconds["token suffixes"] = round(time.perf_counter() - start, 2)
    with tempfile.TemporaryDirectory(prefix="ragkit-ngram-") as folder:
        indexing = infini_gram.build(token_index, Path(folder))
        contexts = contexts_of(tokens, rng)
        quality["infini_gram_equal"] = infini_gram.share_equal(token_index, Path(folder), contexts)
        slower = infini_gram.times(token_index, Path(folder), contexts)
    ratios.update({f"{way.replace(' ', '_').replace('-', '_')}_vs_infini_gram": ratio for way, ratio in slower.items()})
    context = {
        "text": f"cpp-docs, {len(text):,} bytes of {len(documents):,} documents; {len(large):,} bytes for the batch",
        "tokens": f"{len(token_index):,} of docs-7m's tokenizer; {CONTEXTS:,} contexts",
        **checked,
        "patterns timed": f"{TIMED:,} of 4 to 64 bytes",
        "seconds": {**seconds, "infini-gram's indexing": round(indexing, 2)},
    }
    return {"benchmark": "ngram", "ratios": ratios, "quality": quality, "context": context}


def _presets(
    text: NDArray[np.uint8], documents: Sequence[bytes], rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, float], dict[str, float], dict[str, int]]:
    """Ratios, quality, seconds, and what was checked, of both presets over cpp-docs."""
    start = time.perf_counter()
    suffixes = sort_suffixes(text)
    sorting = time.perf_counter() - start
    suffixes.flags.writeable = False
    timed = patterns_of(text, TIMED, rng)
    checked = [*patterns_of(text, CHECKED, rng), *odd_patterns(documents, rng)]
    whole = text.tobytes()
    expected = [places(whole, pattern) for pattern in checked]
    ratios: dict[str, float] = {}
    mismatches, seconds = 0, {"suffix sorting": round(sorting, 2)}
    for preset, layout in LAYOUTS.items():
        start = time.perf_counter()
        index = FMIndex.of_suffixes(text, suffixes, layout)
        building = time.perf_counter() - start
        mismatches += _mismatches(index, checked, expected)
        times = _microseconds({
            "suffix array": lambda *out: suffix_ranges(text, suffixes, *out),
            "loop": lambda *out, index=index: find_one_by_one(index.fm, *out),
            "batch": lambda *out, index=index: find(index.fm, *out),
        }, timed)  # fmt: skip
        ratios[f"{preset}_size_vs_text"] = round(index.nbytes / len(text), 4)
        ratios[f"{preset}_count_vs_suffix_array"] = _ratio(times, "loop", "suffix array")
        ratios[f"{preset}_batch_count_vs_suffix_array"] = _ratio(times, "batch", "suffix array")
        ratios["build_vs_sorting"] = max(ratios.get("build_vs_sorting", 0.0), round((sorting + building) / sorting, 2))
        seconds[f"{preset} from sorted suffixes"] = round(building, 2)
        seconds[f"a million counts, {preset}"] = round(median(times["loop"]), 2)
    ratios["size_vs_text"] = ratios["compact_size_vs_text"]
    told = {"patterns checked": len(checked), "of them do not occur": sum(not count for count, _ in expected)}
    return ratios, {"mismatches": mismatches}, seconds, told


def _batches(text: NDArray[np.uint8], rng: np.random.Generator) -> dict[str, float]:
    """How much faster many patterns side by side are, of each preset."""
    suffixes = sort_suffixes(text)
    some = patterns_of(text, TIMED, rng)
    ratios: dict[str, float] = {}
    for preset, layout in LAYOUTS.items():
        index = FMIndex.of_suffixes(text, suffixes, layout)
        loops: dict[str, Callable[..., None]] = {
            "loop": lambda *out, index=index: find_one_by_one(index.fm, *out), "batch": lambda *out, index=index: find(index.fm, *out)
        }  # fmt: skip
        ratios[f"{preset}_batch_vs_loop"] = _ratio(_microseconds(loops, some), "loop", "batch")
    return {**ratios, "batch_vs_loop": ratios["fast_batch_vs_loop"]}


def documents_of(data: Path) -> list[bytes]:
    """The files of cpp-docs."""
    with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as files:
        return [opened.read() for member in files if (opened := files.extractfile(member)) is not None]


def tokens_of(documents: Sequence[bytes]) -> list[list[int]]:
    """The same documents as a small language model reads them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(os.environ.get("RAGKIT_MODELS", "../shared/models")) / "docs-7m")
    texts = [d.decode(errors="replace") for d in documents]
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return encoded


def contexts_of(tokens: Sequence[list[int]], rng: np.random.Generator) -> list[list[int]]:
    """Pieces of 1 to 12 tokens; of every fifth a token is another one of the corpus.

    The last token always occurs: for what follows nothing the peer starts more threads than a system gives, and dies.
    """
    found: list[list[int]] = []
    while len(found) < CONTEXTS:
        row = tokens[int(rng.integers(len(tokens)))]
        start, length = int(rng.integers(len(row) + 1)), int(rng.integers(1, 13))
        if piece := row[start : start + length]:
            if len(found) % 5 == 0:
                piece[int(rng.integers(len(piece)))] = row[int(rng.integers(len(row)))]
            found.append(piece)
    return found


def patterns_of(text: NDArray[np.uint8], n: int, rng: np.random.Generator) -> list[bytes]:
    """Pieces of 4 to 64 bytes; of every fifth a byte is another one."""
    found = []
    for i in range(n):
        length = int(rng.integers(4, 65))
        start = int(rng.integers(0, len(text) - length))
        piece = bytearray(text[start : start + length].tobytes())
        if i % 5 == 0:
            piece[int(rng.integers(length))] = int(rng.integers(1, 127))
        found.append(bytes(piece))
    return found


def odd_patterns(documents: Sequence[bytes], rng: np.random.Generator) -> list[bytes]:
    """Single bytes, random ones (also no UTF-8), such with NUL, and patterns longer than the document that they begin in."""
    single = [bytes([b]) for b in range(255)]  # 255 separates documents
    noise = [rng.integers(0, 255, rng.integers(2, 9)).astype(np.uint8).tobytes() for _ in range(500)]
    with_nul = [d[:k] + b"\0" + d[k : 2 * k] for d, k in zip(documents[:200], rng.integers(1, 20, 200).tolist(), strict=True)]
    longer = [d + b"\n" + documents[i + 1][:9] for i, d in enumerate(documents[:100])] + [d[-40:] + b"x" for d in documents[100:200]]
    cut = [d[5:].split("é".encode())[0] + "é".encode()[:1] for d in documents if "é".encode() in d[5:]][:50]  # ends within a character
    return [*single, *noise, *with_nul, *longer, *cut, *(d for d in documents[200:300] if d)]


def places(text: bytes, pattern: bytes) -> tuple[int, list[int]]:
    """(how often, the first of the places) by the plainest search; occurrences that overlap all count."""
    if len(pattern) == 1:
        return text.count(pattern), []
    count, found, at = 0, [], text.find(pattern)
    while at >= 0:
        count += 1
        if count <= FEW:
            found.append(at)
        at = text.find(pattern, at + 1)
    return count, found


def larger_text(text: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Copies of a text, each with other words."""
    pieces = re.findall(rb"[A-Za-z0-9_]+|[^A-Za-z0-9_]+", text.tobytes())
    vocabulary, ids = np.unique(np.array(pieces, dtype=object), return_inverse=True)
    word = np.array([piece[:1].isalnum() for piece in vocabulary])
    words, copies, made = ids[word[ids]], [], 0
    spelled = vocabulary.tolist()
    while made < size:
        copy = ids.copy()
        exchanged = word[copy] & (rng.random(len(copy)) < CHANGED)
        copy[exchanged] = rng.choice(words, int(exchanged.sum()))
        copies.append(b"".join([spelled[i] for i in copy.tolist()]))
        made += len(copies[-1])
    return np.frombuffer(b"".join(copies), np.uint8)


def _mismatches(index: FMIndex, patterns: Sequence[bytes], expected: Sequence[tuple[int, list[int]]]) -> int:
    """Patterns whose count or places are not those of the plain search."""
    lows, highs = index.find(patterns)
    wrong = 0
    for (count, found), low, high in zip(expected, lows.tolist(), highs.tolist(), strict=True):
        there = sorted(index.locate(low, high).tolist()) if found and count <= FEW else found
        wrong += count != high - low or (count <= FEW and there != found)
    return wrong


def _microseconds(loops: dict[str, Callable[..., None]], patterns: Sequence[bytes]) -> dict[str, list[float]]:
    """Of each turn, for a pattern; the first turn, which warms up, is left out, and all loops must count the same."""
    given, starts = end_to_end(patterns)
    times: dict[str, list[float]] = {name: [] for name in loops}
    counts: dict[str, NDArray[np.int64]] = {}
    for turn in range(REPEATS + 1):
        for name, loop in loops.items():
            lows, highs = np.empty((2, len(patterns)), np.int64)
            start = time.perf_counter()
            loop(given, starts, lows, highs)
            if turn:
                times[name].append((time.perf_counter() - start) / len(patterns) * 1e6)
            counts[name] = highs - lows
    first = next(iter(counts.values()))
    if not all((count == first).all() for count in counts.values()):
        raise RuntimeError("the searches that are timed do not count the same")
    return times


def _ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    return round(median(a / b for a, b in zip(times[one], times[other], strict=True)), 3)


def _peak(text: NDArray[np.uint8], preset: str, folder: Path) -> float:
    """The most memory that building takes in a process of its own, the text included, as a multiple of the text."""
    np.save(folder / "text.npy", text)
    code = f"from benchmarks.ngram import build_alone; build_alone({str(folder / 'text.npy')!r}, {preset!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return round(float(done.stdout) / len(text), 2)


def build_alone(path: str, preset: str) -> None:
    """Print the bytes that reading a text and building its index added to what the process took before."""
    FMIndex.build(np.frombuffer(b"warm up", np.uint8), preset)  # type: ignore[arg-type]
    before = memory("VmHWM")
    FMIndex.build(np.load(path), preset)  # type: ignore[arg-type]
    print(memory("VmHWM") - before)
