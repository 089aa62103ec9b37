"""What speculation did for one answer: passes saved, drafts taken by source, and the passage behind every run that was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ragkit.errors import InputError

if TYPE_CHECKING:
    from ragkit.types import Answer

OWN_LAW = "the model's own distribution"


@dataclass(frozen=True)
class AcceptedRun:
    """Tokens of the answer in a row that were drafted from one place.

    start, end  tokens of the answer
    source      name of the drafter
    passage     number of the passage that they were copied from, counted from 0; None where it was none
    first       its token that the run begins with; without a passage the place in the corpus, where it is known
    text        as it stands in the answer and, where a passage is named, in that passage
    at          the character of the passage that it begins with
    offset      the character of the answer's text that it begins with; None where a constraint told the text otherwise than tokens do
    document    of the passage, or of the place in the corpus, where they are known to be parts of documents
    begin       the character of the document that it begins with
    """

    start: int
    end: int
    source: str
    passage: int | None = None
    first: int | None = None
    text: str = ""
    at: int | None = None
    offset: int | None = None
    document: str | None = None
    begin: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; a place in a document is told as `document`, `from` and `to`."""
        out = {name: value for name, value in vars(self).items() if name not in ("document", "begin")}
        if self.begin is not None:
            out |= {"document": self.document, "from": self.begin, "to": self.begin + len(self.text)}
        return out

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> AcceptedRun:
        """What `to_dict` told."""
        return cls(**{name: value for name, value in told.items() if name not in ("from", "to")}, begin=told.get("from"))


class Piece(NamedTuple):
    """Part of an answer's text, and the run that it is; None where no draft foretold it."""

    text: str
    run: AcceptedRun | None = None


@dataclass(frozen=True)
class Speculation:
    """Of one answer; in a notebook it shows the text, coloured by the passages that its words were copied from.

    tokens    written
    passes    of the model after the prompt was read
    drafted   tokens that were verified
    accepted  tokens taken, by source; one that several drafted counts for the first of them
    depths    drafts taken by their depth: how many paths were at least 1, 2, … tokens long
    runs      see `AcceptedRun`
    seconds   of passes, drafting included
    saved     seconds that plain passes would have taken more, as they were measured; below 0 where speculation lost; None where none was
    notes     what could not be done, and why
    text      that was written
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
    text: str = ""
    lossless: bool = True
    law: str = OWN_LAW

    @property
    def tokens_per_pass(self) -> float:
        """1 where nothing was drafted or taken."""
        return self.tokens / self.passes if self.passes else 1.0

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The text in parts: what was drafted from one place, and what stands between; none is empty, and together they are the text.

        >>> run = AcceptedRun(1, 3, "passages", text=" b c", offset=1)
        >>> [p.text for p in Speculation(4, 2, 2, {}, (), (run,), {}, None, text="a b c d").pieces]
        ['a', ' b c', ' d']
        """
        out: list[Piece] = []
        done = 0
        for run in self.runs:
            if run.offset is not None and run.text:
                if run.offset > done:
                    out.append(Piece(self.text[done : run.offset]))
                out.append(Piece(run.text, run))
                done = run.offset + len(run.text)
        return (*out, Piece(self.text[done:])) if done < len(self.text) else tuple(out)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**vars(self), "depths": list(self.depths), "runs": [r.to_dict() for r in self.runs], "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Speculation:
        """What `to_dict` told."""
        runs = tuple(AcceptedRun.from_dict(run) for run in told["runs"])
        return cls(**{**told, "depths": tuple(told["depths"]), "runs": runs, "notes": tuple(told["notes"])})

    @classmethod
    def of(cls, answer: Answer) -> Speculation:
        """What an answer's trace tells of it; the text is the model's reply, before its citations were looked up.

        raises  InputError where the answer was written without drafts
        """
        if "speculation" not in answer.trace:
            raise InputError('the answer was written without drafts; ask a model that makes them, as ragkit.llm(…, speculate="auto")')
        return cls.from_dict(answer.trace["speculation"])

    def _repr_html_(self) -> str:
        from ragkit.generation.speculative.coloured import coloured

        return coloured(self)
