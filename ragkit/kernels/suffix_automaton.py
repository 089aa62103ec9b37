"""A suffix automaton that grows by a token at a time: the longest end of a text that stood in it before is always at hand.

Transitions lie in a table of open addressing keyed by state and token, and hang on their state in a list, for a clone copies them.
source: Blumer et al., The smallest automaton recognizing the subwords of a text, 1985; Hu et al., SAM Decoding, ACL 2025.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.draft_trees import find_child
from ragkit.kernels.signatures import I32, I32_2D, I64, READ_I32, READ_I32_2D, READ_I64

LINK, LENGTH, FIRST, LAST, HEAD = range(5)
"""Rows of `states`: suffix link, length of the longest text, where that ends first and last, first transition; -1 for none."""
FROM, TOKEN, TO, NEXT = range(4)
"""Rows of `edges`: the state that a transition leaves, its token, the state it leads to, the next one that leaves the same."""
N_STATES, N_EDGES, STATE, N_TOKENS = range(4)
"""Entries of `sizes`: states, transitions, the state of the whole text, and its tokens."""
_CLIMB = 16
"""States whose last place is kept true: those of the longest ends. Shorter ones may name an older place."""


@nb.njit(cache=True, nogil=True)
def _slot(state: int, token: int, edges: NDArray[np.int32], table: NDArray[np.int32]) -> int:
    """Where a transition stands in the table, or would."""
    mask = len(table) - 1
    at = ((state * 0x9E3779B1) ^ (token * 0x85EBCA6B)) & mask
    while table[at] >= 0 and (edges[FROM, table[at]] != state or edges[TOKEN, table[at]] != token):
        at = (at + 1) & mask
    return at


@nb.njit(cache=True, nogil=True)
def _link_up(
    state: int, token: int, to: int, states: NDArray[np.int32], edges: NDArray[np.int32], table: NDArray[np.int32], sizes: NDArray[np.int64]
) -> None:
    """Add a transition that is not there."""
    edge = sizes[N_EDGES]
    sizes[N_EDGES] += 1
    edges[FROM, edge], edges[TOKEN, edge], edges[TO, edge] = state, token, to
    edges[NEXT, edge] = states[HEAD, state]
    states[HEAD, state] = edge
    table[_slot(state, token, edges, table)] = edge


@nb.njit(cache=True, nogil=True)
def _touch(states: NDArray[np.int32], state: int, place: int) -> None:
    """Note of a state and those above it, the longest first, that their texts end at a place."""
    for _ in range(_CLIMB):
        if state <= 0:
            break
        states[LAST, state] = place
        state = states[LINK, state]


@nb.njit(nb.void(READ_I32, I32_2D, I32_2D, I32, I64, I32), cache=True, nogil=True)
def extend(
    tokens: NDArray[np.int32],
    states: NDArray[np.int32],
    edges: NDArray[np.int32],
    table: NDArray[np.int32],
    sizes: NDArray[np.int64],
    text: NDArray[np.int32],
) -> None:
    """Read tokens behind the text.

    tokens  int32 (t,)          a separator is a negative number that stands nowhere else
    states  int32 (5, >= 2n)    see `LINK`; room for twice as many as there will be tokens
    edges   int32 (4, >= 3n)    see `FROM`
    table   int32 (2^any,)      at least twice as many slots as transitions; -1 where free
    sizes   int64 (4,)          see `N_STATES`
    text    int32 (>= n,)       the text so far
    cost    O(1) each, amortised
    """
    for token in tokens:
        last, n = sizes[STATE], sizes[N_TOKENS]
        _touch(states, states[LINK, last], n - 1)
        current = sizes[N_STATES]
        sizes[N_STATES] += 1
        text[n] = token
        sizes[N_TOKENS] += 1
        states[LENGTH, current] = states[LENGTH, last] + 1
        states[FIRST, current] = states[LAST, current] = n
        states[HEAD, current] = -1
        p = last
        found = -1
        while p >= 0:
            found = table[_slot(p, token, edges, table)]
            if found >= 0:
                break
            _link_up(p, token, current, states, edges, table, sizes)
            p = states[LINK, p]
        if p < 0:
            states[LINK, current] = 0
        else:
            q = edges[TO, found]
            if states[LENGTH, p] + 1 == states[LENGTH, q]:
                states[LINK, current] = q
            else:
                clone = sizes[N_STATES]
                sizes[N_STATES] += 1
                states[:, clone] = states[:, q]
                states[LENGTH, clone] = states[LENGTH, p] + 1
                states[HEAD, clone] = -1
                edge = states[HEAD, q]
                while edge >= 0:
                    _link_up(clone, edges[TOKEN, edge], edges[TO, edge], states, edges, table, sizes)
                    edge = edges[NEXT, edge]
                while p >= 0:
                    found = table[_slot(p, token, edges, table)]
                    if found < 0 or edges[TO, found] != q:
                        break
                    edges[TO, found] = clone
                    p = states[LINK, p]
                states[LINK, q] = states[LINK, current] = clone
        sizes[STATE] = current


@nb.njit(nb.int64(READ_I32_2D, READ_I64, READ_I32, nb.int64, I32, I32, I32, I64), cache=True, nogil=True)
def copies(
    states: NDArray[np.int32],
    sizes: NDArray[np.int64],
    text: NDArray[np.int32],
    depth: int,
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    lengths: NDArray[np.int32],
    places: NDArray[np.int64],
) -> int:
    """What stood behind the longest ends of the text where they stood before, as a tree; how many nodes it has.

    Each end is looked up where it stood first and last, the longest end first. What is copied may run over the end of the text
    into the copy itself, as it does where a text repeats itself.

    states, sizes, text  see `extend`
    depth                tokens to copy at most from each place
    tokens, parents      int32 (T,)   output: nodes, parents first; -1 for a parent that is the end of the text
    lengths              int32 (T,)   output: tokens in front of the node that stood there in front of it too
    places               int64 (T,)   output: where in the text it was copied from, -1 for a copy of the copy
    """
    n, made = sizes[N_TOKENS], 0
    state = states[LINK, sizes[STATE]]
    for _ in range(_CLIMB):
        if state <= 0 or made == len(tokens):
            break
        for which in range(FIRST, LAST + 1):
            end = states[which, state]
            if which == LAST and end == states[FIRST, state]:
                continue
            node, period = -1, n - 1 - end
            for d in range(depth):
                place = end + 1 + d
                token = text[place if place < n else end + 1 + d % period]
                if token < 0:
                    break
                child = find_child(tokens, parents, made, node, token)
                if child < 0:
                    if made == len(tokens):
                        break
                    child = made
                    tokens[child], parents[child], lengths[child] = token, node, states[LENGTH, state] + d
                    places[child] = place if place < n else -1
                    made += 1
                node = child
        state = states[LINK, state]
    return made
