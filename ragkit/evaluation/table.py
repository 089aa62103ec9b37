"""Small tables: rows of named values that print aligned, show as HTML, and become JSON or a pandas frame."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any


class Rows(list[dict[str, Any]]):
    """A list of rows, each {column: value} with the same columns; None shows as an empty cell."""

    def __str__(self) -> str:
        if not self:
            return "(no rows)"
        return text_table(list(self[0]), [[_cell(v) for v in row.values()] for row in self])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(list(self[0]), [[_cell(v) for v in row.values()] for row in self]) if self else "<p>(no rows)</p>"

    def to_frame(self) -> Any:
        """The rows as a pandas frame."""
        from ragkit.registry import need

        return need("pandas", extra="viz", why="to_frame").DataFrame(list(self))


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart; a column whose cells all are numbers or empty is set to the right.

    >>> print(text_table(["name", "hits"], [["a", "9"], ["bc", "10"]]))
    name  hits
    a        9
    bc      10
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [any(c[1:]) and all(_is_number(cell) for cell in c[1:]) for c in columns]
    lines = [
        "  ".join(f"{cell:>{w}}" if r else f"{cell:<{w}}" for cell, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in (header, *rows)
    ]
    return "\n".join(lines)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """The same as an HTML table, everything escaped."""
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{title}<tr>{head}</tr>{body}</table>"


def one_line(text: str, width: int = 160) -> str:
    """The text on one line of at most width characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else one_line(str(value), 80)


def _is_number(cell: str) -> bool:
    return cell == "" or cell.removesuffix("*").removesuffix("ms").strip().lstrip("+-").replace(".", "", 1).isdigit()
