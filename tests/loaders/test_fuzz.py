"""Loaders under attack: thousands of damaged files each, and files made to do harm.

Each ends as documents or as a LoadError that reports it, within limits of time and memory; none writes anything, reads beside its
folder, uses the network or ends the process. A failure names the input; `fuzz_worker --write` makes it again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragkit.registry import BUILT_IN
from tests.loaders.attacks_text import Outside
from tests.loaders.fuzz_cases import attacks, mutated
from tests.loaders.fuzz_pool import Result, Worker
from tests.loaders.fuzz_seeds import LOADERS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits and the watch are Linux's")

_FEW, _MANY = 150, 5_000
_AT_ONCE = 10  # inputs of one job
_QUICK, _FULL = 2_000, 100_000  # how often an attack repeats what it repeats
_NOWHERE = Outside("", "", "")
_MEAN = 0.1  # seconds of computing for a mutation, on average


class Workers:
    """Two processes that share the inputs of a loader."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self._workers = [Worker(folder, **limits) for _ in range(2)]

    def run(self, loader: str, keys: list[int | str]) -> list[Result]:
        jobs = [keys[n : n + _AT_ONCE] for n in range(0, len(keys), _AT_ONCE)]
        waiting = iter(jobs)

        def work(worker: Worker) -> list[Result]:
            return [result for job in waiting for result in worker.run(loader, job)]

        with ThreadPoolExecutor(2) as pool:
            return [result for results in pool.map(work, self._workers) for result in results]

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("quick"), size=_QUICK, cpu=5.0)
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("full"), size=_FULL)
    yield workers
    workers.close()


def _check(results: list[Result], n: int) -> None:
    assert len({r.key for r in results}) == len(results) == n
    wrong = [str(r) for r in results if r.outcome not in ("text", "reported")]
    assert not wrong, f"{len(wrong)} of {n}:\n" + "\n".join(wrong[:10])


def _check_mutations(results: list[Result], n: int) -> None:
    _check(results, n)
    outcomes = [r.outcome for r in results]
    assert outcomes.count("text") > n / 20, "hardly any input is read: the mutations are too coarse to get far"
    assert outcomes.count("reported") > n / 20, "hardly any input is refused: the mutations do too little"
    assert sum(r.seconds for r in results) < _MEAN * n


def test_every_loader_is_fuzzed() -> None:
    assert {*BUILT_IN["loaders"], "beir"} == {*LOADERS}


@pytest.mark.parametrize("loader", LOADERS)
def test_mutations(quick: Workers, loader: str) -> None:
    _check_mutations(quick.run(loader, [*range(_FEW)]), _FEW)


@pytest.mark.parametrize("loader", LOADERS)
def test_attacks(quick: Workers, loader: str) -> None:
    keys: list[int | str] = [*attacks(loader, _NOWHERE, 1)]
    _check(quick.run(loader, keys), len(keys))


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_many_mutations(full: Workers, loader: str) -> None:
    _check_mutations(full.run(loader, [*range(_MANY)]), _MANY)


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_large_attacks(full: Workers, loader: str) -> None:
    keys: list[int | str] = [*attacks(loader, _NOWHERE, 1)]
    _check(full.run(loader, keys), len(keys))


def test_an_input_is_the_same_every_time() -> None:
    for loader in LOADERS:
        assert mutated(loader, 7) == mutated(loader, 7)
        assert len({mutated(loader, n).data for n in range(40)}) > 30


FAULTS = {
    "computes_forever": "in computes_forever",
    "waits_forever": "in waits_forever",
    "takes_too_much": "MemoryError",
    "dies": "exit status -6",
    "raises_a_key_error": "KeyError",
    "recurses": "RecursionError",
    "makes_no_unicode": "not Unicode",
    "reports_a_book": "a reason of 10,000 characters",
    "warns": "warned: a warning",
    "writes_inside": "for writing",
    "writes_outside": "for writing",
    "reads_outside": "beside.txt",
    "reads_outside_in_c": "beside.dtd",
    "uses_the_network": "socket",
    "runs_a_program": "os.system",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("strict"), cpu=0.3, wall=1.0)
    yield worker
    worker.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_harness_notices(strict: Worker, fault: str) -> None:
    [result] = strict.run("text", [0], stand_in=f"tests.loaders.fuzz_bad_loaders:{fault}")
    assert result.outcome == "wrong"
    assert FAULTS[fault] in result.detail
    assert "--write text 0" in str(result)


def test_the_harness_goes_on_after_a_death(strict: Worker) -> None:
    results = strict.run("text", [0, 1], stand_in="tests.loaders.fuzz_bad_loaders:dies")
    assert [(r.key, r.outcome) for r in results] == [(0, "wrong"), (1, "wrong")]
    assert [r.outcome for r in strict.run("csv", [0, 1])].count("wrong") == 0
