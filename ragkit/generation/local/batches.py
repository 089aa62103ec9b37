"""Which prompts share a forward pass: those of similar length, as many as a budget of tokens holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_KEPT = 4
"""Positions whose keys and values a batch keeps, at most, as a multiple of the tokens that it computes."""
_WASTE = 0.8
"""A row shorter than this share of the longest one goes into the next batch, once a batch is `_ENOUGH` tokens."""
_ENOUGH = 2048
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
    reserve  tokens that may be written after each
    most     prompts of a batch

    >>> list(plan([3, 9, 4, 1], 10))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    for i in order:
        longest = lengths[batch[0]] if batch else lengths[i]
        rows = len(batch) + 1
        full = rows > most or rows * longest > budget or rows * (begun + longest + reserve) > _KEPT * budget
        if batch and (full or (len(batch) * longest >= _ENOUGH and lengths[i] < _WASTE * longest)):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
