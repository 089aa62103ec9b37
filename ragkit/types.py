"""The nouns that cross ragkit's borders: Document, Span, Passage, Query, Citation, Answer.

What a caller hands in or takes home is validated (pydantic); what runs inside (`Run`, columns)
is arrays and lives in `run.py` and `collection/`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ragkit.errors import InputError
from ragkit.spec import validated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragkit.filters import Filter


class Heading(NamedTuple):
    """A heading of a document: where its line starts (code points), its level (1 = top), its text."""

    start: int
    level: int
    text: str


@validated
class Document:
    """One document as it is given to a collection.

    text         the whole text; citations are spans of it, in code points
    id           unique in its collection; "" lets the collection derive one from the text
    title        indexed with every passage, never cited
    meta         metadata: int, float, bool, str, datetime with a zone, list of str; dicts nest
    source       path of the file that it was read from, relative to the indexed folder
    headings     where the sections begin; set by the loaders of structured formats
    body_start   offset at which the citable body begins (after a front-matter block)
    page_starts  offset at which each page begins; set by the PDF loader
    """

    text: str
    id: str = ""
    title: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    headings: tuple[Heading, ...] = ()
    body_start: int = 0
    page_starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        end = len(self.text)
        if not 0 <= self.body_start <= end:
            raise InputError(f"body_start must lie in the text (0 to {end}), got {self.body_start}")
        for name, starts in (("page_starts", self.page_starts), ("headings", [h.start for h in self.headings])):
            if any(not 0 <= s <= end for s in starts) or (name == "page_starts" and list(starts) != sorted(starts)):
                raise InputError(f"{name} must be offsets in the text (0 to {end}), pages in order, got {list(starts)[:5]}")


class Span(NamedTuple):
    """A piece of a document that a chunker cut: ``text[start:end]`` under a path of headings."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """What is indexed, found and cited: an exact span of one document.

    ``passage.text == document.text[passage.start:passage.end]``, in code points.
    """

    text: str
    document: str
    start: int
    end: int
    title: str = ""
    headings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    page: int | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Title and headings, outermost first; a first heading that only repeats the title is left out.

        >>> Passage("…", "a.md", 0, 1, title="Pumps", headings=("Pumps", "Gaskets")).path
        ('Pumps', 'Gaskets')
        """
        headings = self.headings[1:] if self.headings[:1] == (self.title,) else self.headings
        return (self.title, *headings) if self.title else headings


@dataclass(frozen=True)
class Query:
    """A question on its way through a pipeline.

    where lets through documents for whose metadata it holds; vectors and terms are encodings that a stage
    has computed already; original is the query that a rewriting stage started from.
    """

    id: str
    text: str
    instruction: str = ""
    where: Filter | None = None
    time: datetime | None = None
    vectors: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    terms: Mapping[str, float] = field(default_factory=dict, compare=False)
    original: Query | None = None


@validated
class Citation:
    """The exact place that supports a statement: ``document.text[start:end] == quote``."""

    document: str
    start: int
    end: int
    quote: str
    title: str = ""
    page: int | None = None
    score: float = 0.0


@validated
class Answer:
    """What a reader says to a question, and what it rests on.

    text         the answer; a mark [n] points at citations[n - 1]
    citations    exact spans, in the order of their marks
    found        False where the documents do not support an answer
    confidence   support in [0, 1]; comparable between questions of one reader
    """

    question: str
    text: str
    citations: tuple[Citation, ...] = ()
    found: bool = True
    confidence: float = 0.0
    trace: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [self.text]
        if self.citations:
            lines.append("")
        for n, c in enumerate(self.citations, 1):
            page = f", page {c.page}" if c.page is not None else ""
            lines.append(f"[{n}] {c.document}{page}, characters {c.start}-{c.end}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: answer, found, confidence, citations [{document, start, end, quote, …}]."""
        return {
            "question": self.question,
            "answer": self.text,
            "found": self.found,
            "confidence": round(self.confidence, 4),
            "citations": [{k: v for k, v in vars(c).items() if not k.startswith("_") and v not in (None, "")} for c in self.citations],
            "trace": self.trace,
        }

    def _repr_html_(self) -> str:
        cites = "".join(
            f"<li><b>{html.escape(c.document)}</b> {c.start}–{c.end}<br><q>{html.escape(c.quote)}</q></li>" for c in self.citations
        )
        return f"<div><p>{html.escape(self.text)}</p><ol>{cites}</ol></div>"
