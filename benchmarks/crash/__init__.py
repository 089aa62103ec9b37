"""Crashes: writers killed at random moments, and the power cut at every point of a run; nothing that was acknowledged may be lost.

`kills` sends SIGKILL to writers of one collection, one after another. The operating system keeps what a killed process has
written, so that this would pass with no fsync at all; `power` records a run and replays it with everything dropped that was not
synced, or put in another order.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.crash.kills import Tally, kill_writers
from benchmarks.crash.power import cut_power
from benchmarks.crash.replay import Losses

SEED = 7


def options(parser: argparse.ArgumentParser) -> None:
    """Declare this benchmark's own options."""
    parser.add_argument("--kills", type=_at_least_one, default=200, help="of writers; default 200")
    parser.add_argument("--power", action="store_true", help="cut the power only, kill no writers")


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least one writer has to be killed, not {text!r}")
    return int(text)


def run(data: Path, kills: int = 200, power: bool = False) -> dict[str, Any]:
    """Kill writers (unless it is the power alone), then cut the power; tells on standard error how far it is."""
    record: dict[str, Any] = {"benchmark": "crash", "quality": {}, "context": {"seed": SEED}}
    if not power:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            tally = kill_writers(Path(folder, "c.rag"), kills, SEED, _tell)
        _take(record, of_kills(tally), tally.problems, "kill_seconds", start)
    start = time.perf_counter()
    losses = cut_power(SEED, _tell)
    _take(record, of_power(losses), losses.problems, "power_seconds", start)
    return record


def of_kills(tally: Tally) -> dict[str, dict[str, Any]]:
    """Quality and context of killed writers."""
    return {
        "quality": {
            "kills": tally.kills,
            "kills_inside_commit": tally.inside_commit,
            "lost_commits": tally.findings["lost"],
            "corrupt_opens": tally.findings["corrupt"],
            "wrong_answers": tally.findings["wrong"],
            "failed_writers": tally.findings["failed writer"],
            "orphans_left": tally.orphans,
        },
        "context": {
            "operations_acknowledged": tally.operations,
            "killed_in": dict(tally.in_flight.most_common()),
            "in_flight_found_committed": tally.committed,
            "in_flight_found_not_committed": tally.not_committed,
        },
    }


def of_power(losses: Losses) -> dict[str, dict[str, Any]]:
    """Quality and context of power cuts."""
    return {
        "quality": {"power_cut_losses": losses.findings.total()},
        "context": {
            "power_events": losses.events,
            "power_cuts_dropped": losses.dropped,
            "power_cuts_reordered": losses.reordered,
            "power_distinct_states": losses.states,
            "power_states_written_on": losses.continued,
            "power_orphans_after_writing_on": losses.orphans,
            "power_losses_by_kind": dict(losses.findings),
            "purged_text_found": losses.purged_text,
        },
    }


def _take(record: dict[str, Any], parts: dict[str, dict[str, Any]], problems: list[str], timed: str, start: float) -> None:
    for part, values in parts.items():
        record[part].update(values)
    record["context"][timed] = round(time.perf_counter() - start, 1)
    for problem in problems[:20]:
        _tell(problem)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
