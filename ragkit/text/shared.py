"""Longest pieces of a text that also stand somewhere else, found with nothing but the question whether a piece does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Held = Callable[[Sequence[tuple[int, int]]], NDArray[np.bool_]]
"""Which of some pieces [start, end) of the text stand there, bool (any,); with a piece also each part of it does."""


def longest_pieces(size: int, least: int, held: Held) -> list[tuple[int, int]]:
    """All pieces of at least `least` of a text's `size` characters that are held and can't be made longer on either side; ascending.

    cost  one question for all pieces of the least length together, then O(log size) for each piece that is found

    >>> there = lambda pieces: np.array(["gasket ring"[a:b] in "an outer ring, a gasket" for a, b in pieces])
    >>> longest_pieces(11, 4, there)
    [(0, 6), (6, 11)]
    """
    if size < least:
        return []
    begins = held([(i, i + least) for i in range(size - least + 1)])
    found: list[tuple[int, int]] = []
    start = 0
    while start < len(begins):
        if not begins[start]:
            start += 1
            continue
        end = _reach(start + least, size, lambda e, s=start: bool(held([(s, e)])[0]))  # type: ignore[misc]
        found.append((start, end))
        if end == size:
            break
        # the next one holds the character behind this one: it begins at the first place from which that is held
        low, high = start + 1, end + 2 - least
        while low < high:
            middle = (low + high) // 2
            if held([(middle, end + 1)])[0]:
                high = middle
            else:
                low = middle + 1
        start = low
    return found


def _reach(low: int, most: int, holds: Callable[[int], bool]) -> int:
    """The largest end from low to most that holds, where low does and all below the largest do: by doubling, then halving."""
    step = 1
    while low < most and holds(min(low + step, most)):
        low = min(low + step, most)
        step *= 2
    high = min(low + step, most)  # the first that is known not to hold, unless low is the most already
    while low + 1 < high:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def apart(pieces: Sequence[tuple[int, int]], least: int) -> list[tuple[int, int]]:
    """Pieces that do not overlap, the longest first chosen and others cut to what is left of them, if that is long enough; ascending.

    >>> apart([(0, 6), (4, 14), (12, 17)], 3)
    [(0, 4), (4, 14), (14, 17)]
    """
    chosen: list[tuple[int, int]] = []
    left = sorted(pieces, key=lambda p: (p[0] - p[1], p[0]))
    while left:
        start, end = left.pop(0)
        chosen.append((start, end))
        cut = [(a, min(b, start)) if a < start else (max(a, end), b) for a, b in left]
        left = sorted((p for p in cut if p[1] - p[0] >= least), key=lambda p: (p[0] - p[1], p[0]))
    return sorted(chosen)
