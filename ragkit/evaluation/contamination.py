"""Contamination: which questions of an evaluation set stand, whole or in good part, in the documents.

source: Xu et al., Infini-gram mini, EMNLP 2025 (share of a text's 50-character windows, one a word, that the corpus holds).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from ragkit.collection import strings
from ragkit.errors import InputError
from ragkit.matches import one_line
from ragkit.progress import Progress, track

if TYPE_CHECKING:
    from ragkit.collection.reading import Reading

Label = Literal["clean", "suspicious", "dirty"]
_WORD = re.compile(r"\S+")
_AT_ONCE = 200
"""Texts whose windows are looked up together."""


@dataclass(frozen=True, slots=True)
class Contaminated:
    """One text of the set: the share of its windows that documents hold, and the first document that holds one, "" where none does."""

    id: str
    text: str
    share: float
    label: Label
    document: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"id": self.id, "share": round(self.share, 4), "label": self.label, "document": self.document, "text": self.text}


class Contamination(Sequence[Contaminated]):
    """All texts of the set, those of which most is held first."""

    def __init__(self, texts: Sequence[Contaminated]) -> None:
        self._texts = sorted(texts, key=lambda t: -t.share)

    def labelled(self, label: Label) -> list[Contaminated]:
        """The texts with a label."""
        return [t for t in self if t.label == label]

    @property
    def dirty(self) -> list[str]:
        """Ids of the texts that documents hold nearly whole."""
        return [t.id for t in self.labelled("dirty")]

    @overload
    def __getitem__(self, at: int) -> Contaminated: ...
    @overload
    def __getitem__(self, at: slice) -> list[Contaminated]: ...
    def __getitem__(self, at: int | slice) -> Contaminated | list[Contaminated]:
        return self._texts[at]

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Contaminated]:
        return iter(self._texts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: how many have which label, and those that are not clean."""
        counts = {label: len(self.labelled(label)) for label in ("dirty", "suspicious", "clean")}
        return {**counts, "texts": [t.to_dict() for t in self if t.label != "clean"]}

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.labelled(label))} {label}" for label in ("dirty", "suspicious", "clean"))
        lines = [f"{len(self)} texts: {counts}"]
        lines += [
            f"{t.label:<10} {100 * t.share:>4.0f} %  {t.id}  {one_line(t.text)[:80]!r}  {t.document}" for t in self if t.label != "clean"
        ]
        return "\n".join(lines)


def contamination(
    texts: Mapping[str, str] | Sequence[str],
    on: Reading,
    *,
    window: int = 50,
    suspicious: float = 0.2,
    dirty: float = 0.8,
    progress: Progress = False,
) -> Contamination:
    """Look for the texts of an evaluation set, questions or answers, in a collection's documents.

    texts       {id: text}, or a list, whose ids are positions
    window      characters of the pieces that are looked for, one from the beginning of each word and the last; a shorter text is looked
                for whole
    suspicious, dirty   shares of a text's windows from which on it gets this label

    What counts as the same text is as in `Collection.grep`. Without an index of strings one is made in memory.
    """
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise InputError(f"window must be a number of characters of at least 1, got {window!r}")
    if not 0 < suspicious <= dirty <= 1:
        raise InputError(f"the labels need 0 < suspicious <= dirty <= 1, got {suspicious} and {dirty}")
    if isinstance(texts, str):
        raise InputError("give the texts of an evaluation set as a list or as {id: text}, not as one text")
    named = list(texts.items()) if isinstance(texts, Mapping) else [(str(n), text) for n, text in enumerate(texts)]
    if wrong := next((id for id, text in named if not isinstance(text, str)), None):
        raise InputError(f"the text {wrong!r} of the evaluation set is no text but {type(dict(named)[wrong]).__name__}")
    snapshot = on.version
    folding = strings.folding_of(snapshot)
    found = []
    with track("looking for texts", len(named), progress) as tracker:
        for start in range(0, len(named), _AT_ONCE):
            some = named[start : start + _AT_ONCE]
            windows = [_windows(folding.fold(text).strip(), window) for _, text in some]
            held = iter(strings.held(snapshot, [w for own in windows for w in own]).tolist())
            for (id, text), own in zip(some, windows, strict=True):
                there = [w for w in own if next(held)]
                share = len(there) / len(own) if own else 0.0
                label: Label = "dirty" if share >= dirty else "suspicious" if share >= suspicious else "clean"
                document = strings.grep(snapshot, there[0], k=1, again=True)[0].document if there else ""
                found.append(Contaminated(id, text, share, label, document))
                tracker.advance()
    return Contamination(found)


def _windows(text: str, size: int) -> list[str]:
    """Pieces of a folded text, one from the beginning of each word and the last that there is; a shorter text is one piece."""
    if len(text) <= size:
        return [text] if text else []
    starts = [m.start() for m in _WORD.finditer(text) if m.start() + size < len(text)]
    return [text[start : start + size] for start in (*starts, len(text) - size)]
