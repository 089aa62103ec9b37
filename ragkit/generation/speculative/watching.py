"""A draft model at work on one text, watched: how often it was right, and what can be learnt from the places where it was not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.speculative.draft import EMPTY, Budget, Draft, Request, Verified
from ragkit.generation.speculative.draft_model import DraftModel, Writing
from ragkit.generation.speculative.rate import Rate
from ragkit.generation.speculative.replay import Replay, Text


class Watching:
    """One text's drafts, and what is recorded of it."""

    def __init__(self, model: DraftModel, rate: Rate, request: Request, replay: Replay, top: int, others: float) -> None:
        self._writing: Writing = model.begin(request)
        self._tally, self._replay, self._others, self._owed = rate.begin(), replay, others, 0.0
        self._width = model.load().net.width
        self._top = min(top, self._width)
        self._draft = EMPTY
        self._text: Text | None = replay.begin(request.learn, request.prompt) if request.learn else None

    def propose(self, budget: Budget) -> Draft:
        """See `ragkit.protocols.Drafting`."""
        self._draft = self._writing.propose(budget)
        return self._draft

    def observe(self, verified: Verified) -> None:
        """See `ragkit.protocols.Drafting`."""
        self._writing.observe(verified)
        right = right_places(self._draft, verified.written)
        self._draft = EMPTY
        self._tally.right += sum(right)
        self._tally.places += len(right)
        if self._text is not None:
            self._text = self._replay.add(self._text, verified.written, self._places(verified, right))

    def passage_of(self, place: int) -> None:
        """See `ragkit.protocols.Drafting`."""

    def _places(self, verified: Verified, right: Sequence[bool]) -> list[tuple[int, NDArray[np.int32], NDArray[np.float32]]]:
        """Those that are worth recording, see `Replay.add`."""
        chosen = []
        for i in range(len(verified.path)):
            wrong = i < len(right) and not right[i]
            self._owed += 0 if wrong else self._others
            if wrong or self._owed >= 1:
                chosen.append(i)
                self._owed -= 0 if wrong else 1
        if not chosen:
            return []
        logits = verified.logits[[verified.path[i] for i in chosen], : self._width].float()
        top = logits.log_softmax(-1).topk(self._top, -1)
        return list(zip(chosen, top.indices.int().cpu().numpy(), top.values.cpu().numpy(), strict=True))


def right_places(draft: Draft, written: Sequence[int]) -> list[bool]:
    """Of each place from the first on that something was drafted for, whether what was written there was among it."""
    out: list[bool] = []
    node, nodes = -1, list(zip(draft.parents.tolist(), draft.tokens.tolist(), strict=True))
    for token in written:
        children = {t: i for i, (parent, t) in enumerate(nodes) if parent == node}
        if not children:
            break
        out.append(int(token) in children)
        if not out[-1]:
            break
        node = children[int(token)]
    return out
