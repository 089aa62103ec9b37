"""An open index of tokens: passages by the tokens of a question, and states from which a model may write on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragkit.errors import InputError
from ragkit.generation.speculative.draft import Continuations
from ragkit.indexes.ngram.grams import GramScorer
from ragkit.indexes.ngram.ranking import Ranking
from ragkit.indexes.ngram.token_part import TokenPart
from ragkit.indexes.ngram.tokens import SEPARATOR, TokenSuffixes
from ragkit.protocols import Bitmap
from ragkit.types import Query

if TYPE_CHECKING:
    from ragkit.indexes.ngram.token_spec import TokenNGram


class State(NamedTuple):
    """Some tokens and where they stand: the rows [low, high) of each part."""

    depth: int
    rows: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """How often they stand there, in deleted documents too."""
        return sum(high - low for low, high in self.rows)


class TokenNGramSearcher:
    """An open index of tokens; safe to share between threads."""

    scale = "ngram"
    exact = True

    def __init__(self, spec: TokenNGram, parts: Sequence[tuple[TokenPart, Bitmap | None]]) -> None:
        self.spec, self.parts, self.scorer = spec, [part for part, _ in parts], GramScorer(parts)
        self._alive = [alive for _, alive in parts]
        self._first_place = np.cumsum([0, *(part.passages.n for part, _ in parts)])
        self._first_row = np.cumsum([0, *(len(part.passages.sizes) for part, _ in parts)])

    @property
    def root(self) -> State:
        """No token yet."""
        return State(0, tuple(part.index.interval(()) for part in self.parts))

    def allowed(self, state: State) -> NDArray[np.int32]:
        """Tokens that follow somewhere in the documents, ascending; int32 (any,)."""
        found = [
            part.index.states_after(low, high, state.depth)[0]
            for part, (low, high) in zip(self.parts, state.rows, strict=True) if low < high
        ]  # fmt: skip
        tokens: NDArray[np.int32] = np.unique(np.concatenate([np.zeros(0, np.int32), *found]))
        inside: NDArray[np.int32] = tokens[tokens != SEPARATOR]
        return inside

    def extend(self, state: State, token: int) -> State:
        """The state with one more token."""
        rows = (part.index.extend(low, high, state.depth, token) for part, (low, high) in zip(self.parts, state.rows, strict=True))
        return State(state.depth + 1, tuple(rows))

    def continuations(self, context: Sequence[int], *, most: int, length: int) -> Continuations:
        """What stands behind the longest end of a context that occurs, see `ragkit.protocols.ContinuationIndex`; deleted documents count.

        raises  InputError for an FM-index, which is too slow to write by
        """
        found = [
            replace(f, places=f.places + first)
            for f, first in zip(
                (self._suffixes(part).continuations(context, most=most, length=length) for part in self.parts),
                self._first_place[:-1],
                strict=True,
            )
        ]
        matched = max((f.matched for f in found), default=0)
        longest = [f for f in found if f.matched == matched]
        if len(longest) == 1:
            return longest[0]
        rows = np.concatenate([np.zeros((0, length), np.int32), *(f.tokens for f in longest)])
        places = np.concatenate([np.zeros(0, np.int64), *(f.places for f in longest)])
        order = np.lexsort(rows.T[::-1])[:: max(1, len(rows) // most)]
        return Continuations(matched, rows[order], places[order])

    def row_at(self, place: int) -> int | None:
        """The row of the passage that a place of a continuation lies in; None between passages and in deleted documents."""
        part = int(np.searchsorted(self._first_place, place, side="right")) - 1
        if not 0 <= part < len(self.parts):
            return None
        passages, mine = self.parts[part].passages, place - int(self._first_place[part])
        row = int(np.searchsorted(np.maximum.accumulate(passages.ends), mine, side="right"))
        if row == len(passages.sizes) or passages.begins[row] > mine:
            return None
        alive = self._alive[part]
        return int(self._first_row[part]) + row if alive is None or alive[row] else None

    def _suffixes(self, part: TokenPart) -> TokenSuffixes:
        if not isinstance(part.index, TokenSuffixes):
            raise InputError('drafts need TokenNGram(structure="suffix-array"): an FM-index finds what follows too slowly')
        return part.index

    def search(
        self, queries: Sequence[Query], *, k: int, allow: Sequence[Bitmap | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """See `ragkit.protocols.Searcher`: n-grams of the question's tokens, ranked as `WordNGram` ranks by those of words."""
        tokens = self.spec.load()([q.text for q in queries], add_special_tokens=False, verbose=False)["input_ids"] if queries else []
        return Ranking().search(self.scorer, tokens, k=k, allow=allow)
