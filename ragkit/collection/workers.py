"""Worker processes: they read files, cut documents and build index parts beside the process that commits.

They are spawned, never forked: a fork would copy locks that some thread holds.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from ragkit.errors import CollectionError, InputError

A = TypeVar("A")
B = TypeVar("B")

_BATCH = 8
"""Items that a worker gets at once."""


class Workers:
    """Some worker processes, or none: then everything is done in this process, when it is asked for."""

    def __init__(self, n: int = 0) -> None:
        if not isinstance(n, int) or n < 0:
            raise InputError(f"workers must be 0 (none) or more, a whole number, got {n!r}")
        self.n = n
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(n, mp_context=context, initializer=_end_with_parent) if n else None

    def submit(self, work: Callable[..., B], *given: Any) -> Callable[[], B]:
        """Begin some work; call what comes back for its result."""
        if self._pool is None:
            result = work(*given)
            return lambda: result
        with _told():
            future = self._pool.submit(work, *given)
        return lambda: _result(future)

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """The results in the order of the items; only as many are under way as keep all workers busy."""
        if self._pool is None:
            yield from map(work, items)
            return
        left, under_way = iter(items), deque[Future[list[B]]]()
        while True:
            while len(under_way) < 3 * self.n and (batch := list(islice(left, _BATCH))):
                with _told():
                    under_way.append(self._pool.submit(_all, work, batch))
            if not under_way:
                return
            yield from _result(under_way.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


NO_WORKERS = Workers()


def _all(work: Callable[[A], B], items: list[A]) -> list[B]:
    return [work(item) for item in items]


def _result(future: Future[B]) -> B:
    with _told():
        return future.result()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as exc:
        raise CollectionError(
            'a worker process ended: guard the main part of the script with `if __name__ == "__main__":`, as workers need it; '
            "or memory ran out, then give fewer workers or a smaller max_ram"
        ) from exc


def _end_with_parent() -> None:
    """In a worker: end when the process that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
