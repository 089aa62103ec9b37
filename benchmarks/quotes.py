"""Quotes and evaluation sets looked up in cpp-docs: altered quotes found, true ones left alone, planted questions found whole."""

from __future__ import annotations

import gzip
import json
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ngram import documents_of
from ragkit import Collection, Document, NGram, contamination, verify_quotes
from ragkit.text.folding import Folding

CASES = 2000
"""Quotes that are true, and as many that are altered."""
SHORTEST, LONGEST = 20, 200
PLANTED = 0.05
_MARKS = set('"“”„«»「」')


def run(data: Path) -> dict[str, Any]:
    """Index cpp-docs with some questions planted in it, and look everything up."""
    rng = np.random.default_rng(11)
    texts = [d.decode(errors="replace") for d in documents_of(data)]
    lines = gzip.decompress((data / "nq-open" / "dev.jsonl.gz").read_bytes()).decode().splitlines()
    questions = {q["_id"]: q["text"] for q in map(json.loads, lines)}
    planted = sorted(rng.choice(sorted(questions), round(PLANTED * len(questions)), replace=False).tolist())
    pages = list(texts)
    for id in planted:
        page = int(rng.integers(len(pages)))
        at = int(rng.integers(len(pages[page]) + 1))
        pages[page] = f"{pages[page][:at]} {questions[id]}? {pages[page][at:]}"
    with tempfile.TemporaryDirectory(prefix="ragkit-quotes-") as scratch:
        made = Collection.create(Path(scratch, "c"), indexes=[NGram()], chunker=None)
        start = time.perf_counter()
        made.add([Document(text, id=str(n)) for n, text in enumerate(pages)])
        seconds = {"indexing": round(time.perf_counter() - start, 1)}
        quality, times = _quotes(made, pages, rng)
        start = time.perf_counter()
        found = contamination(questions, made)
        seconds["questions looked up"] = round(time.perf_counter() - start, 1)
    dirty = set(found.dirty)
    quality["planted questions found"] = len(dirty & set(planted)) / len(planted)
    quality["other questions called dirty"] = len(dirty - set(planted))
    quality["other questions called suspicious"] = len({t.id for t in found.labelled("suspicious")} - set(planted))
    context = {
        "quotes": f"{CASES:,} true and {CASES:,} with one character changed, {SHORTEST} to {LONGEST} characters of {len(texts):,} files",
        "questions": f"{len(questions):,} of NQ-open, {len(planted)} of them planted",
        "seconds": seconds,
        "milliseconds a quote": times,
    }
    return {"benchmark": "quotes", "quality": quality, "context": context}


def _quotes(made: Collection, texts: list[str], rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, float]]:
    strict = Folding(case=True)
    whole = b"\xff".join(strict.encode(text) for text in texts)
    true = [_piece(texts, rng) for _ in range(CASES)]
    altered: list[str] = []
    while len(altered) < CASES:
        changed = _changed(_piece(texts, rng), rng)
        if strict.encode(changed) not in whole:  # else it is a true quote of another place
            altered.append(changed)
    shares, times = {}, {}
    for name, quotes in (("true", true), ("altered", altered)):
        start = time.perf_counter()
        found = [verify_quotes(f"As the documentation says, “{quote}”, and so on.", made) for quote in quotes]
        times[name] = round((time.perf_counter() - start) / len(quotes) * 1000, 2)
        if any(len(f) != 1 or f[0].text != q for f, q in zip(found, quotes, strict=True)):
            raise RuntimeError("a quote was not read as one quote")
        shares[name] = sum(f[0].support != "exact" for f in found) / len(found)
    return {"altered quotes flagged": shares["altered"], "true quotes flagged": shares["true"]}, times


def _piece(texts: list[str], rng: np.random.Generator) -> str:
    """Some characters of some text, without quotation marks."""
    while True:
        text = texts[int(rng.integers(len(texts)))]
        start, size = int(rng.integers(len(text) + 1)), int(rng.integers(SHORTEST, LONGEST + 1))
        piece = text[start : start + size].strip()
        if len(piece) >= SHORTEST and not _MARKS & set(piece) and any(c.isalnum() for c in piece):
            return piece


def _changed(piece: str, rng: np.random.Generator) -> str:
    """The same with another letter or digit in place of one character."""
    at = int(rng.integers(len(piece)))
    other = rng.choice([c for c in string.ascii_letters + string.digits if c != piece[at]])
    return f"{piece[:at]}{other}{piece[at + 1 :]}"
