"""Which delimiter a table is written with: the one that splits its first rows into as many fields as its header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

SAMPLE, SAMPLE_LINES = 65_536, 100  # characters and lines that are looked at
_CANDIDATES = (",", ";", "\t", "|")
_NONE = "\x1f"  # a control character that no text has: every row is one field
_SEPARATOR_LINE = re.compile(r"\"?sep=([^\"\w\r\n])\"?\s*", re.IGNORECASE)
_ENOUGH = 0.5  # share of rows that must fit; the others are broken rows, or short ones


def separator_line(line: str) -> str:
    """The delimiter that a first line such as ``sep=;`` names for spreadsheets, "" for any other line."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return found[1] if found else ""


def delimiter_of(lines: Sequence[str], whole: bool = True) -> str:
    """The delimiter of a table by its first lines; a control character where none fits: then it has one column.

    A delimiter fits if the header has two fields or more, and at least half of the rows have two or more but none beyond
    the header's. One that gives every row as many fields as the header goes first, then the one with more fields, then
    the comma, semicolon, tab and bar.

    lines  with their line ends; a quoted field may go over several
    whole  whether that is the whole file, so that the last row is no cut one

    >>> delimiter_of(["Name;Price, net;x\\n", "Bolt;1,50;y\\n"]), delimiter_of(["text\\n", "one, two\\n"])
    (';', '\\x1f')
    """
    best, chosen = (False, 0, 0.0), _NONE
    for delimiter in _CANDIDATES:
        counts = _field_counts(lines, delimiter)
        if not whole and len(counts) > 1:
            counts.pop()
        if not counts or counts[0] < 2:
            continue
        rows = counts[1:]
        share = sum(2 <= n <= counts[0] for n in rows) / len(rows) if rows else 1.0
        score = (all(n == counts[0] for n in rows), counts[0], share)
        if share >= _ENOUGH and score > best:
            best, chosen = score, delimiter
    return chosen


def _field_counts(lines: Sequence[str], delimiter: str) -> list[int]:
    """The number of fields of each row that is not blank, empty ones beyond the first row's aside; 0 for one that is not valid."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    counts: list[int] = []
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return counts
        except csv.Error:
            counts.append(0)
        else:
            if any(v and not v.isspace() for v in values):
                beyond = values[counts[0] :] if counts else []
                counts.append(len(values) if any(v.strip() for v in beyond) else len(values) - len(beyond))
