"""Time as the agent sees it: monotonic for every timer, wall clock only to stamp data."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never go back; the only base for timers and deadlines."""

    def time(self) -> float:
        """Unix seconds (UTC); only to stamp data, never to compute a wait."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Sleep until ``event`` is set or ``seconds`` have passed; return whether it is set."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


class Ticker:
    """Drift-free ticks: ``due`` moves by whole intervals; ticks that were slept through are
    skipped, so a suspended host causes one gap and no burst."""

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self.interval = interval
        self.due = clock.monotonic()

    def is_due(self, now: float) -> bool:
        return now >= self.due

    def advance(self, now: float) -> int:
        """Move ``due`` past ``now``; return how many ticks were missed (0 normally)."""
        behind = max(0.0, now - self.due)
        missed = int(behind // self.interval)
        self.due += (missed + 1) * self.interval
        return missed


class Deadline:
    """One point in monotonic time, passed down so that nested waits share it."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - self._clock.monotonic())

    def passed(self) -> bool:
        return self.remaining() == 0.0
