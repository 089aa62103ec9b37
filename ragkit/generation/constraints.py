"""Constraints: what a model may write, piece by piece; a model that obeys one can't write anything else.

A constraint names, after every piece written so far, the pieces that may follow; none means the end. A local model
cuts each piece into tokens and lets through only those tokens that begin or continue one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ragkit.errors import InputError


@runtime_checkable
class Constraint(Protocol):
    """The pieces of text that may follow those written so far."""

    def after(self, written: Sequence[str]) -> Sequence[str]:
        """Pieces of which one must follow; empty where the text is complete."""
        ...


@dataclass(frozen=True)
class Choices:
    """One of the given texts, whole.

    >>> Choices(("yes", "no")).after([]), Choices(("yes", "no")).after(["no"])
    (('yes', 'no'), ())
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.texts or not all(self.texts) or len(set(self.texts)) != len(self.texts):
            raise InputError(f"choices must be different texts, none empty, at least one, got {list(self.texts)}")

    def after(self, written: Sequence[str]) -> Sequence[str]:
        return () if written else self.texts


@dataclass(frozen=True)
class Permutation:
    """Each of the given pieces once, in any order, with a separator between: a ranking that can't be malformed.

    begin  what stands before the first piece and is not written by the model, as "[" where the prompt ends with it

    >>> ranking = Permutation(("[1]", "[2]", "[3]"), begin="[")
    >>> ranking.after([])
    ('1]', '2]', '3]')
    >>> ranking.after(["2]"])
    (' > [1]', ' > [3]')
    """

    pieces: tuple[str, ...]
    separator: str = " > "
    begin: str = ""

    def __post_init__(self) -> None:
        if not self.pieces or len(set(self.pieces)) != len(self.pieces):
            raise InputError(f"the pieces of a permutation must differ and be at least one, got {list(self.pieces)}")
        if not all(p.startswith(self.begin) and len(p) > len(self.begin) for p in self.pieces):
            raise InputError(f"each piece must go on from {self.begin!r}, got {list(self.pieces)}")

    def after(self, written: Sequence[str]) -> Sequence[str]:
        if not written:
            return tuple(p.removeprefix(self.begin) for p in self.pieces)
        first = self.begin + written[0]
        used = {first, *(w.removeprefix(self.separator) for w in written[1:])}
        return tuple(self.separator + p for p in self.pieces if p not in used)
