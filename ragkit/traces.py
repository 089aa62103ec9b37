"""Traces: which pieces of a text stand word for word in documents, and where; prints well."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from ragkit.matches import Match, one_line


@dataclass(frozen=True, slots=True)
class Shared:
    """A piece of the text that documents hold: ``text[start:end]``, in code points.

    total      how often it stands in the documents
    documents  how many documents hold it
    places     the first of the places
    """

    start: int
    end: int
    text: str
    total: int
    documents: int
    places: tuple[Match, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "start": self.start, "end": self.end, "text": self.text, "total": self.total, "documents": self.documents,
            "places": [p.to_dict() for p in self.places],
        }  # fmt: skip


class Trace(Sequence[Shared]):
    """The pieces of a text that documents hold, in the order of the text; none overlaps another.

    sources  characters of the text that each document holds in these pieces, the most first: {document id: characters}
    """

    def __init__(self, text: str, shared: Sequence[Shared], sources: dict[str, int]) -> None:
        self.text, self.sources, self._shared = text, sources, list(shared)

    @property
    def covered(self) -> float:
        """Share of the text's characters that lie in a piece, white space left out."""
        letters = sum(not c.isspace() for c in self.text)
        return sum(not c.isspace() for s in self for c in s.text) / letters if letters else 0.0

    @overload
    def __getitem__(self, at: int) -> Shared: ...
    @overload
    def __getitem__(self, at: slice) -> list[Shared]: ...
    def __getitem__(self, at: int | slice) -> Shared | list[Shared]:
        return self._shared[at]

    def __len__(self) -> int:
        return len(self._shared)

    def __iter__(self) -> Iterator[Shared]:
        return iter(self._shared)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: covered, sources, shared."""
        return {"covered": round(self.covered, 4), "sources": self.sources, "shared": [s.to_dict() for s in self]}

    def _head(self) -> str:
        found = "1 piece of the text stands" if len(self) == 1 else f"{len(self)} pieces of the text stand"
        return f"{found} in documents, {100 * self.covered:.0f} % of its characters"

    def __repr__(self) -> str:
        lines = [self._head()]
        for s in self:
            first = s.places[0]
            more = f" and {s.total - 1:,} more" if s.total > 1 else ""
            lines.append(f"{s.start:>6}-{s.end:<6} {s.end - s.start:>5} characters  {first.document}:{first.start}-{first.end}{more}")
            lines.append(f"               {one_line(s.text)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        out, at = "", 0
        for s in self:
            title = html.escape(f"{s.places[0].document} and {s.total - 1:,} more" if s.total > 1 else s.places[0].document, quote=True)
            out += f"{html.escape(self.text[at : s.start])}<mark title='{title}'>{html.escape(s.text)}</mark>"
            at = s.end
        return f"<div><p>{html.escape(self._head())}</p><p style='white-space:pre-wrap'>{out}{html.escape(self.text[at:])}</p></div>"
