"""Trees of drafted tokens: several drafters' put together, the nodes that pay chosen, and laid out for one pass of a model.

A node names its parent, which comes before it; -1 is the root, the last token that was written. Siblings differ in their tokens.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from ragkit.kernels.signatures import (
    BOOL_2D,
    F64,
    F64_2D,
    I32,
    I32_2D,
    I64,
    READ_BOOL,
    READ_F64,
    READ_F64_2D,
    READ_I32,
    READ_I32_2D,
    READ_I64,
)  # fmt: skip
from ragkit.kernels.signed import signed


@nb.njit(nb.int64(READ_I32, READ_I32, nb.int64, nb.int64, nb.int64), cache=True, nogil=True)
def find_child(tokens: NDArray[np.int32], parents: NDArray[np.int32], n: int, parent: int, token: int) -> int:
    """The child of a node, among the first n nodes, with a token; -1 where there is none."""
    for i in range(parent + 1, n):
        if parents[i] == parent and tokens[i] == token:
            return i
    return -1


@nb.njit(nb.int64(READ_I32, READ_I32, READ_I32, READ_I64, READ_BOOL, nb.int64, nb.int64, I32, I32, I32_2D, I64), cache=True, nogil=True)
def unite(
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    grades: NDArray[np.int32],
    places: NDArray[np.int64],
    known: NDArray[np.bool_],
    source: int,
    n: int,
    all_tokens: NDArray[np.int32],
    all_parents: NDArray[np.int32],
    all_grades: NDArray[np.int32],
    all_places: NDArray[np.int64],
) -> int:
    """Put a drafter's tree into the one of all, by longest prefix match; how many nodes that has then.

    tokens, parents, grades  int32 (T,)   of the tree; places int64 (T,)
    known                    bool (V,)    tokens that may be drafted; with another all that follows it is left out
    n                        nodes so far
    all_tokens, all_parents  int32 (A,)   in and out; what finds no room is left out
    all_grades               int32 (A, S) in and out: -1 where a source has no such node
    all_places               int64 (A,)   in and out: of the first source that has the node
    source: Quan et al., RASD, ACL 2025 (longest prefix matching)
    """
    at = np.empty(len(tokens), np.int32)
    for i in range(len(tokens)):
        parent = -1 if parents[i] < 0 else signed(at[parents[i]])
        if (parents[i] >= 0 and parent < 0) or tokens[i] >= len(known) or not known[tokens[i]]:
            at[i] = -1
            continue
        node = find_child(all_tokens, all_parents, n, parent, tokens[i])
        if node < 0 and n < len(all_tokens):
            node = n
            n += 1
            all_tokens[node], all_parents[node], all_places[node] = tokens[i], parent, places[i]
            all_grades[node, :] = -1
        at[i] = node
        if node >= 0 and all_grades[node, source] < 0:
            all_grades[node, source] = grades[i]
    return n


@nb.njit(nb.int64(READ_I32, READ_I32_2D, nb.int64, nb.int64, nb.int64, nb.boolean, READ_F64_2D, READ_F64, F64, I32), cache=True, nogil=True)
def choose(
    parents: NDArray[np.int32],
    grades: NDArray[np.int32],
    n: int,
    forced: int,
    deepest: int,
    chain: bool,
    rates: NDArray[np.float64],
    costs: NDArray[np.float64],
    out: NDArray[np.float64],
    chosen: NDArray[np.int32],
) -> int:
    """The nodes whose verification makes most tokens a second; how many they are.

    A node is as probable as the best of its sources makes it, times its parent: rates[s, g] is how often nodes of grade g from
    source s were taken where their parent was.

    parents  int32 (A,)      grades int32 (A, S)     of the first n nodes
    forced   nodes, the first ones, that are chosen whatever they are: drawn ones, which may not be picked from
    deepest  tokens in a path at most
    chain    whether no two nodes may have one parent
    rates    float64 (S, G)
    costs    float64 (<= A + 1,)   seconds of a pass over the root and t nodes; no more nodes than it tells of are chosen
    out      float64 (1,)    output: tokens expected of the pass, the one that always comes included
    chosen   int32 (A,)      output: the nodes, ascending
    """
    p, keys, depths = np.empty(n), np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        best = 0.0
        for s in range(grades.shape[1]):
            if grades[i, s] >= 0:
                best = max(best, rates[s, grades[i, s]])
        # a hair less than its parent, so that a parent never comes after it
        p[i] = best * (1.0 if parents[i] < 0 else p[parents[i]]) * (1 - 1e-9)
        depths[i] = 1 if parents[i] < 0 else depths[parents[i]] + 1
        keys[i] = -2.0 + i * 1e-6 if i < forced else -p[i]
    expected, rate, most, n_chosen, out[0] = 1.0, 1.0 / costs[0], 0, 0, 1.0
    end = -1
    for i in np.argsort(keys, kind="mergesort"):
        if n_chosen + 1 >= len(costs):
            break
        if depths[i] > deepest or (chain and parents[i] != end):
            continue
        chosen[n_chosen] = end = i
        n_chosen += 1
        expected += p[i]
        if n_chosen <= forced or expected / costs[n_chosen] > rate:
            most, rate, out[0] = n_chosen, expected / costs[n_chosen], expected
    chosen[:most].sort()
    return most


@nb.njit(nb.void(READ_I32, READ_I32, READ_I32, I64, I32, I64, BOOL_2D), cache=True, nogil=True)
def lay_out(
    all_tokens: NDArray[np.int32],
    all_parents: NDArray[np.int32],
    chosen: NDArray[np.int32],
    tokens: NDArray[np.int64],
    parents: NDArray[np.int32],
    depths: NDArray[np.int64],
    sees: NDArray[np.bool_],
) -> None:
    """Chosen nodes behind their root, which is node 0 and has its token in tokens[0] already.

    chosen   int32 (T,)          ascending, with each node its parent
    tokens   int64 (T + 1,)      output
    parents  int32 (T + 1,)      output: -1 for the root
    depths   int64 (T + 1,)      output
    sees     bool (T + 1, T + 1) output: whether a node follows another, or is it
    """
    at = np.empty(len(all_tokens), np.int32)
    parents[0], depths[0] = -1, 0
    sees[:, :] = False
    sees[0, 0] = True
    for i in range(len(chosen)):
        node = i + 1
        at[chosen[i]] = node
        parent = 0 if all_parents[chosen[i]] < 0 else at[all_parents[chosen[i]]]
        tokens[node], parents[node], depths[node] = all_tokens[chosen[i]], parent, depths[parent] + 1
        sees[node] = sees[parent]
        sees[node, node] = True


@nb.njit(nb.void(READ_I32, READ_I32, READ_I32_2D, nb.int64, READ_I32, nb.float64, F64_2D, F64_2D), cache=True, nogil=True)
def learn(
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    grades: NDArray[np.int32],
    n: int,
    written: NDArray[np.int32],
    decay: float,
    tried: NDArray[np.float64],
    taken: NDArray[np.float64],
) -> None:
    """Count of the first n nodes which were right, also of those that were not verified: their parent is what was written.

    written       int32 (W,)      tokens behind the root
    decay         what an older trial counts beside a new one
    tried, taken  float64 (S, G)  in and out
    """
    node = -1
    for token in written:
        follows = -1
        for i in range(node + 1, n):
            if parents[i] != node:
                continue
            if tokens[i] == token:
                follows = i
            for s in range(grades.shape[1]):
                g = grades[i, s]
                if g >= 0:
                    tried[s, g] = tried[s, g] * decay + 1
                    taken[s, g] = taken[s, g] * decay + (1 if tokens[i] == token else 0)
        if follows < 0:
            break
        node = follows


@nb.njit(nb.int64(READ_I32_2D, I32, I32, I32, I32), cache=True, nogil=True)
def grow(
    rows: NDArray[np.int32], tokens: NDArray[np.int32], parents: NDArray[np.int32], counts: NDArray[np.int32], firsts: NDArray[np.int32]
) -> int:
    """The tree of sequences that lie in order; how many nodes it has.

    rows     int32 (R, L)   lexicographically ascending; a negative token ends a sequence
    tokens, parents, counts, firsts  int32 (T,)   output: counts sequences go through a node, firsts is the first of them
    """
    n = 0
    path = np.full(rows.shape[1], -1, np.int32)
    for r in range(len(rows)):
        same = r > 0
        for d in range(rows.shape[1]):
            token = rows[r, d]
            if token < 0:
                path[d:] = -1
                break
            same = same and path[d] >= 0 and tokens[path[d]] == token
            if not same:
                if n == len(tokens) or (d > 0 and path[d - 1] < 0):
                    path[d:] = -1
                    break
                tokens[n], parents[n], counts[n], firsts[n] = token, -1 if d == 0 else path[d - 1], 0, r
                path[d] = n
                n += 1
            counts[path[d]] += 1
    return n


@nb.njit(nb.int64(READ_I32_2D, nb.int64, READ_I32, READ_I32, I32, I32, I32), cache=True, nogil=True)
def recycle(
    table: NDArray[np.int32],
    last: int,
    tree: NDArray[np.int32],
    ranks: NDArray[np.int32],
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    grades: NDArray[np.int32],
) -> int:
    """Fill a static tree from a table of successors; how many nodes it has.

    table       int32 (V, K)    successors of each token, the most probable first; -1 where none is known
    last        the token at the root
    tree, ranks int32 (T,)      parent and rank of each node, levels in order
    tokens, parents, grades     int32 (<= T,) output; a grade is the rank, and 8 more at each of the first three levels
    """
    n = 0
    at, depths = np.full(len(tree), -1, np.int32), np.zeros(len(tree), np.int32)
    for i in range(len(tree)):
        if n == len(tokens):
            break
        parent = tree[i]
        if parent >= 0 and at[parent] < 0:
            continue
        token = table[last if parent < 0 else tokens[at[parent]], ranks[i]]
        if token < 0:
            continue
        depths[i] = 0 if parent < 0 else depths[parent] + 1
        tokens[n], parents[n], grades[n] = token, -1 if parent < 0 else at[parent], ranks[i] + 8 * min(depths[i], 3)
        at[i] = n
        n += 1
    return n
