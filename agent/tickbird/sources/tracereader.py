"""Looks at the rings of all traced loops ten times a second, in one thread, so that a stall is
known while it lasts. It tells of stalls only; each source hands out its own windows."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..model import Stall

LOOK = 0.1
"""Seconds between two looks; how late a stall is seen, beyond the threshold."""
LOOK_UP = 5.0
"""Seconds between two looks at whether to stop, while nothing is traced."""


class Traced(Protocol):
    """One loop that is traced."""

    @property
    def pid(self) -> int: ...

    def fileno(self) -> int | None:
        """Readable when its ring is half full; None while it has none."""

    def hang_up(self) -> None:
        """Its thread has ended, so that the ring is always readable: ``fileno`` is None now."""

    def look(self, now: int) -> Sequence[Stall]:
        """Take what the ring has; the stalls that have ended since the last look, and the one that
        lasts ``now`` (CLOCK_MONOTONIC, ns)."""

    def rest(self, resting: bool) -> None:
        """Let the loop be, at no cost to it, or go on."""


class TraceReader:
    """``on_stall`` takes a pid and what is known of a stall of it, as often as it changes."""

    def __init__(self) -> None:
        self.on_stall: Callable[[int, Stall], None] | None = None
        self._loops: tuple[Traced, ...] = ()
        self._resting = False
        self._lock = threading.Lock()
        self._some = threading.Event()

    def add(self, loop: Traced) -> None:
        with self._lock:
            self._loops = (*self._loops, loop)
            self._some.set()
            if self._resting:
                loop.rest(True)

    def remove(self, loop: Traced) -> None:
        with self._lock:
            self._loops = tuple(one for one in self._loops if one is not loop)
            if not self._loops:
                self._some.clear()

    def rest(self, resting: bool) -> None:
        """Let all loops be, or go on with them: windows meanwhile say that they missed something.
        For whoever must keep the agent's cost within a budget."""
        with self._lock:
            if resting != self._resting:
                self._resting = resting
                for loop in self._loops:
                    loop.rest(resting)

    def run(self, stop: threading.Event) -> None:
        """Body of the one thread."""
        while not stop.is_set():
            if self._some.wait(LOOK_UP):
                self._wait(self._loops)
                self.look(time.monotonic_ns())

    def _wait(self, loops: Sequence[Traced]) -> None:
        """Until the next look, or until a ring is half full."""
        poll = select.poll()
        by_fd = {fd: loop for loop in loops if (fd := loop.fileno()) is not None}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        for fd, events in poll.poll(LOOK * 1000):
            if events & ~select.POLLIN:
                by_fd[fd].hang_up()

    def look(self, now: int) -> None:
        """One look at every loop."""
        for loop in self._loops:
            for stall in loop.look(now):
                if self.on_stall is not None:
                    self.on_stall(loop.pid, stall)
