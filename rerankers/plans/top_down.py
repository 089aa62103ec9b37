"""Top-down partitioning: items that beat a pivot are candidates, the others are settled (TDPart: Parry, MacAvaney & Ganguly, 2024).

Departures, for the sake of what was paid for already. The paper reads chunk after chunk and stops once it has more candidates than the
budget. Here the chunks of a round are asked together, so they are read rank by rank, the best of each chunk first: this gives the next
round a stronger pivot, and the budget, which is never exceeded, the likelier candidates. What it leaves out stands behind the candidates,
before the pivot. The pivot, judged below every candidate, is not judged with them again.
"""

from __future__ import annotations

from itertools import zip_longest

from ragkit.errors import InputError
from ragkit.rerankers.plans.answers import arranged
from ragkit.rerankers.plans.plan import WindowPlan, check_count
from ragkit.stage import check_k


def top_down(
    n: int, window: int = 20, k: int = 10, budget: int | None = 20, max_rounds: int = 100, *, ahead: int | None = None
) -> WindowPlan:
    """Order the first window, take its k-th item for the pivot, and compare the rest, in chunks of window - 1, with it.

    What beats the pivot is ordered with the first k - 1 items, in the same way where it is more than a window.

    n           items
    window      items that one call orders, at least 2
    k           items that matter, at most window
    budget      candidates that are kept at most, at least k; None: all that beat the pivot
    max_rounds  rounds after which the order found so far is returned
    ahead       chunks asked in one round; default all. Fewer make more rounds, and save calls where the budget ends the search:
                the chunks not asked are settled as they stand
    kind        window; one group or a round of chunks in turn
    calls       at most top_down_most_calls(n, window, k, budget); none for n < 2
    raises      InputError for numbers out of range

    Without a budget the top k are exact from any input order, if the judge is right. With one they are exact as long as no more
    than budget items are found above the first pivot, as is usual behind a good first stage. For 100 items a right judge is asked
    6 or 7 times in 2 or 3 rounds there; in random order 7 times in 3 rounds with a budget of 20, which finds 88 % of the top 10, and
    9.6 times in 4.7 rounds without.

    >>> plan = top_down(7, window=4, k=2)
    >>> next(plan)
    [(0, 1, 2, 3)]
    >>> plan.send([[3, 2, 1, 0]])  # 2 is the pivot
    [(2, 4, 5, 6)]
    >>> plan.send([[1, 0, 3, 2]])  # 4 beats it
    [(3, 4)]
    >>> try:
    ...     plan.send([[0, 1]])
    ... except StopIteration as end:
    ...     print(end.value)
    [3, 4, 2, 1, 0, 6, 5]
    """
    _check(n, window, k, budget)
    check_k(max_rounds, "max_rounds")
    return _top_down(n, window, k, n if budget is None else budget, max_rounds, n if ahead is None else check_k(ahead, "ahead"))


def top_down_most_calls(n: int, window: int = 20, k: int = 10, budget: int | None = 20) -> int:
    """The most calls that any judge can cause; the fewest for n > window are 1 + ceil((n - window) / (window - 1)).

    >>> top_down_most_calls(100), top_down_most_calls(100, budget=None)
    (7, 31)
    """
    _check(n, window, k, budget)
    calls = 0
    while n > window:
        calls += 1 - (-(n - window) // (window - 1))
        n = min(n - 1 - (window - k), n if budget is None else budget)  # all but the pivot and what the first window rejects
    return calls + (n > 1)


def _check(n: int, window: int, k: int, budget: int | None) -> None:
    check_count(n, "n")
    check_k(k)
    if check_k(window, "window") < 2:
        raise InputError("window must be at least 2, an item and a pivot, got 1")
    if k > window:
        raise InputError(f"k must be at most window, whose k-th item is the pivot; got {k} and {window}")
    if budget is not None and check_k(budget, "budget") < k:
        raise InputError(f"budget must be at least k, the candidates wanted; got {budget} and {k}")


def _top_down(n: int, window: int, k: int, budget: int, max_rounds: int, ahead: int) -> WindowPlan:
    open_, settled = list(range(n)), list[int]()
    rounds = 0
    while len(open_) > 1 and rounds < max_rounds:
        first, rest = tuple(open_[:window]), open_[window:]
        (answer,) = yield [first]
        rounds += 1
        ordered = arranged(first, answer)
        if not rest:
            return ordered + settled
        above, pivot, below = ordered[: k - 1], ordered[k - 1], ordered[k:]
        chunks = [(pivot, *rest[start : start + window - 1]) for start in range(0, len(rest), window - 1)]
        left_out: list[int] = []
        while chunks and len(above) < budget and rounds < max_rounds:
            asked, chunks = chunks[:ahead], chunks[ahead:]
            answers = yield list(asked)
            rounds += 1
            beat: list[list[int]] = []
            for chunk, answer in zip(asked, answers, strict=True):
                judged = arranged(chunk, answer)
                at = judged.index(pivot)
                beat.append(judged[:at])
                below += judged[at + 1 :]
            found = [item for rank in zip_longest(*beat) for item in rank if item is not None]
            room = budget - len(above)
            above += found[:room]
            left_out = found[room:]  # where there are any, this round was the last
        below += [item for chunk in chunks for item in chunk[1:]]
        settled = [*left_out, pivot, *below, *settled]
        if len(above) < k:  # nothing beat the pivot: the first k - 1 are in order
            return above + settled
        open_ = above
    return open_ + settled
