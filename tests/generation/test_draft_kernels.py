"""What drafters are made of, against slow ones: the suffix automaton, trees put together and chosen from, tri-grams."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragkit.generation.speculative.costs import Costs
from ragkit.generation.speculative.draft import Budget, Draft, Request
from ragkit.generation.speculative.pace import Pace, Worth
from ragkit.generation.speculative.suffix_automaton import SuffixAutomaton, SuffixAutomatonDrafter
from ragkit.generation.speculative.tri_gram import TriGramDrafter
from ragkit.kernels.draft_trees import choose, grow, lay_out, learn, unite

TEXTS = st.lists(st.one_of(st.integers(0, 3), st.just(None)), min_size=1, max_size=60)


def longest_before(text: list[object]) -> int:
    """Tokens at the end of a text that stood in it before, without a separator among them."""
    n = len(text)
    for length in range(n - 1, 0, -1):
        end = text[n - length :]
        if not any(isinstance(t, str) for t in end) and any(text[i : i + length] == end for i in range(n - length)):
            return length
    return 0


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_automaton_finds_the_longest_end_and_copies_what_stood_behind(given_: list[int | None]) -> None:
    automaton, text = SuffixAutomaton(4), list[object]()
    for n, token in enumerate(given_):
        if token is None:
            automaton.separate()
            text.append(f"separator {n}")
            continue
        automaton.extend([token])
        text.append(token)
        assert automaton.longest == longest_before(text)
        tokens, parents, lengths, places = automaton.copies(16, 5)
        assert len(tokens) == 0 or automaton.longest > 0
        if any(not isinstance(t, str) for t in followers(text, automaton.longest)):
            assert len(tokens) > 0
        assert len({*zip(parents.tolist(), tokens.tolist(), strict=True)}) == len(tokens)
        for i in range(len(tokens)):
            path = path_to(i, tokens, parents)
            matched = int(lengths[i]) - len(path) + 1
            assert 1 <= matched <= automaton.longest
            if places[i] >= 0:  # what stood there, behind as many tokens as are said to agree
                whole = [*text[len(text) - matched :], *path]
                assert text[places[i] + 1 - len(whole) : places[i] + 1] == whole


def followers(text: list[object], longest: int) -> list[object]:
    """What stood behind each end of the text, of any length, where it stood first."""
    n = len(text)
    firsts = ((i, length) for length in range(1, longest + 1) for i in range(n - length) if text[i : i + length] == text[n - length :])
    return [text[i + length] for i, length in {length: (i, length) for i, length in reversed(list(firsts))}.values()]


def path_to(node: int, tokens: np.ndarray, parents: np.ndarray) -> list[int]:
    path = []
    while node >= 0:
        path.append(int(tokens[node]))
        node = int(parents[node])
    return path[::-1]


def test_a_passage_is_preferred_to_the_prompt_that_quotes_it() -> None:
    passage = [5, 6, 7, 8, 9]
    copying = SuffixAutomatonDrafter().begin(Request([1, 2, *passage, 3, 5, 6], passages=[[4, 4], passage]))
    draft = copying.propose(Budget(8, 8))
    assert draft.tokens[:3].tolist() == [7, 8, 9]
    assert [copying.passage_of(int(p)) for p in draft.places[:3]] == [(1, 2), (1, 3), (1, 4)]
    assert copying.passage_of(-1) is None
    assert copying.passage_of(10_000) is None


def trees(rng: np.random.Generator, n: int, grades: int = 4) -> Draft:
    seen: set[tuple[int, int]] = set()
    nodes = []
    for i in range(n):
        node = (int(rng.integers(-1, i)) if i else -1, int(rng.integers(0, 3)))
        node = (node[0] if node[0] < len(nodes) else -1, node[1])
        if node not in seen:
            seen.add(node)
            nodes.append(node)
    return Draft.of([t for _, t in nodes], [p for p, _ in nodes], rng.integers(0, grades, len(nodes)).tolist())


@given(st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_united_trees_hold_the_paths_of_both_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drafts = [trees(rng, int(rng.integers(0, 12))) for _ in range(3)]
    known = np.array([True, True, bool(rng.integers(2))])
    tokens, parents = np.empty(64, np.int32), np.empty(64, np.int32)
    grades, places = np.empty((64, 3), np.int32), np.empty(64, np.int64)
    n = 0
    for s, d in enumerate(drafts):
        n = unite(d.tokens, d.parents, d.grades, d.places, known, s, n, tokens, parents, grades, places)
    wanted = defaultdict(dict)  # type: ignore[var-annotated]
    for s, d in enumerate(drafts):
        for i in range(len(d)):
            path = tuple(path_to(i, d.tokens, d.parents))
            if all(known[t] for t in path):
                wanted[path][s] = int(d.grades[i])
    found = {tuple(path_to(i, tokens, parents)): {s: int(g) for s, g in enumerate(grades[i]) if g >= 0} for i in range(n)}
    assert found == dict(wanted)
    assert len(found) == n


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_chosen_nodes_are_the_best_of_all_that_could_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draft = trees(rng, 8)
    n = len(draft)
    rates = rng.random((1, 4)) * 0.9
    costs = np.cumsum(rng.random(10)) + 0.5
    chosen, out = np.empty(16, np.int32), np.empty(1)
    most = choose(draft.parents, draft.grades[:, None].copy(), n, 0, 3, False, rates, costs, out, chosen)
    p, depths = np.empty(n), np.empty(n, int)
    for i in range(n):
        above = draft.parents[i]
        p[i] = rates[0, draft.grades[i]] * (1 if above < 0 else p[above])
        depths[i] = 1 if above < 0 else depths[above] + 1
    best = 1 / costs[0]
    for size in range(1, n + 1):
        for nodes in itertools.combinations(range(n), size):
            if all(draft.parents[i] < 0 or draft.parents[i] in nodes for i in nodes) and max(depths[i] for i in nodes) <= 3:
                best = max(best, (1 + sum(p[i] for i in nodes)) / costs[size])
    taken = chosen[:most].tolist()
    assert taken == sorted(taken)
    assert (1 + sum(p[i] for i in taken)) / costs[most] == pytest.approx(best, rel=1e-6)
    assert out[0] == pytest.approx(1 + sum(p[i] for i in taken), rel=1e-6)
    tokens, parents = np.zeros(most + 1, np.int64), np.empty(most + 1, np.int32)
    levels, sees = np.empty(most + 1, np.int64), np.empty((most + 1, most + 1), bool)
    lay_out(draft.tokens, draft.parents, chosen[:most].copy(), tokens, parents, levels, sees)
    for i in range(most + 1):
        above, node = set[int](), i
        while node >= 0:
            above.add(node)
            node = int(parents[node])
        assert set(np.flatnonzero(sees[i]).tolist()) == above
        assert levels[i] == len(above) - 1
    chain = choose(draft.parents, draft.grades[:, None].copy(), n, 0, 8, True, rates, np.full(12, 1.0), out, chosen)
    assert [int(draft.parents[c]) for c in chosen[:chain]] == [-1, *chosen[: chain - 1].tolist()][:chain]


def test_drafts_that_were_not_verified_teach_too() -> None:
    draft = Draft.of([4, 5, 6, 7], [-1, -1, 1, 1], [0, 1, 2, 3])
    tried, taken = np.zeros((1, 4)), np.zeros((1, 4))
    learn(draft.tokens, draft.parents, draft.grades[:, None].copy(), 4, np.array([5, 7, 9], np.int32), 1.0, tried, taken)
    assert tried.tolist() == [[1, 1, 1, 1]]
    assert taken.tolist() == [[0, 1, 0, 1]]
    learn(draft.tokens, draft.parents, draft.grades[:, None].copy(), 4, np.array([8], np.int32), 0.5, tried, taken)
    assert tried.tolist() == [[1.5, 1.5, 1, 1]]
    assert taken.tolist() == [[0, 0.5, 0, 1]]


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_grown_tree_counts_every_beginning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, (int(rng.integers(1, 12)), 4)).astype(np.int32)
    rows[np.arange(4) >= rng.integers(1, 5, (len(rows), 1))] = -1
    rows = rows[np.lexsort(rows.T[::-1])]
    tokens, parents, counts, firsts = (np.empty(rows.size, np.int32) for _ in range(4))
    n = grow(rows, tokens, parents, counts, firsts)
    wanted = Counter(tuple(r[:d].tolist()) for r in rows for d in range(1, 5) if (r[:d] >= 0).all())
    assert {tuple(path_to(i, tokens, parents)): int(counts[i]) for i in range(n)} == dict(wanted)
    for i in range(n):
        path = path_to(i, tokens, parents)
        assert rows[firsts[i], : len(path)].tolist() == path


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_tri_grams_give_the_most_probable_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 5, 200).tolist()
    draft = TriGramDrafter([text], slots=256).begin(Request(text[-2:])).propose(Budget(20, 4))
    following: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for a, b, c in zip(text, text[1:], text[2:], strict=False):
        following[a, b][c] += 1
    second: dict[int, Counter[int]] = defaultdict(Counter)
    for b, c in itertools.pairwise(text[1:]):
        second[b][c] += 1
    probable: dict[tuple[int, ...], float] = {}

    def walk(a: int, b: int, p: float, path: tuple[int, ...]) -> None:
        counts = following[a, b] or second[b]
        for c, n in counts.items():
            probable[(*path, c)] = p * n / sum(counts.values())
            if len(path) < 3:
                walk(b, c, probable[(*path, c)], (*path, c))

    walk(text[-2], text[-1], 1.0, ())
    found = [probable[tuple(path_to(i, draft.tokens, draft.parents))] for i in range(len(draft))]
    assert found == pytest.approx(sorted(probable.values(), reverse=True)[: len(draft)])
    assert len(draft) == min(20, len(probable))


def test_drafting_stops_where_it_does_not_pay_and_starts_again() -> None:
    pace = Pace()
    assert not pace.drafts(None)  # plain passes are measured first
    assert all(pace.drafts(1.0) for _ in range(10))
    for _ in range(64):
        pace.add(1.0, 1.3, 1.0)
    assert sum(pace.drafts(1.0) for _ in range(80)) == 10
    for _ in range(64):
        pace.add(2.0, 1.3, 1.0)
    assert all(pace.drafts(1.0) for _ in range(80))
    for _ in range(64):
        pace.add(2.0, 1.3, 0.6)  # fewer rows are left: a plain pass takes less
    assert sum(pace.drafts(0.6) for _ in range(80)) == 10
    pace.begin()  # what did not pay in one text may in the next
    for _ in range(4):
        assert pace.drafts(0.6)
        pace.add(1.0, 1.3, 0.6)
    assert not any(pace.drafts(0.6) for _ in range(7))
    pace.begin()
    for _ in range(4):
        assert pace.drafts(0.6)
        pace.add(4.0, 1.3, 0.6)
    assert all(pace.drafts(0.6) for _ in range(20))


def test_a_drafter_is_asked_while_it_adds_more_than_it_takes() -> None:
    worth = Worth()
    for _ in range(200):
        if worth.asks():
            worth.spent(0.5)
            worth.judge(2.0, 1.0, 1.8, 1.0)
    assert sum(worth.asks() for _ in range(160)) == 10
    assert worth.dear(1.0)
    for _ in range(200):
        if worth.asks():
            worth.spent(0.5)
            worth.judge(4.0, 1.0, 1.8, 1.0)
    assert all(worth.asks() for _ in range(50))


def test_costs_are_forgotten_when_they_are_old() -> None:
    """A size that was dear while the machine was busy is tried again."""
    costs = Costs(17)
    for _ in range(5):
        costs.add(1, 1.0)
        costs.add(8, 90.0)
    assert costs.table[7] == pytest.approx(90.0)
    for _ in range(160):
        costs.add(1, 1.0)
    assert costs.table[7] < 1.2
    assert costs.plain == 1.0
