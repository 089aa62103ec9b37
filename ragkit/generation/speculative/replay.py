"""What a draft model may learn from: places of texts, and what the large model held of the token behind each; bounded, and forgettable."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray


@dataclass(eq=False)
class Text:
    """Tokens that places lie in.

    label   whose they are
    tokens  what was read and written, so far
    kept    False from when it was to be forgotten: nothing of it is taken in any more
    """

    label: str
    tokens: list[int]
    kept: bool = True


class Place(NamedTuple):
    """A place that can be learnt from.

    text      where it is
    at        the last token before it, counted from the first of the text
    tokens    int32 (K,)    those that the large model held most probable there
    logprobs  float32 (K,)  their natural-log probabilities, among all tokens
    """

    text: Text
    at: int
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """The places of one text, ascending.

    ids       int64 (L,)      the text up to the last of them
    at        int64 (n,)
    tokens    int64 (n, K)    see `Place`
    logprobs  float32 (n, K)
    """

    ids: NDArray[np.int64]
    at: NDArray[np.int64]
    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float32]


class Replay:
    """The last places that were recorded, safe to share between threads.

    room     places at most; the oldest give way
    context  tokens before a place that are kept at least, where there are so many; at most thrice as many are

    taken  places that were recorded so far, those that gave way included
    """

    def __init__(self, room: int, context: int) -> None:
        self._context = context
        self._places: deque[Place] = deque(maxlen=room)
        self._open: WeakSet[Text] = WeakSet()
        self._lock = Lock()
        self.taken = 0

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, label: str, tokens: Sequence[int]) -> Text:
        """A text that places will lie in."""
        with self._lock:
            return self._begin(label, tokens)

    def _begin(self, label: str, tokens: Sequence[int]) -> Text:
        made = Text(label, [int(t) for t in tokens[-self._context :]])
        self._open.add(made)
        return made

    def add(self, text: Text, written: Sequence[int], places: Sequence[tuple[int, NDArray[np.int32], NDArray[np.float32]]]) -> Text:
        """Take in what was written behind a text, and places in it; returns the text to go on with, a new one where it became too long.

        places  (the token before it, counted from the last one of the text: 0, 1, …; tokens and log-probabilities as `Place` has them)
        """
        with self._lock:
            if not text.kept:
                return text
            last = len(text.tokens) - 1
            text.tokens += [int(t) for t in written]
            self._places += [Place(text, last + i, top, held) for i, top, held in places if last + i < 3 * self._context]
            self.taken += len(places)
            return text if len(text.tokens) <= 2 * self._context else self._begin(text.label, text.tokens)

    def forget(self, label: str | None) -> None:
        """Drop all of one label, also what is still being written; None: of all."""
        with self._lock:
            for text in self._open:
                if label is None or text.label == label:
                    text.kept = False
                    text.tokens.clear()
            kept = [p for p in self._places if p.text.kept]
            self._places.clear()
            self._places += kept

    def draw(self, count: int, seed: Sequence[int]) -> tuple[list[Sample], frozenset[str]]:
        """(texts at random, whole, until there are so many places or no more texts; their labels).

        A pass over a text costs the same for one of its places as for all of them.
        """
        with self._lock:
            texts: dict[Text, list[Place]] = {}
            for place in self._places:
                texts.setdefault(place.text, []).append(place)
            groups = list(texts.values())
            chosen: list[list[Place]] = []
            for i in np.random.default_rng(seed).permutation(len(groups)):
                if sum(map(len, chosen)) < count:
                    chosen.append(groups[i])
            return [_sample(places) for places in chosen], frozenset(places[0].text.label for places in chosen)


def _sample(places: Sequence[Place]) -> Sample:
    return Sample(
        np.array(places[0].text.tokens[: places[-1].at + 1], np.int64),
        np.array([p.at for p in places], np.int64),
        np.stack([p.tokens for p in places]).astype(np.int64),
        np.stack([p.logprobs for p in places]),
    )
