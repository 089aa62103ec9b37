"""Keys and values of a beginning that several prompts share: computed once, then copied in front of every prompt's own rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST = 32
"""Tokens from which on a shared beginning is computed apart: below, the pass that it takes costs as much as it saves."""


def common_prefix(sequences: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The longest beginning of all sequences.

    >>> common_prefix([[5, 6, 7], [5, 6, 8, 9]]).tolist()
    [5, 6]
    """
    shared = np.asarray(sequences[0], np.int64)
    for one in sequences[1:]:
        shared = shared[: length_shared(shared, np.asarray(one[: len(shared)], np.int64))]
    return shared


def length_shared(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """How many tokens two sequences have in common from the beginning."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def pays(kept: int, total: int, width: int) -> bool:
    """Whether a prompt of so many tokens is read faster behind kept ones than whole.

    A layer of width h multiplies a token by about 12 h^2 weights, and by 2 h numbers for each position that it attends to. Read whole,
    a prompt attends to half of the square of its length; behind a beginning, for which fast attention has no causal form, all of its
    rest attends to everything.

    >>> pays(81, 2256, 512), pays(955, 2256, 512), pays(40, 300, 512)
    (False, True, True)
    """
    return 12 * width * kept >= 2 * (total - kept) * total - total**2


@dataclass(frozen=True)
class Prefix:
    """Tokens, and each layer's keys and values of them, (1, heads, P, dim); nobody writes into these."""

    ids: NDArray[np.int64]
    layers: tuple[tuple[Any, Any], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, length: int) -> Prefix:
        """The first tokens of it, as views."""
        if length == len(self.ids):
            return self
        return Prefix(self.ids[:length], tuple((k[:, :, :length], v[:, :, :length]) for k, v in self.layers))

    def alone(self) -> Prefix:
        """The same without the rest of the buffers that it is a view of; a copy where there is a rest."""
        return Prefix(self.ids.copy(), tuple((_alone(k), _alone(v)) for k, v in self.layers))


class KeptPrefix:
    """The last prefix that was computed, for the next call; at most `limit` tokens of it.

    Not locked: its owner asks it under the lock that guards the model.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: Prefix | None = None

    def match(self, ids: NDArray[np.int64]) -> Prefix | None:
        """What of the kept prefix these tokens begin with; None below `SHORTEST`."""
        if self._kept is None:
            return None
        shared = length_shared(self._kept.ids, ids)
        return self._kept.cut(shared) if shared >= SHORTEST else None

    def keep(self, prefix: Prefix) -> None:
        """Keep a prefix, its first `limit` tokens, in place of the last; one that is the beginning of the last changes nothing."""
        if self._kept is not None and length_shared(self._kept.ids, prefix.ids) == len(prefix):
            return
        if min(len(prefix), self.limit) >= SHORTEST:
            self._kept = prefix.cut(min(len(prefix), self.limit)).alone()


def _alone(values: Any) -> Any:
    return values.clone() if values.untyped_storage().nbytes() > values.numel() * values.element_size() else values
