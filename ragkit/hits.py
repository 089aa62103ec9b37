"""Hits: what a search for one question returns; a list that prints well."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np

from ragkit.filters import Filter
from ragkit.filters.expression import And, Compare
from ragkit.run import Run
from ragkit.text.phrases import split_phrases
from ragkit.types import Passage, Query


@dataclass(frozen=True, slots=True)
class Hit:
    """One found passage: rank counts from 0, a higher score is better, scores holds each retriever's own.

    highlights  where the question's phrases stand in the document, cut at the passage's borders; code points
    """

    passage: Passage
    score: float
    rank: int
    scores: Mapping[str, float]
    highlights: tuple[tuple[int, int], ...] = ()

    @property
    def id(self) -> str:
        """Document id."""
        return self.passage.document

    @property
    def text(self) -> str:
        return self.passage.text

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.passage.meta

    @property
    def span(self) -> tuple[int, int]:
        """Start and end in the document, in code points."""
        return self.passage.start, self.passage.end

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        p = self.passage
        page = {} if p.page is None else {"page": p.page}
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "document": p.document,
            "start": p.start,
            "end": p.end,
            **page,
            "title": p.title,
            "headings": list(p.headings),
            "text": p.text,
            "meta": {k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in p.meta.items()},
            "scores": {k: round(v, 6) for k, v in self.scores.items()},
            **({"highlights": [list(span) for span in self.highlights]} if self.highlights else {}),
        }


class Hits(Sequence[Hit]):
    """The hits of one question, best first."""

    def __init__(self, query: str, hits: Sequence[Hit], scale: str) -> None:
        self.query, self.scale, self._hits = query, scale, list(hits)

    @classmethod
    def of(cls, run: Run, q: int = 0) -> Hits:
        """The hits of query q of a run."""
        at = run.hits_of(q)
        passages = run.passages_at(at)
        legs = {name: values[at] for name, values in run.legs.items()}
        marked: Sequence[tuple[tuple[int, int], ...]] = [()] * len(passages)
        if passages and (phrases := phrases_of(run.queries[q], whole=run.scale == "occurrences")) and isinstance(run.source, Highlighting):
            marked = run.source.highlights(passages, phrases)
        hits = [
            Hit(p, float(run.scores[at.start + i]), i, {n: float(v[i]) for n, v in legs.items() if not np.isnan(v[i])}, spans)
            for i, (p, spans) in enumerate(zip(passages, marked, strict=True))
        ]
        return cls(run.queries[q].text, hits, run.scale)

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> list[Hit]: ...
    def __getitem__(self, at: int | slice) -> Hit | list[Hit]:
        return self._hits[at]

    def __len__(self) -> int:
        return len(self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: query, scale, hits."""
        return {"query": self.query, "scale": self.scale, "hits": [h.to_dict() for h in self]}

    def __repr__(self) -> str:
        lines = [f"{len(self)} hits for {self.query!r} ({self.scale})"]
        for h in self:
            where = " › ".join(h.passage.path)
            lines.append(f"{h.rank + 1:>3}  {h.score:8.3f}  {h.id}:{h.passage.start}-{h.passage.end}  {where}")
            lines.append(f"               {_short(h.text)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{h.rank + 1}</td><td>{h.score:.3f}</td><td>{html.escape(h.id)}<br>{h.passage.start}–{h.passage.end}</td>"
            f"<td style='text-align:left'><b>{html.escape(' › '.join(h.passage.path))}</b><br>"
            f"{_marked(h, 400)}</td></tr>"
            for h in self
        )
        head = "<tr><th></th><th>score</th><th>document</th><th>passage</th></tr>"
        return f"<table><caption>{html.escape(self.query)} ({self.scale})</caption>{head}{rows}</table>"


@runtime_checkable
class Highlighting(Protocol):
    """A run's source that finds strings in its documents."""

    def highlights(self, passages: Sequence[Passage], texts: Sequence[str]) -> Sequence[tuple[tuple[int, int], ...]]:
        """Where any of the texts stand in each passage."""
        ...


def phrases_of(query: Query, *, whole: bool = False) -> list[str]:
    """What a question wants word for word: its phrases in quotation marks and those of its filter; whole: itself, where it has none."""
    asked = query if query.original is None else query.original
    found = list(dict.fromkeys([*split_phrases(asked.text).wanted, *_contained(query.where)]))
    return found or ([asked.text.strip()] if whole else [])


def _contained(where: Filter | None) -> list[str]:
    """The texts that a filter asks for; not those that it only allows or refuses."""
    if isinstance(where, And):
        return [text for part in where.parts for text in _contained(part)]
    asks = isinstance(where, Compare) and (where.field, where.operator) == ("text", "contains") and isinstance(where.value, str)
    return [where.value] if asks else []  # type: ignore[union-attr]


def _marked(hit: Hit, width: int) -> str:
    """The passage's first characters as HTML, with its highlights."""
    cuts = [0, *(at - hit.passage.start for span in hit.highlights for at in span), len(hit.text)]
    out, left = "", width
    for n, (start, end) in enumerate(pairwise(cuts)):
        piece = hit.text[start:end][: max(left, 0)]
        left -= len(piece)
        out += f"<mark>{html.escape(piece)}</mark>" if n % 2 and piece else html.escape(piece)
    return out if len(hit.text) <= width else f"{out}…"


def _short(text: str, width: int = 160) -> str:
    """One line of at most width characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
