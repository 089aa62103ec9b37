"""What speculation did for one answer: passes saved, drafts taken by source, and the passage behind every run that was taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OWN_LAW = "the model's own distribution"


@dataclass(frozen=True)
class AcceptedRun:
    """Tokens of the answer in a row that were drafted from one place.

    start, end  tokens of the answer
    source      name of the drafter
    passage     number of the passage that they were copied from, counted from 0; None where it was none
    first       its token that the run begins with
    text        as it stands in the answer and, where a passage is named, in that passage
    at          the character of the passage that it begins with
    """

    start: int
    end: int
    source: str
    passage: int | None = None
    first: int | None = None
    text: str = ""
    at: int | None = None


@dataclass(frozen=True)
class Speculation:
    """Of one answer.

    tokens    written
    passes    of the model after the prompt was read
    drafted   tokens that were verified
    accepted  tokens taken, by source; one that several drafted counts for the first of them
    depths    drafts taken by their depth: how many paths were at least 1, 2, … tokens long
    runs      see `AcceptedRun`
    seconds   of passes, drafting included
    saved     seconds that plain passes would have taken more, as they were measured; below 0 where speculation lost; None where none was
    notes     what could not be done, and why
    lossless  whether the text is what would be written without drafts
    law       what it follows
    """

    tokens: int
    passes: int
    drafted: int
    accepted: dict[str, int]
    depths: tuple[int, ...]
    runs: tuple[AcceptedRun, ...]
    seconds: dict[str, float]
    saved: float | None
    notes: tuple[str, ...] = ()
    lossless: bool = True
    law: str = OWN_LAW

    @property
    def tokens_per_pass(self) -> float:
        """1 where nothing was drafted or taken."""
        return self.tokens / self.passes if self.passes else 1.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**vars(self), "depths": list(self.depths), "runs": [vars(r) for r in self.runs], "notes": list(self.notes)}
