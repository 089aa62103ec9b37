"""Other frameworks behind one interface, one adapter a file, so that a benchmark does the same with each.

An adapter's `index(folder, model)` reads the Markdown files of a folder with the framework's own reader, has them cut by a
component of the framework that calls `passages` (so that everybody cuts at the same places, and pays for it alike), and
indexes the passages for BM25 and, where a model is given, for dense search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ragkit.chunking import chunker_for
from ragkit.loaders.markdown import front_matter, markdown_headings
from ragkit.types import Document

K = 10
"""Hits of a search; fusion sees as many of each retriever."""

BATCH = 64
"""Texts that sentence-transformers encodes at once: the fastest of 16, 32, 64 and 128 on two cores, sorted by length or not."""


@dataclass(frozen=True)
class Found:
    """A hit: the path of its file, relative to the folder, and what was indexed of it."""

    path: str
    text: str


class Indexed(Protocol):
    """An indexed folder."""

    def search(self, question: str, using: str) -> list[Found]:
        """The K best passages; using is "bm25", "dense" or "hybrid", and only "bm25" where no model was given."""
        ...

    def passages(self) -> list[str]:
        """What was indexed, in any order."""
        ...


Index = Callable[[Path, Path | None], Indexed]


def passages(text: str, stem: str) -> Iterator[str]:
    """What ragkit indexes of a Markdown file: title, path of headings and text of each passage.

    >>> list(passages("# Pumps\\n\\n## Gaskets\\n\\nReplace them.", "pumps"))
    ['Pumps\\nGaskets\\n# Pumps\\n\\n## Gaskets\\n\\nReplace them.']
    """
    title, start = front_matter(text)
    headings = markdown_headings(text, start)
    title = title or next((h.text for h in headings if h.level == 1 and h.text), "") or stem
    document = Document(text=text, title=title, headings=headings, body_start=start)
    for span in chunker_for(document).split(document):
        path = span.headings[1:] if span.headings[:1] == (title,) else span.headings
        yield f"{title}\n{' › '.join(path)}\n{text[span.start : span.end]}".strip()
