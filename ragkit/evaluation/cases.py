"""Single queries on which two systems differ most: what each found, and what it should have found."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from ragkit.evaluation.table import one_line


@dataclass(frozen=True)
class CaseHit:
    """A hit of one system: rank from 1, grade None where unjudged, text None where the source can't give it."""

    rank: int
    document: str
    score: float
    grade: int | None
    text: str | None


@dataclass(frozen=True)
class CaseDocument:
    """A relevant document: its grade, its text, and at which rank (from 1) each system has it, None where it lacks it."""

    document: str
    grade: int
    text: str | None
    ranks: dict[str, int | None]


@dataclass(frozen=True)
class Case:
    """One query: the measure's value for both systems, their first hits, and the relevant documents."""

    query: str
    text: str
    measure: str
    values: dict[str, float]
    hits: dict[str, tuple[CaseHit, ...]]
    relevant: tuple[CaseDocument, ...]

    @property
    def difference(self) -> float:
        """Value of the first system less that of the second."""
        first, second = self.values.values()
        return first - second

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "query": self.query,
            "text": self.text,
            "measure": self.measure,
            "values": dict(self.values),
            "difference": self.difference,
            "hits": {name: [vars(hit) for hit in hits] for name, hits in self.hits.items()},
            "relevant": [vars(document) for document in self.relevant],
        }

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        lines = [f"{self.query}  {one_line(self.text)}", f"  {self.measure}: {values} ({self.difference:+.4f})"]
        for name, hits in self.hits.items():
            lines.append(f"  {name}:" if hits else f"  {name}: no hits")
            lines += [f"    {h.rank:>2} {_mark(h.grade)} {h.document}  {one_line(h.text or '', 100)}".rstrip() for h in hits]
        lines.append("  relevant:")
        for d in self.relevant:
            lines.append(f"    {d.document}  grade {d.grade}, {_ranks(d)}  {one_line(d.text or '', 100)}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        e = html.escape
        values = ", ".join(f"{e(name)} {value:.4f}" for name, value in self.values.items())
        parts = [f"<p><b>{e(self.query)}</b> {e(one_line(self.text))}<br>{e(self.measure)}: {values} ({self.difference:+.4f})</p>"]
        for name, hits in self.hits.items():
            items = "".join(
                f"<li>{e(_mark(h.grade))} <b>{e(h.document)}</b> {h.score:.4f}<br>{e(one_line(h.text or '', 400))}</li>" for h in hits
            )
            parts.append(f"<p>{e(name)}</p><ol>{items}</ol>" if hits else f"<p>{e(name)}: no hits</p>")
        items = "".join(
            f"<li><b>{e(d.document)}</b> grade {d.grade}, {e(_ranks(d))}<br>{e(one_line(d.text or '', 400))}</li>" for d in self.relevant
        )
        parts.append(f"<p>relevant</p><ul>{items}</ul>")
        return f"<div>{''.join(parts)}</div>"


class Cases(list[Case]):
    """Cases with the largest difference first; prints all of them."""

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain JSON: one object a case."""
        return [case.to_dict() for case in self]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self)) if self else "(no such query)"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "<hr>".join(case._repr_html_() for case in self) if self else "<p>(no such query)</p>"


def _mark(grade: int | None) -> str:
    """Relevant, judged not relevant, or unjudged."""
    return "?" if grade is None else "+" if grade > 0 else "-"


def _ranks(document: CaseDocument) -> str:
    return ", ".join(f"{name} " + (f"rank {rank}" if rank else "not found") for name, rank in document.ranks.items())
