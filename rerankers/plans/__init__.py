"""Plans: the sorting algorithms of LLM reranking as generators of the groups to judge, independent of any model."""

from __future__ import annotations

from ragkit.rerankers.plans.bias import PositionBias, position_bias
from ragkit.rerankers.plans.bubble import bubble_most_calls, bubble_select
from ragkit.rerankers.plans.consistency import borda, consistent, disagreements, kemeny
from ragkit.rerankers.plans.heap import heap_most_calls, heap_select
from ragkit.rerankers.plans.pairs import (
    all_pairs,
    all_pairs_calls,
    pair_bubble,
    pair_bubble_most_calls,
    pair_heap,
    pair_heap_most_calls,
    preference,
)
from ragkit.rerankers.plans.plan import BestPlan, Driven, Group, PairPlan, Plan, WindowPlan, drive, reordered, together
from ragkit.rerankers.plans.progressive import progressive, progressive_calls
from ragkit.rerankers.plans.sliding import full, sliding, sliding_calls
from ragkit.rerankers.plans.top_down import top_down, top_down_most_calls

__all__ = [
    "BestPlan",
    "Driven",
    "Group",
    "PairPlan",
    "Plan",
    "PositionBias",
    "WindowPlan",
    "all_pairs",
    "all_pairs_calls",
    "borda",
    "bubble_most_calls",
    "bubble_select",
    "consistent",
    "disagreements",
    "drive",
    "full",
    "heap_most_calls",
    "heap_select",
    "kemeny",
    "pair_bubble",
    "pair_bubble_most_calls",
    "pair_heap",
    "pair_heap_most_calls",
    "position_bias",
    "preference",
    "progressive",
    "progressive_calls",
    "reordered",
    "sliding",
    "sliding_calls",
    "together",
    "top_down",
    "top_down_most_calls",
]
