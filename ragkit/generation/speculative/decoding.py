"""The loop that writes by drafts: what comes next is foretold, one pass of the model checks it all, and what is right is kept.

Each token is chosen from the model's own logits exactly as `local.decoding.decode` chooses it: same rule, same limits, same random
numbers in the same order. A draft decides only how many of them one pass can tell; unless it is lossy (`Draft.shift`): then it says too
what takes the place of the model's distribution, at every token and not only where that pays. source: Leviathan et al., Fast Inference from
Transformers via Speculative Decoding, ICML 2023; Miao et al., SpecInfer, ASPLOS 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from ragkit.generation.local.causal import CausalBatch
from ragkit.generation.local.decoding import Row, logprobs_of
from ragkit.generation.local.sampling import Sampling, check_numbers
from ragkit.generation.local.trees import TreeBatch
from ragkit.generation.speculative.acceptance import accept_drawn
from ragkit.generation.speculative.draft import Verified
from ragkit.generation.speculative.plan import Plan
from ragkit.generation.speculative.speculator import Speculating, Speculator


def speculate(
    batch: CausalBatch, rows: Sequence[Row], sampling: Sampling, speculator: Speculator, writing: Sequence[Speculating],
    *, model: str, logprobs: bool = False,
) -> Iterator[None]:  # fmt: skip
    """Write all rows to their ends, see `local.decoding.decode`; yields after every pass.

    writing  of each row
    """
    seen: list[Any] = [None]
    see = partial(seen.__setitem__, 0) if speculator.hidden else None
    logits = batch.start(see=see)[:, -1]
    check_numbers(logits, [row.number for row in rows], model)
    live = []
    for r, row in enumerate(rows):
        plan = Plan.bare(0) if speculator.lossless else writing[r].plan(0, 0, speculator.costs(len(rows)))
        walk = _Walk(row, plan, logits[r : r + 1], sampling, logprobs)
        writing[r].begin_with(walk.written[0], None if see is None else seen[0][r])
        if walk.going:
            live.append(r)
    yield
    tree = TreeBatch(batch)
    if 0 < len(live) < len(rows):
        tree.keep(live)
    pace = speculator.pace
    pace.begin()
    steady = not speculator.lossless and sampling.temperature > 0  # so that a seed gives one text, whatever the clock says
    while live:
        began = perf_counter()
        costs = speculator.costs(len(live))
        plain = costs.plain
        asks = pace.drafts(plain) or steady
        plans = [
            writing[r].plan(rows[r].tokens[-1], rows[r].left - 1 if asks else 0, costs)
            if asks or not speculator.lossless
            else Plan.bare(rows[r].tokens[-1])
            for r in live
        ]
        width = max(map(len, plans))
        passing = perf_counter()
        logits = tree.verify(*_filled(plans, width), see)
        check_numbers(logits, [rows[r].number for r in live], model)
        walks = [_Walk(rows[r], plan, logits[i], sampling, logprobs) for i, (r, plan) in enumerate(zip(live, plans, strict=True))]
        tree.accept([w.path for w in walks], width)
        passed = perf_counter()
        costs.add(width, passed - passing)
        for i, (r, plan, walk) in enumerate(zip(live, plans, walks, strict=True)):
            hidden = None if see is None else seen[0][i]
            verified = Verified(walk.written, plan.tokens, plan.parents, walk.path, logits[i], hidden)
            (writing[r].observe if asks else writing[r].skip)(plan, verified)
        if plain is not None and asks:
            pace.add(sum(len(w.written) for w in walks) / len(live), perf_counter() - began, plain)
        yield
        going = [i for i, w in enumerate(walks) if w.going]
        if len(going) < len(live):
            live = [live[i] for i in going]
            if live:
                tree.keep(going)


class _Walk:
    """A row's way through its tree: at each node the token is chosen, written, and followed where it was drafted.

    written  tokens; path  nodes, from the first on; going  False where the text ended
    """

    def __init__(self, row: Row, plan: Plan, logits: Any, sampling: Sampling, logprobs: bool) -> None:
        self.written: list[int] = []
        self.path = [0]
        children = plan.children() if len(plan) > 1 else {}
        laws = plan.laws if row.guide is None else {}  # with a guide, a guess is right or not, however it was made
        drawn = plan.drawn() if laws else {}
        best = logits[: len(plan)].argmax(-1).tolist() if sampling.temperature == 0 and row.guide is None else None
        while True:
            node = self.path[-1]
            here = logits[node : node + 1]
            if plan.shift is not None and node in laws:
                law = plan.shift(sampling.drawing().probabilities(here)[0], laws[node])
                token = int(law.argmax()) if best is not None else accept_drawn(law, laws[node], drawn.get(node, ()), row.generator)
            elif best is not None:
                token = best[node]
            elif node in drawn:
                token = accept_drawn(sampling.probabilities(here)[0], laws[node], drawn[node], row.generator)
            else:
                token = sampling.choose(here, [row.generator], [row.guide.allowed() if row.guide else None])[0]
            self.written.append(token)
            self.going = row.take(token, logprobs_of(here, [token])[0] if logprobs else None)
            child = children.get((node, token))
            if not self.going or child is None:
                return
            self.path.append(child)


def _filled(plans: Sequence[Plan], width: int) -> tuple[Any, Any, Any]:
    """(tokens, depths, who sees whom) of all rows, in one shape."""
    if len(plans) == 1:
        plan = plans[0]
        return plan.tokens[None], plan.depths[None], plan.sees[None]
    tokens, depths = np.zeros((len(plans), width), np.int64), np.zeros((len(plans), width), np.int64)
    sees = np.broadcast_to(np.eye(width, dtype=bool), (len(plans), width, width)).copy()
    for r, plan in enumerate(plans):
        n = len(plan)
        tokens[r, :n], depths[r, :n], sees[r, :n, :n] = plan.tokens, plan.depths, plan.sees
    return tokens, depths, sees
