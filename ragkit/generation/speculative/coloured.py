"""An answer's text for notebooks, its accepted runs coloured by the passages that they were copied from.

Colours are tints that let the page's own background and letters through, so that they can be read in light and dark themes; the
number behind a run and its title say the same without them.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from ragkit.generation.speculative.report import AcceptedRun, Piece, Speculation

_ELSEWHERE = "background:rgba(128,128,128,.22);border-bottom:2px dotted gray"
"""Of runs that stand in no passage."""
_GOLDEN = 137.508
"""Degrees between two hues: however many there are, neighbours differ."""


def coloured(report: Speculation) -> str:
    """The text, a legend of the passages, and what speculation did, as HTML; passages are counted from 1, as a prompt shows them."""
    text = "".join(map(_shown, report.pieces))
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    return f"<div><p style='white-space:pre-wrap'>{text}</p>{_legend(report.pieces)}<p>{html.escape(summary(report))}</p>{notes}</div>"


def summary(report: Speculation) -> str:
    """Tokens, passes, what was accepted by source, and the time saved, in a line.

    >>> summary(Speculation(30, 12, 40, {"passages": 18, "recycled": 0}, (), (), {}, 0.25))
    '30 tokens in 12 passes; accepted: passages 18, recycled 0, of 40 drafted; saved 0.25 s'
    """
    accepted = ", ".join(f"{source} {count}" for source, count in report.accepted.items())
    parts = [
        f"{report.tokens} tokens in {report.passes} passes" if report.passes else f"{report.tokens} tokens",
        f"accepted: {accepted}, of {report.drafted} drafted" if accepted else "",
        "" if report.saved is None else f"{'saved' if report.saved >= 0 else 'lost'} {abs(report.saved):.2f} s",
    ]
    return "; ".join(filter(None, parts))


def _shown(piece: Piece) -> str:
    text, run = html.escape(piece.text), piece.run
    if run is None:
        return text
    title = html.escape(f"{_place(run)}; drafted by {run.source}", quote=True)
    if run.passage is None:
        return f"<span style='{_ELSEWHERE}' title='{title}'>{text}</span>"
    number = f"<sup style='user-select:none'>{run.passage + 1}</sup>"
    return f"<span style='{_tint(run.passage)}' title='{title}'>{text}</span>{number}"


def _place(run: AcceptedRun) -> str:
    if run.begin is not None:
        at = f"{run.document} {run.begin}–{run.begin + len(run.text)}"
    else:
        at = f"characters {run.at}–{run.at + len(run.text)}" if run.at is not None else "in no passage"
    return at if run.passage is None else f"passage {run.passage + 1}, {at}"


def _legend(pieces: Sequence[Piece]) -> str:
    documents: dict[int, str | None] = {}
    for run in (p.run for p in pieces if p.run is not None and p.run.passage is not None):
        documents[run.passage or 0] = run.document
    chips = [
        f"<span style='{_tint(n)}'>{n + 1}</span> {html.escape(f'passage {n + 1}' if document is None else document)}"
        for n, document in sorted(documents.items(), key=lambda item: item[0])
    ]
    if any(p.run is not None and p.run.passage is None for p in pieces):
        chips.append(f"<span style='{_ELSEWHERE}'>…</span> drafted from elsewhere")
    return f"<p>{' &emsp; '.join(chips)}</p>" if chips else ""


def _tint(passage: int) -> str:
    hue = f"{(210 + _GOLDEN * passage) % 360:.0f}"
    return f"background:hsla({hue},80%,50%,.25);border-bottom:2px solid hsl({hue},70%,50%)"
