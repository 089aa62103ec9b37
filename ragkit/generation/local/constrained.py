"""Writing under a `Constraint`: at every step those tokens alone that begin or continue a piece that may follow.

A piece is cut into tokens by itself, once. Where the tokens so far fit several pieces, all are followed side by side, so that
a piece whose tokens begin another's stays reachable: after it, either the other one goes on, or the next piece begins, or,
where the text would be complete, an end token says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragkit.errors import InputError
from ragkit.generation.constraints import Constraint
from ragkit.generation.local.prompt_tokens import PromptTokens
from ragkit.generation.local.sampling import Allowed

_MOST_CACHED = 1 << 16


class Pieces:
    """Tokens of pieces, cut once.

    goes_on  the first piece follows other text (a prompt), as later ones always do
    """

    def __init__(self, tokens: PromptTokens, *, goes_on: bool) -> None:
        self._tokens, self._goes_on = tokens, goes_on
        self._known: dict[tuple[str, bool], tuple[int, ...]] = {}

    def of(self, piece: str, *, first: bool) -> tuple[int, ...]:
        """Tokens of a piece; raises InputError for one that has none, or that the model's tokenizer has no token for."""
        key = (piece, first and not self._goes_on)
        if key not in self._known:
            ids = tuple(self._tokens.plain(piece) if key[1] else self._tokens.continuing(piece))
            unknown = self._tokens.tokenizer.unk_token_id
            if not ids or unknown in ids:
                raise InputError(f"the piece {piece!r} of a constraint can't be written in tokens of this model; use other characters")
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            self._known[key] = ids
        return self._known[key]


@dataclass(frozen=True)
class _Way:
    """A reading of the tokens so far: whole pieces, and `at` tokens of the next one; no next one where the text is complete."""

    written: tuple[str, ...]
    piece: str = ""
    tokens: tuple[int, ...] = ()
    at: int = 0


class ConstraintGuide:
    """See `ragkit.generation.local.decoding.Guide`.

    ends  tokens that end a text; they are let through only where the text is complete and could go on as well
    """

    def __init__(self, constraint: Constraint, pieces: Pieces, ends: frozenset[int]) -> None:
        self._constraint, self._pieces, self._ends = constraint, pieces, ends
        self._ways = self._after(())
        if not self._ways[0].tokens:
            raise InputError(f"the constraint {constraint!r} lets nothing be written; give one with at least one piece")
        self._written: tuple[str, ...] = ()
        self.done = False

    @property
    def text(self) -> str | None:
        return "".join(self._written)

    def allowed(self) -> Allowed:
        following = {way.tokens[way.at] for way in self._ways if way.tokens}
        if any(not way.tokens for way in self._ways):
            following |= self._ends
        return np.array(sorted(following), np.int64)

    def take(self, token: int) -> None:
        complete = [way for way in self._ways if not way.tokens]
        if complete and token in self._ends:
            self._written, self.done = complete[0].written, True
            return
        ways: list[_Way] = []
        for way in self._ways:
            if way.tokens and way.tokens[way.at] == token:
                if way.at + 1 < len(way.tokens):
                    ways.append(_Way(way.written, way.piece, way.tokens, way.at + 1))
                else:
                    ways += self._after((*way.written, way.piece))
        self._ways = list(dict.fromkeys(ways))
        self._written = max((way.written for way in ways), key=len)
        self.done = not any(way.tokens for way in ways)

    def _after(self, written: tuple[str, ...]) -> list[_Way]:
        following = self._constraint.after(written)
        first = not written
        return [_Way(written, piece, self._pieces.of(piece, first=first)) for piece in following] or [_Way(written)]
