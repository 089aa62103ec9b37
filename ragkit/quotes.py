"""Quotes of an answer: whether what stands in quotation marks stands in the documents."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from ragkit.collection import strings, tracing
from ragkit.collection.segment import page_of
from ragkit.errors import InputError
from ragkit.matches import Match, one_line
from ragkit.text.folding import Folding, occurrences
from ragkit.types import Answer

if TYPE_CHECKING:
    from ragkit.collection.reading import Reading
    from ragkit.collection.snapshot import Snapshot

Support = Literal["exact", "loose", "missing"]
_QUOTED = re.compile(
    r"“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»|「([^「」]+)」"
    r"|(?<![\w\"])\"(?!\s)((?:(?!\n\s*\n)[^\"])+)(?<!\s)\"(?!\w)"
    r"|^[ ]{0,3}>[ ]?(.*(?:\n[ ]{0,3}>.*)*)",
    re.MULTILINE,
)
"""Curly, German, angular and corner quotation marks, straight ones around what could be a quote, and block quotes of Markdown."""
_BLOCK = 6
"""The group of a block quote, whose further lines begin with marks of their own."""
_LEFT_OUT = re.compile(r"\[ ?(?:…|\.\.\.) ?\]|…|\.\.\.")
_EDGES = " \t\n.,;:!?"
_STRICT = Folding(case=True)
"""An exact quote differs in nothing but white space and the way accents are written."""
_LEAST = 12
"""Characters of a piece by which the place is found that a quote may have been meant for."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What an answer quotes: ``answer[start:end] == text``, in code points.

    support  "exact": a document holds it word for word, or its pieces in order where "…" or "[...]" leaves something out;
             "loose": it differs in case, or in punctuation at its ends; "missing": no document holds it
    place    where it stands; of a missing one where the longest piece of it does, if any of some length does
    """

    text: str
    start: int
    end: int
    support: Support
    place: Match | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        place = None if self.place is None else self.place.to_dict()
        return {"text": self.text, "start": self.start, "end": self.end, "support": self.support, "place": place}


class Quotes(Sequence[Quote]):
    """The quotes of an answer, in its order."""

    def __init__(self, quotes: Sequence[Quote]) -> None:
        self._quotes = list(quotes)

    @property
    def missing(self) -> list[Quote]:
        """Those that no document holds."""
        return [q for q in self if q.support == "missing"]

    @overload
    def __getitem__(self, at: int) -> Quote: ...
    @overload
    def __getitem__(self, at: slice) -> list[Quote]: ...
    def __getitem__(self, at: int | slice) -> Quote | list[Quote]:
        return self._quotes[at]

    def __len__(self) -> int:
        return len(self._quotes)

    def __iter__(self) -> Iterator[Quote]:
        return iter(self._quotes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: how many have which support, and the quotes."""
        counts = {support: sum(q.support == support for q in self) for support in ("exact", "loose", "missing")}
        return {**counts, "quotes": [q.to_dict() for q in self]}

    def __repr__(self) -> str:
        lines = [f"{len(self)} quotes, {len(self.missing)} of them in no document"]
        lines += [f"{q.support:<8} {_place(q)}{one_line(q.text)!r}" for q in self]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{q.support}</td><td>{html.escape(_place(q))}</td><td>{html.escape(q.text)}</td></tr>" for q in self)
        return f"<table><tr><th>support</th><th>place</th><th>quote</th></tr>{rows}</table>"


def _place(quote: Quote) -> str:
    if quote.place is None:
        return ""
    return f"{'near ' if quote.support == 'missing' else ''}{quote.place.document}:{quote.place.start}-{quote.place.end}  "


def verify_quotes(answer: str | Answer, on: Reading) -> Quotes:
    """Look up all that an answer puts in quotation marks in the documents of a collection.

    A quote that was changed by as little as one character is "missing", by its case alone "loose", as long as the collection's index of
    strings, `NGram`, has its default settings: what that tells apart, such as two spaces from one, is told apart here too. Without such an
    index one is made in memory. Single quotation marks, which may be apostrophes, are passed over.
    """
    if isinstance(answer, Answer):
        answer = answer.text
    if not isinstance(answer, str):
        raise InputError(f"an answer must be a text or an Answer, got {type(answer).__name__}")
    return Quotes([_verified(on.version, *found) for found in _quoted(answer)])


def _quoted(answer: str) -> Iterator[tuple[str, int, int, str]]:
    """(as it stands in the answer, start, end, what is quoted) of all quotes that hold a letter or a digit."""
    for match in _QUOTED.finditer(answer):
        group = match.lastindex or 0
        said = match[group] if group < _BLOCK else re.sub(r"\n[ ]{0,3}>[ ]?", "\n", match[group])
        if any(c.isalnum() for c in said):
            yield match[group], match.start(group), match.end(group), said


def _verified(snapshot: Snapshot, text: str, start: int, end: int, said: str) -> Quote:
    kinds: tuple[tuple[Support, list[str]], ...] = (
        ("exact", [said.strip()]),
        ("exact", [p for p in map(str.strip, _LEFT_OUT.split(said)) if p]),
        ("loose", [p for p in (piece.strip(_EDGES) for piece in _LEFT_OUT.split(said)) if p]),
    )
    for support, pieces in kinds:
        place = _find(snapshot, pieces, strict=support == "exact")
        if place is not None:
            return Quote(text, start, end, support, place)
    return Quote(text, start, end, "missing", _nearest(snapshot, said.strip()))


def _find(snapshot: Snapshot, pieces: Sequence[str], *, strict: bool) -> Match | None:
    """Where pieces stand one after the other in one live document: from the first to the last."""
    if not pieces:
        return None
    folding = _STRICT if strict else strings.folding_of(snapshot)
    patterns = [folding.encode(p) for p in pieces]
    for n, (view, mask) in enumerate(zip(snapshot.views, strings.masks(snapshot, None), strict=True)):
        rows = strings.holders(snapshot, n, pieces[0], again=True)
        for piece in pieces[1:]:
            rows = rows & strings.holders(snapshot, n, piece, again=True)
        for row in (rows if mask is None else rows & mask).nonzero()[0].tolist():
            document = view.columns.document(row)
            if (span := _in_order(folding.encode(document.text), patterns)) is not None:
                a, b = folding.place(document.text, span[0], span[1] - span[0])
                return Match(document.id, a, b, document.text[a:b], title=document.title, page=page_of(document.page_starts, a))
    return None


def _in_order(data: bytes, patterns: Sequence[bytes]) -> tuple[int, int] | None:
    """Where a text holds patterns one after the other; the first place of each is the best."""
    first, at = -1, 0
    for pattern in patterns:
        place = next(occurrences(data[at:], pattern), -1)
        if place < 0:
            return None
        first, at = (at + place if first < 0 else first), at + place + len(pattern)
    return first, at


def _nearest(snapshot: Snapshot, text: str) -> Match | None:
    shared = tracing.trace(snapshot, text, least=_LEAST, k=1, context=0)
    return max(shared, key=lambda s: s.end - s.start).places[0] if len(shared) else None
