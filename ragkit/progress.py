"""Progress of long work: one callback type, and the bar that people see.

A callback takes (done, total, stage) and may return False to give the work up; total is 0 while
it is unknown. ``progress=True`` draws a tqdm bar with the time left on stderr, ``False`` is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragkit.errors import Cancelled

if TYPE_CHECKING:
    from tqdm import tqdm

ProgressCallback = Callable[[int, int, str], bool | None]
Progress = bool | ProgressCallback


class Tracker:
    """Counts one stage's work and reports it; made by `track`."""

    def __init__(self, stage: str, total: int, callback: ProgressCallback | None, bar: tqdm[Any] | None) -> None:
        self.stage, self.total, self.done = stage, total, 0
        self._callback, self._bar = callback, bar

    def advance(self, n: int = 1) -> None:
        """Report n more units; raises `Cancelled` if the callback says False."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        if self._callback is not None and self._callback(self.done, self.total, self.stage) is False:
            raise Cancelled(f"{self.stage} was cancelled after {self.done} of {self.total or 'unknown'}; nothing was committed")


@contextmanager
def track(stage: str, total: int, progress: Progress) -> Iterator[Tracker]:
    """Follow one stage of long work.

    >>> seen = []
    >>> with track("reading", 2, lambda done, total, stage: seen.append((done, total, stage))) as t:
    ...     t.advance(); t.advance()
    >>> seen
    [(1, 2, 'reading'), (2, 2, 'reading')]
    """
    if progress is True:
        from tqdm.auto import tqdm  # drawn only on request: importing tqdm.auto costs a notebook probe

        with tqdm(total=total or None, desc=stage, unit="", mininterval=0.2, dynamic_ncols=True) as bar:
            yield Tracker(stage, total, None, bar)
    else:
        yield Tracker(stage, total, progress or None, None)
