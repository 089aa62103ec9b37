"""How long one query takes: calls of a single query each, after a warm-up, and their percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragkit.types import Query

TIMED = 200
"""Queries that are timed at most; of more, so many are drawn."""

WARM_UP = 3
"""Calls before the timed ones: the first opens indexes and fills caches."""


@dataclass(frozen=True)
class Latency:
    """Wall-clock time of one query in milliseconds: percentiles over `queries` queries, each the median of `repeats` calls."""

    p50: float
    p95: float
    p99: float
    queries: int
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: p50, p95, p99 in milliseconds, queries, repeats."""
        times = {name: round(getattr(self, name), 4) for name in ("p50", "p95", "p99")}
        return {**times, "queries": self.queries, "repeats": self.repeats}

    def __str__(self) -> str:
        return f"{self.p50:.1f} ms (p50), {self.p95:.1f} ms (p95), {self.p99:.1f} ms (p99)"


def measure_latency(
    searches: Mapping[str, Callable[[Sequence[Query]], object]],
    queries: Sequence[Query],
    *,
    repeats: int = 1,
    seed: int = 7,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Latency]:
    """The latency of each search over the same queries, one query a call, one pass after the other.

    searches  name → what is called with a list of one query
    repeats   passes of each search; a query counts by the median of its calls
    seed      of the drawing of `TIMED` queries, where there are more
    tick      called after each timed call

    The passes of the searches alternate, so that a machine that slows down does so for all of them.
    """
    chosen = np.arange(len(queries))
    if len(queries) > TIMED:
        chosen = np.sort(np.random.default_rng(seed).choice(len(queries), TIMED, replace=False))
    timed = [queries[i] for i in chosen.tolist()]
    seconds = {name: np.empty((repeats, len(timed))) for name in searches}
    for search in searches.values():
        for query in timed[:WARM_UP]:
            search([query])
    for repeat in range(repeats):
        for name, search in searches.items():
            for i, query in enumerate(timed):
                start = time.perf_counter()
                search([query])
                seconds[name][repeat, i] = time.perf_counter() - start
                tick()
    found: dict[str, Latency] = {}
    for name, taken in seconds.items():
        p50, p95, p99 = np.percentile(np.median(taken, axis=0) * 1000, [50, 95, 99]).tolist()
        found[name] = Latency(p50, p95, p99, len(timed), repeats)
    return found
