"""Pieces that two texts share, against trying all pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragkit.text.shared import apart, longest_pieces

TEXT = st.text(st.sampled_from("ab"), max_size=24)


@given(TEXT, TEXT, st.integers(1, 5))
def test_the_longest_pieces_are_all_found(text: str, other: str, least: int) -> None:
    asked = 0

    def held(pieces: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        nonlocal asked
        asked += 1
        return np.array([text[a:b] in other for a, b in pieces], np.bool_)

    held_pieces = {(a, b) for a in range(len(text)) for b in range(a + least, len(text) + 1) if text[a:b] in other}
    longest = sorted((a, b) for a, b in held_pieces if (a - 1, b) not in held_pieces and (a, b + 1) not in held_pieces)
    assert longest_pieces(len(text), least, held) == longest
    assert asked <= 1 + 12 * len(longest)


@given(st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda p: p[0] < p[1])), st.integers(1, 4))
def test_chosen_pieces_do_not_overlap(found: set[tuple[int, int]], least: int) -> None:
    longest = [(a, b) for a, b in sorted(found) if b - a >= least and not any((c, d) != (a, b) and c <= a and b <= d for c, d in found)]
    chosen = apart(longest, least)
    assert chosen == sorted(chosen)
    assert all(b - a >= least for a, b in chosen)
    assert all(b <= c for (_, b), (c, _) in pairwise(chosen))
    assert all(any(c <= a and b <= d for c, d in longest) for a, b in chosen)
    if longest:
        assert max(b - a for a, b in chosen) == max(b - a for a, b in longest)
