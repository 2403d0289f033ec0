"""Work on the host's thread that is done a slice at a time, with a turn for the host's other tasks between two slices.

All work of one slice shares its time: a hundred short steps that arrive at once must not keep the loop a hundred times as long as one
may. Work that is not finished goes to the back of the queue, so that a long step does not hold up the short ones behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter

__all__ = ["Turns", "Work"]

Work = Callable[[float], bool]
"""Called with the seconds it may take, again and again until it answers True. Must not raise."""


class Turns:
    """The work that waits. The driver calls `run_slice` while there is any, and lets the host run in between."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Work, float]] = deque()

    def add(self, work: Work, budget_seconds: float) -> None:
        """Queues `work`, in slices no longer than `budget_seconds`."""
        self._waiting.append((work, budget_seconds))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def run_slice(self) -> None:
        """Does what waits, until the time of the slice is over."""
        began = perf_counter()
        is_first = True
        while self._waiting:
            work, budget = self._waiting[0]
            left = began + budget - perf_counter()
            if left <= 0 and not is_first:
                return
            is_first = False
            self._waiting.popleft()
            if not work(left):
                self._waiting.append((work, budget))
