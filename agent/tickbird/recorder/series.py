"""The seconds of one target: what every sample goes through, so this is the hot path."""

from __future__ import annotations

import copy
from collections import deque
from itertools import dropwhile

from ..model import Distribution, Sample
from .window import Window

_GAUGES = {
    "process.memory.usage": "rss",
    "process.unix.file_descriptor.count": "fds",
    "process.unix.file_descriptor.limit": "fd_limit",
    "container.memory.limit": "memory_limit",
    "v8js.memory.heap.used": "heap_used",
    "httpcheck.error": "check_error",
    "httpcheck.duration": "check_seconds",
}
"""Instruments whose last value is kept, and the name it is kept under."""


class Series:
    """Windows in order of time, and the latest values of the process that is there now."""

    def __init__(self) -> None:
        self.windows: deque[Window] = deque()
        self.bytes = 0
        """Estimate of the memory that the windows hold."""
        self.ended_at: float | None = None
        self.begin()

    def begin(self) -> None:
        """Forget what belonged to one process; the windows stay."""
        self.last: dict[str, float] = {}
        self.ticks = 0
        """How often the process was looked at."""
        self.last_tick = 0.0
        self._cpu_total: dict[tuple[str, ...], float] = {}
        self._cpu_before: tuple[float, float] | None = None

    def take(self, sample: Sample, now: float) -> None:
        name = sample.instrument.name
        if isinstance(sample.value, Distribution):
            return
        if name == "process.cpu.time":
            self._cpu(sample.labels, float(sample.value), now)
        elif (kept := _GAUGES.get(name)) is not None:
            self.last[kept] = float(sample.value)
            if kept in ("rss", "fds", "heap_used"):
                setattr(self.window(now), kept, float(sample.value))
        elif name == "httpcheck.status" and sample.value:
            self.last["check_class"] = float(sample.labels[0][0])

    def _cpu(self, mode: tuple[str, ...], total: float, now: float) -> None:
        """CPU time comes as one sample per mode; the modes of one tick share its ``now``."""
        self.ended_at = None  # it was let go and is watched again: what is sampled lives
        if now != self.last_tick:
            if self.last_tick and self._cpu_total:
                self._cpu_before = (self.last_tick, sum(self._cpu_total.values()))
            self.last_tick = now
            self.ticks += 1
        self._cpu_total[mode] = total
        if self._cpu_before is not None and now > self._cpu_before[0]:
            spent = sum(self._cpu_total.values()) - self._cpu_before[1]
            self.window(now).cpu = max(0.0, spent / (now - self._cpu_before[0]))

    def window(self, at: float) -> Window:
        """The window that holds ``at``; one that came late is put in its place."""
        start = float(int(at))
        for window in reversed(self.windows):
            if window.start == start:
                return window
            if window.start < start:
                break
        made = Window(start)
        self.bytes += made.size()
        if not self.windows or self.windows[-1].start < start:
            self.windows.append(made)
        else:
            place = sum(1 for window in self.windows if window.start < start)
            self.windows.insert(place, made)
        return made

    def put(self, window: Window, **parts: object) -> None:
        self.bytes -= window.size()
        for name, part in parts.items():
            setattr(window, name, part)
        self.bytes += window.size()

    def expire(self, before: float) -> None:
        while self.windows and self.windows[0].start < before:
            self.drop_oldest()

    def drop_oldest(self) -> int:
        """Drop the oldest window; return the bytes that it held."""
        freed = self.windows.popleft().size()
        self.bytes -= freed
        return freed

    def since(self, at: float) -> tuple[Window, ...]:
        """Copies, that do not change under their reader."""
        return tuple(copy.copy(w) for w in dropwhile(lambda w: w.start < at, self.windows))
