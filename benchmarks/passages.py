"""Any number of passages of about real length, each of sentences of one real document of cpp-docs."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ragkit import Document
from ragkit.loaders import LoadOptions, load_file, walk
from ragkit.text import sentence_spans


def sentences(data: Path) -> list[list[str]]:
    """The sentences of each document of cpp-docs that has some."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(data / "cpp-docs" / "cpp-docs.tar.xz") as archive:
            archive.extractall(scratch, filter="data")
        found = []
        for file in walk(Path(scratch, "docs")):
            for document in load_file(file, LoadOptions(), lambda _: None):
                body = document.text[document.body_start :]
                found.append([body[a:b] for a, b in sentence_spans(body)])
    return [s for s in found if s]


def passages(of: list[list[str]], n: int, *, seed: int = 7, prefix: str = "p") -> Iterator[Document]:
    """n documents of one passage each: 1 to 12 sentences of a document, about 100 words on average."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 4096):
        size = min(4096, n - start)
        chosen = rng.integers(len(of), size=size)
        counts = rng.integers(1, 13, size=size)
        shares = rng.random((size, 12))
        for i in range(size):
            have = of[chosen[i]]
            text = " ".join(have[int(s * len(have))] for s in shares[i, : counts[i]])
            yield Document(text, id=f"{prefix}{start + i}", meta={"part": int(chosen[i])})
