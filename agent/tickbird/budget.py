"""Keeps what the agent spends on measuring within its budget: first loops are traced for a part of
the time only, then processes are sampled less often. The delivery of logs is never shed, so its
threads do not count here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

START = 5.0
"""Seconds in which the agent imports and looks around; nothing of that can be shed."""
PERIOD = 5.0
"""Seconds for which loops are traced at a stretch."""
JUDGED = 10.0
"""Seconds at least over which the cost is judged, in whole turns of tracing and resting."""
CALM = 0.5
"""Share of the budget below which a step may be taken back: the one before may cost double."""
PATIENCE, MOST_PATIENCE = 30.0, 480.0
"""Calm seconds before that; twice as many each time that it was taken back too early."""


@dataclass(frozen=True, slots=True)
class Step:
    stretches: int
    """Loops are traced in one of so many periods."""
    pace: int
    """Processes are sampled at the interval of the configuration, times this."""


STEPS = (Step(1, 1), Step(2, 1), Step(4, 1), Step(8, 1), Step(8, 2), Step(8, 4), Step(8, 8))


class Budget:
    """``limit`` in cores. ``spent`` gives the CPU seconds of measuring so far; by default those of
    the threads that were counted."""

    def __init__(self, limit: float, spent: Callable[[], float] | None = None) -> None:
        self.limit = limit
        self.level = 0
        """Index into ``STEPS``."""
        self.used: float | None = None
        """Cores, over the last period."""
        self._spent = spent or self._of_threads
        self._clocks: list[int] = []
        self._began: tuple[float, float] | None = None
        self._calm_since: float | None = None
        self._patience = PATIENCE
        self._taken_back = float("-inf")

    def count(self) -> None:
        """What the calling thread does from now on is measuring."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._clocks.append(time.pthread_getcpuclockid(threading.get_ident()))

    def counted(self, body: Callable[[], None]) -> Callable[[], None]:
        """``body`` of a thread that measures."""

        def run() -> None:
            self.count()
            body()

        return run

    def _of_threads(self) -> float:
        total = 0.0
        for clock in list(self._clocks):
            try:
                total += time.clock_gettime(clock)
            except OSError:  # the thread has ended, and begins anew with another clock
                self._clocks.remove(clock)
        return total

    @property
    def step(self) -> Step:
        return STEPS[self.level]

    def look(self, now: float) -> bool:
        """To be called about once a second with the monotonic time; whether loops are to be
        traced now."""
        if self._began is None:
            self._began = (now + START, 0.0)
        passed = now - self._began[0]
        if passed < 0:
            self._began = (self._began[0], self._spent())
            return True
        turn = PERIOD * self.step.stretches
        if passed >= max(turn, JUDGED):
            spent = self._spent()
            self.used = max(0.0, spent - self._began[1]) / passed
            self._began, passed = (now, spent), 0.0
            self._judge(self.used, now)
        return passed % turn < PERIOD

    def _judge(self, used: float, now: float) -> None:
        if used > CALM * self.limit:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        if used > self.limit and self.level < len(STEPS) - 1:
            if now - self._taken_back < self._patience:
                self._patience = min(2 * self._patience, MOST_PATIENCE)
            self.level += 1
        elif self.level and self._is_calm(now):
            self.level -= 1
            self._calm_since, self._taken_back = None, now

    def _is_calm(self, now: float) -> bool:
        return self._calm_since is not None and now - self._calm_since >= self._patience
