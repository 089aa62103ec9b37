"""Plain text: the document is the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ragkit.loaders.decode import read_text
from ragkit.loaders.options import LoadOptions, Report
from ragkit.types import Document


def load(path: Path, options: LoadOptions, report: Report) -> Iterator[Document]:
    """One document whose text is the decoded file, character for character; its title is the file's stem."""
    yield Document(text=read_text(path, options), title=path.stem)
