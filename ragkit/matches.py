"""Matches: where a text stands in documents; a list that prints well."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from ragkit.collection.segment import page_of
from ragkit.types import Document


@dataclass(frozen=True, slots=True)
class Match:
    """One place: ``document.text[start:end] == text``, in code points; before and after are what stands beside it."""

    document: str
    start: int
    end: int
    text: str
    before: str = ""
    after: str = ""
    title: str = ""
    page: int | None = None

    @classmethod
    def of(cls, document: Document, start: int, end: int, context: int) -> Match:
        """The place of a document, with so many characters on either side."""
        whole = document.text
        return cls(
            document.id, start, end, whole[start:end], whole[max(0, start - context) : start], whole[end : end + context],
            document.title, page_of(document.page_starts, start),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        page = {} if self.page is None else {"page": self.page}
        return {
            "document": self.document, "start": self.start, "end": self.end, **page, "title": self.title, "before": self.before,
            "text": self.text, "after": self.after,
        }  # fmt: skip


class Matches(Sequence[Match]):
    """The first places of a text in stored order.

    total      how often it stands there in all; occurrences that overlap all count
    documents  how many documents hold it
    """

    def __init__(self, phrase: str, matches: Sequence[Match], total: int, documents: int) -> None:
        self.phrase, self.total, self.documents, self._matches = phrase, total, documents, list(matches)

    @overload
    def __getitem__(self, at: int) -> Match: ...
    @overload
    def __getitem__(self, at: slice) -> list[Match]: ...
    def __getitem__(self, at: int | slice) -> Match | list[Match]:
        return self._matches[at]

    def __len__(self) -> int:
        return len(self._matches)

    def __iter__(self) -> Iterator[Match]:
        return iter(self._matches)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: phrase, total, documents, matches."""
        return {"phrase": self.phrase, "total": self.total, "documents": self.documents, "matches": [m.to_dict() for m in self]}

    def _head(self) -> str:
        found = f"{_many(self.total, 'occurrence')} in {_many(self.documents, 'document')} of {self.phrase!r}"
        return found + (f"; the first {len(self)}" if len(self) < self.total else "")

    def __repr__(self) -> str:
        lines = [f"{m.document}:{m.start}-{m.end}  {one_line(m.before)}[{one_line(m.text)}]{one_line(m.after)}" for m in self]
        return "\n".join([self._head(), *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(m.document)}<br>{m.start}–{m.end}</td><td style='text-align:left'>{html.escape(one_line(m.before))}"
            f"<mark>{html.escape(one_line(m.text))}</mark>{html.escape(one_line(m.after))}</td></tr>"
            for m in self
        )
        return f"<table><caption>{html.escape(self._head())}</caption>{rows}</table>"


def one_line(text: str) -> str:
    """Without line breaks, each run of white space as one space."""
    edges = (" " if text[:1].isspace() else "", " " if text[-1:].isspace() else "")
    return edges[0] + " ".join(text.split()) + (edges[1] if text.strip() else "")


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
