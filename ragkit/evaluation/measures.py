"""Names of retrieval measures, in the spelling of ir_measures: ``nDCG@10``, ``P(rel=2)@5``, ``AP``.

A `Measure` is a name, a cutoff and the lowest grade that counts as relevant. Common other spellings
(``MRR@10``, ``MAP``, ``ndcg_cut_10``, ``recall_100``) are read and always printed in the first form.
The formulas are in `formulas.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ragkit.errors import InputError, UnknownNameError


class _Form(NamedTuple):
    """Which parameters a measure takes: cutoff "required", "optional" or "none"; rel or the grades themselves."""

    cutoff: str
    rel: bool


_FORMS = {
    "nDCG": _Form("optional", rel=False),
    "R": _Form("required", rel=True),
    "P": _Form("required", rel=True),
    "RR": _Form("optional", rel=True),
    "AP": _Form("optional", rel=True),
    "Success": _Form("required", rel=True),
    "Rprec": _Form("none", rel=True),
    "Bpref": _Form("none", rel=True),
    "Judged": _Form("optional", rel=False),
}

# other spellings, in lower case; those of _FORMS are added in lower case too
_ALIASES = {
    "ndcg_cut": "nDCG",
    "recall": "R",
    "precision": "P",
    "mrr": "RR",
    "recip_rank": "RR",
    "map": "AP",
    "map_cut": "AP",
    "hit_rate": "Success",
    "r-precision": "Rprec",
} | {name.lower(): name for name in _FORMS}

_SPELLING = re.compile(r"(?P<name>[a-z]+(?:[_-][a-z]+)*)(?:\((?P<arguments>.*)\))?(?:[@_.](?P<cutoff>.*))?", re.IGNORECASE)


@dataclass(frozen=True)
class Measure:
    """One retrieval measure.

    name     canonical name: nDCG, R, P, RR, AP, Success, Rprec, Bpref, Judged
    cutoff   only the first `cutoff` hits count; None for the whole ranking
    rel      lowest grade that counts as relevant, at least 1; nDCG and Judged have none and keep 1
    raises   UnknownNameError for the name, InputError for a parameter that the measure does not take

    >>> str(Measure("P", 10, rel=2))
    'P(rel=2)@10'
    """

    name: str
    cutoff: int | None = None
    rel: int = 1

    def __post_init__(self) -> None:
        form = _FORMS.get(self.name)
        if form is None:
            raise UnknownNameError.near("measure", self.name, _FORMS)
        if self.cutoff is None and form.cutoff == "required":
            raise InputError(f"{self.name} needs a cutoff: write for example '{self.name}@10'")
        if self.cutoff is not None and form.cutoff == "none":
            raise InputError(f"{self.name} takes no cutoff, got {self.cutoff!r}: write '{self.name}'")
        if self.cutoff is not None and not _counts(self.cutoff):
            raise InputError(f"the cutoff of {self.name} must be a whole number >= 1, got {self.cutoff!r}")
        if not _counts(self.rel):
            raise InputError(f"rel of {self.name} must be a whole number >= 1, got {self.rel!r}")
        if self.rel != 1 and not form.rel:
            raise InputError(f"{self.name} takes no rel, got {self.rel}: it does not ask from which grade a document is relevant")

    def __str__(self) -> str:
        rel = f"(rel={self.rel})" if self.rel != 1 else ""
        cutoff = f"@{self.cutoff}" if self.cutoff is not None else ""
        return f"{self.name}{rel}{cutoff}"


def parse_measure(text: str) -> Measure:
    """The measure that a text names; upper and lower case are the same.

    raises   UnknownNameError (with near matches) for an unknown name, InputError for a bad cutoff or argument

    >>> parse_measure("R(rel=2)@100")
    Measure(name='R', cutoff=100, rel=2)
    >>> [str(parse_measure(name)) for name in ("MRR@10", "MAP", "ndcg_cut_10", "Recall@100")]
    ['RR@10', 'AP', 'nDCG@10', 'R@100']
    """
    match = _SPELLING.fullmatch(text.strip())
    name = _ALIASES.get(match["name"].lower()) if match else None
    if match is None or name is None:
        raise UnknownNameError.near("measure", match["name"] if match else text, {*_FORMS, *_ALIASES})
    cutoff = _number(text, "cutoff", match["cutoff"]) if match["cutoff"] is not None else None
    return Measure(name, cutoff, _rel(text, match["arguments"]))


def parse_measures(measures: str | Measure | Iterable[str | Measure]) -> list[Measure]:
    """The measures asked for, in order, each once; one alone need not be in a list."""
    given = [measures] if isinstance(measures, str | Measure) else measures
    parsed = dict.fromkeys(m if isinstance(m, Measure) else parse_measure(m) for m in given)
    if not parsed:
        raise InputError("no measure was given: name at least one, for example 'nDCG@10'")
    return list(parsed)


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(text: str, what: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and int(digits) >= 1):
        raise InputError(f"the {what} of measure {text!r} must be a whole number >= 1, got {digits!r}")
    return int(digits)


def _rel(text: str, arguments: str | None) -> int:
    if arguments is None:
        return 1
    key, _, value = arguments.partition("=")
    if key.strip() != "rel":
        raise InputError(f"measure {text!r} has the argument {arguments!r}; the only one known is rel, as in 'P(rel=2)@10'")
    return _number(text, "rel", value.strip())
