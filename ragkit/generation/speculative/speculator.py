"""Which drafted tokens a pass verifies: those that, as measured so far, make most tokens a second.

Nothing here is tuned: how often the nodes of each grade are right is counted for each drafter, what passes cost is timed
(`costs`), and a tree grows by its most probable nodes as long as a second brings more tokens so (`kernels.draft_trees.choose`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragkit.generation.speculative.costs import Costs
from ragkit.generation.speculative.draft import GRADES, Budget, Request, Shift, Verified
from ragkit.generation.speculative.pace import Pace, Worth
from ragkit.generation.speculative.plan import Plan
from ragkit.generation.speculative.report import AcceptedRun
from ragkit.kernels.draft_trees import choose, lay_out, learn, unite
from ragkit.protocols import HiddenStateDrafter

if TYPE_CHECKING:
    from ragkit.protocols import Drafter, Drafting

_DECAY = 0.998
_PRIOR, _WEIGHT = 0.3, 2.0
"""What is believed of a grade before it was tried, and how many trials that is worth."""


class Speculator:
    """What is known of a model and its drafters from all that they wrote so far; shared by the rows of a call and by calls.

    drafters  in the order in which they are credited with what several of them drafted
    width     entries of the model's logits
    ends      tokens that end a text: they are not drafted, for nothing comes behind them
    most      nodes of a tree
    trees     False where the model reads chains alone
    timed     what makes the `Costs` of passes over so many tokens
    """

    def __init__(
        self, drafters: Sequence[Drafter], *, width: int, ends: frozenset[int], most: int = 64, trees: bool = True,
        timed: Callable[[int], Costs] = Costs,
    ) -> None:  # fmt: skip
        self.drafters, self.width, self.most, self.trees = tuple(drafters), width, most, trees
        self.known = np.ones(width, bool)
        self.all = np.ones(width, bool)
        self.known[[e for e in ends if 0 <= e < width]] = False
        shape = (len(self.drafters), GRADES)
        self.tried, self.taken = np.zeros(shape), np.zeros(shape)
        self.worth = [Worth() for _ in self.drafters]
        self.lossless = all(d.lossless for d in self.drafters)
        self.hidden = any(isinstance(d, HiddenStateDrafter) for d in self.drafters)
        self.pace = Pace()
        self._costs: dict[int, Costs] = {}
        self._timed = timed

    @property
    def rates(self) -> NDArray[np.float64]:
        """float64 (S, G): how often nodes of each grade were right where their parent was, by drafter."""
        found: NDArray[np.float64] = (self.taken + _PRIOR * _WEIGHT) / (self.tried + _WEIGHT)
        return found

    def costs(self, rows: int) -> Costs:
        """Of passes over so many rows."""
        if rows not in self._costs:
            self._costs[rows] = self._timed(self.most + 1)
        return self._costs[rows]

    def begin(self, request: Request) -> Speculating:
        """What one row needs."""
        return Speculating(self, request)


class Speculating:
    """One row's drafts, step by step: `plan`, then `observe` what came of it."""

    def __init__(self, speculator: Speculator, request: Request) -> None:
        self._speculator = speculator
        self._draftings: list[Drafting] = [d.begin(request) for d in speculator.drafters]
        room = 4 * speculator.most
        self._tokens, self._parents = np.empty(room, np.int32), np.empty(room, np.int32)
        self._grades, self._places = np.empty((room, len(self._draftings)), np.int32), np.empty(room, np.int64)
        self._chosen, self._out = np.empty(room, np.int32), np.empty(1)
        self._n = 0
        self._proposed = [False] * len(self._draftings)
        self.seconds = np.zeros(len(self._draftings))
        self._taken: list[tuple[int, int, int]] = []
        self.tokens, self.drafted = 0, 0
        self.depths: list[int] = []
        self.alone = 0
        """Tokens that no law was given for, though what drafts is lossy."""

    def plan(self, token: int, deepest: int, costs: Costs) -> Plan:
        """What to verify behind the last token written, at most `deepest` tokens behind one another."""
        who = self._speculator
        budget = Budget(min(who.most, deepest * who.most), deepest, costs.plain)
        n, forced = 0, 0
        laws: Mapping[int, NDArray[np.float64]] = {}
        shift: Shift | None = None
        for s, drafting in enumerate(self._draftings):
            if len(self._draftings) > 1 and not who.worth[s].asks():  # `Pace` judges one alone
                continue
            began = perf_counter()
            draft = drafting.propose(budget)
            known = who.known if not draft.laws else who.all  # which drawn tokens are verified may not depend on what was drawn
            n = unite(
                draft.tokens, draft.parents, draft.grades, draft.places, known, s, n,
                self._tokens, self._parents, self._grades, self._places,
            )  # fmt: skip
            took = perf_counter() - began
            self.seconds[s] += took
            if self._proposed[s]:  # the first time takes longer, for the prompt, which is no reason to stop later
                who.worth[s].spent(took)
            self._proposed[s] = True
            if draft.laws:
                if s or n < len(draft):
                    raise ValueError(f"{who.drafters[s].name} draws its tokens: it must come first, and they must all be kept")
                if draft.shift is not None and who.drafters[s].lossless:
                    raise ValueError(f"{who.drafters[s].name} says that it is lossless, and changes what is written")
                forced, shift = n, draft.shift
                laws = {node: _as_wide(law, who.width) for node, law in draft.laws.items()}
        self._n = n
        self.alone += not (who.lossless or laws)
        most = self._choose(forced, deepest, who.rates, costs)
        if not most:
            return Plan.bare(token, {0: laws[-1]} if shift is not None else None, shift)
        tokens, parents = np.empty(most + 1, np.int64), np.empty(most + 1, np.int32)
        depths, sees = np.empty(most + 1, np.int64), np.empty((most + 1, most + 1), bool)
        tokens[0] = token
        nodes = self._chosen[:most].copy()
        lay_out(self._tokens, self._parents, nodes, tokens, parents, depths, sees)
        at = {-1: 0} | {node: i + 1 for i, node in enumerate(nodes.tolist())}
        drawn = range(1, 1 + int((nodes < forced).sum()))  # they come first
        return Plan(tokens, parents, depths, sees, nodes, {at[n]: law for n, law in laws.items() if n in at}, drawn, shift)

    def _choose(self, forced: int, deepest: int, rates: NDArray[np.float64], costs: Costs) -> int:
        """How many nodes to verify; which ones is left in `_chosen`. Drafters that take long are judged by what they add."""
        who, table, chain = self._speculator, costs.table, not self._speculator.trees
        nodes = self._parents, self._grades, self._n
        most = int(choose(*nodes, forced, deepest, chain, rates, table, self._out, self._chosen))
        expected = float(self._out[0])
        for s, worth in enumerate(who.worth):
            if worth.dear(costs.plain):
                others = rates.copy()
                others[s] = 0
                least = int(choose(*nodes, 0, deepest, chain, others, table, self._out, np.empty_like(self._chosen)))
                worth.judge(expected, float(table[most]), float(self._out[0]), float(table[least]))
        return most

    def observe(self, plan: Plan, verified: Verified) -> None:
        """Learn from what a pass found; without a plan of drafts (`skip`) nothing is learnt of the drafters."""
        who = self._speculator
        learn(
            self._tokens, self._parents, self._grades, self._n, np.array(verified.written, np.int32), _DECAY, who.tried, who.taken
        )  # fmt: skip
        for i, node in enumerate(verified.path[1:]):
            drafted = plan.nodes[node - 1]
            source = int((self._grades[drafted] >= 0).argmax())
            self._taken.append((self.tokens + i, source, int(self._places[drafted])))
        self._count(plan, verified)

    def skip(self, plan: Plan, verified: Verified) -> None:
        """The same of a plain step, for which nobody was asked."""
        self._n = 0
        self._count(plan, verified)

    def _count(self, plan: Plan, verified: Verified) -> None:
        for s, drafting in enumerate(self._draftings):
            began = perf_counter()
            drafting.observe(verified)
            self.seconds[s] += perf_counter() - began
        accepted = len(verified.path) - 1
        self.depths += [0] * (accepted - len(self.depths))
        for d in range(accepted):
            self.depths[d] += 1
        self.tokens += len(verified.written)
        self.drafted += len(plan) - 1

    def begin_with(self, token: int, hidden: Any = None) -> None:
        """The first token, which the pass over the prompt gives. hidden: (1, hidden), of the prompt's last token"""
        self.tokens = 1
        for drafting in self._draftings:
            drafting.observe(Verified([token], np.zeros(0, np.int64), np.zeros(0, np.int32), [], None, hidden))

    @property
    def accepted(self) -> dict[str, int]:
        """Tokens taken by source."""
        counts = {d.name: 0 for d in self._speculator.drafters}
        for _, source, _ in self._taken:
            counts[self._speculator.drafters[source].name] += 1
        return counts

    @property
    def seconds_by_source(self) -> dict[str, float]:
        """Spent on drafts, by source."""
        return {d.name: float(s) for d, s in zip(self._speculator.drafters, self.seconds, strict=True)}

    def runs(self, length: int) -> tuple[AcceptedRun, ...]:
        """What was taken of the first tokens of the text, joined where tokens and places follow one another."""
        out: list[AcceptedRun] = []
        last: tuple[int, int, int] | None = None
        for at, source, place in (t for t in self._taken if t[0] < length):
            where = self._draftings[source].passage_of(place)
            follows = last is not None and place >= 0 and (at, source, place) == (last[0] + 1, last[1], last[2] + 1)
            passage, first = where or (None, None)
            if out and follows and out[-1].passage == passage:
                out[-1] = AcceptedRun(out[-1].start, at + 1, out[-1].source, passage, out[-1].first)
            else:
                out.append(AcceptedRun(at, at + 1, self._speculator.drafters[source].name, passage, first))
            last = (at, source, place)
        return tuple(out)


def _as_wide(law: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """A distribution over the model's logits, of a drafter's that may have fewer: heads of one tokenizer are padded differently."""
    return law if len(law) == width else np.pad(law, (0, width - len(law)))
