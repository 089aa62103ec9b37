"""Texts to be written on by a language model: retrieved passages of cpp-docs, and the beginning of a file that the model has not seen."""

from __future__ import annotations

import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragkit import BM25, Collection, Document, llm

PASSAGE_TOKENS, BEGINNING_TOKENS, WRITTEN = 256, 96, 128
"""Of a prompt, and of what is written behind it: docs-7m was trained on 512 in all."""
PASSAGES = 3


@dataclass(frozen=True)
class Task:
    """One text to go on with.

    beginning  of the text that is to be gone on with
    passages   texts that stand before it
    """

    beginning: str
    passages: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """As the model reads it."""
        return "\n\n".join([*self.passages, self.beginning])


def models() -> Path:
    """Where docs-7m and docs-1m are."""
    return Path(os.environ.get("RAGKIT_MODELS", "../shared/models"))


def files(data: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(files that docs-7m was trained on, files that it was not), by name."""
    held_out = set((models() / "docs-7m" / "held-out-files.txt").read_text().split())
    with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as archive:
        texts = {m.name: opened.read().decode(errors="replace") for m in archive if (opened := archive.extractfile(m)) is not None}
    return {n: texts[n] for n in sorted(texts) if n not in held_out}, {n: texts[n] for n in sorted(texts) if n in held_out}


def tasks(seen: dict[str, str], unseen: dict[str, str], tokenizer: Any) -> list[Task]:
    """Of each unseen file the beginning, and its first half and three quarters; BM25 finds passages of the seen files by its end."""
    out = []
    with tempfile.TemporaryDirectory(prefix="ragkit-speculate-") as scratch:
        found = Collection.create(Path(scratch, "c"), indexes=[BM25()])
        found.add([Document(text, id=name) for name, text in seen.items()])
        for text in unseen.values():
            ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            ends = sorted({min(len(ids), BEGINNING_TOKENS), len(ids) // 2, 3 * len(ids) // 4})
            for end in (e for e in ends if e >= BEGINNING_TOKENS):
                beginning = tokenizer.decode(ids[end - BEGINNING_TOKENS : end])
                passages: list[str] = []
                for hit in found.search(beginning, k=PASSAGES):
                    room = PASSAGE_TOKENS - sum(len(tokenizer.encode(p, add_special_tokens=False)) for p in passages)
                    cut = tokenizer.encode(hit.passage.text, add_special_tokens=False)[: max(0, room)]
                    if len(cut) > 8:
                        passages.append(tokenizer.decode(cut))
                out.append(Task(beginning, tuple(passages)))
    return out


def distinct_4_grams(tokens: NDArray[np.int64] | list[int]) -> float:
    """Share of the 4-grams of a text that are different: low where it goes round in circles."""
    grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    return len(set(grams)) / max(1, len(grams))


def target() -> Any:
    """docs-7m, which writes a token a pass and keeps no beginnings."""
    return llm(str(models() / "docs-7m"), prefix_cache=False)
