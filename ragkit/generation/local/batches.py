"""Which prompts share a forward pass: those of similar length, as many as a budget of tokens holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_KEPT = 4
"""Positions whose keys and values a batch keeps, at most, as a multiple of the budget; as much as the budget where nothing is
written, but for a batch of less than `_ENOUGH` tokens."""
_WASTE = 0.8
"""A row shorter than this share of the longest one goes into the next batch, once a batch is `_ENOUGH` tokens."""
_ENOUGH = 2048
"""Tokens of a batch from which on more of them make none cheaper: the weights are read for enough rows, and what is kept of more
leaves the caches."""
SCORES = 1 << 26
"""Logits that a pass over continuations holds at most, as numbers."""


def most_rows(positions: int, width: int) -> int:
    """How many rows' logits of so many positions, over a vocabulary of this width, are held at a time; at least one row's."""
    return max(1, SCORES // (positions * width))


def plan(lengths: Sequence[int], budget: int, *, begun: int = 0, reserve: int = 0, most: int = 1 << 30) -> Iterator[list[int]]:
    """Positions of prompts, longest first, in batches whose padded size stays within a budget of tokens.

    lengths  (n,)  tokens to be computed of each prompt
    budget   tokens of a batch, padding included; a longer prompt is a batch of its own
    begun    positions that stand in front of each row, as of a shared prefix
    reserve  tokens that may be written after each; 0: the batch is only scored
    most     prompts of a batch

    >>> list(plan([3, 9, 4, 1], 10))
    [[1], [2, 0], [3]]
    >>> [len(batch) for batch in plan([100] * 100, 8192, begun=300)]
    [21, 21, 21, 21, 16]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    for i in order:
        longest = lengths[batch[0]] if batch else lengths[i]
        rows = len(batch) + 1
        kept = rows * (begun + longest + reserve)
        full = rows > most or rows * longest > budget or kept > _KEPT * budget
        enough = len(batch) * longest >= _ENOUGH
        if batch and (full or (enough and (lengths[i] < _WASTE * longest or (not reserve and kept > budget)))):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
