"""What the probe counts with: durations, loop iterations and requests of this process.

Like the probe it stands alone: standard library only, Python 3.8 and later, nothing of tickbird,
and next to nothing imported before it is used. The kit measures with it too. Times are seconds.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from typing import Any

MAX_ROUTES = 200
MAX_ROUTE_LENGTH = 200
METHODS = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]
)


_bounds: list[float] = []


def read_bounds() -> list[float]:
    """The edges of the fine scale, seconds; read once, since some services make a loop per call."""
    if not _bounds:
        import json

        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        with open(folder + "/bounds.json", encoding="ascii") as file:  # noqa: PTH123
            _bounds.extend(float(edge) for edge in json.load(file))
    return _bounds


class Spread:
    """Count, sum, extremes and a sparse histogram on the fine scale of durations."""

    __slots__ = ("bounds", "count", "hist", "max", "min", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.count = 0
        self.sum = self.max = 0.0
        self.min = float("inf")
        self.hist: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self.min = min(self.min, seconds)
        self.max = max(self.max, seconds)
        index = bisect_left(self.bounds, seconds)
        self.hist[index] = self.hist.get(index, 0) + 1


class LoopMonitor:
    """Iterations of one event loop, taken window by window."""

    error = 0.0
    """Known measuring error."""
    slack = 0.0
    """Longest that ``busy_since`` lies before what really began."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        """``threshold`` is the shortest iteration that counts as a stall."""
        self.loop = loop
        self.runtime = "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"
        self._threshold = threshold
        self._bounds = read_bounds()
        self._open()
        self.resume()

    def _open(self) -> None:
        self._start = time.monotonic()
        self._spread = Spread(self._bounds)
        self._stalls: list[dict[str, float]] = []
        self._active = 0.0

    def resume(self) -> None:
        """The loop begins to run again: the time it stood is nobody's iteration."""
        raise NotImplementedError

    def busy_since(self) -> float | None:
        """Since when (monotonic) the loop has been in one iteration; None while it waits for
        events or does not run. May be asked from any thread."""
        raise NotImplementedError

    def _iterated(self, seconds: float) -> None:
        self._spread.add(seconds)
        if seconds >= self._threshold:
            self._stalls.append({"start": time.time() - seconds, "duration": seconds})

    @property
    def measured(self) -> bool:
        """Whether an iteration has ended since the last ``take``."""
        return self._spread.count > 0

    def take(self) -> dict[str, Any]:
        """The window since the last call: start, duration, loop and stalls of the protocol."""
        spread, stalls, active = self._spread, self._stalls, self._active
        duration = time.monotonic() - self._start
        self._open()
        loop = {
            "error": self.error,
            "count": spread.count,
            "sum": spread.sum,
            "min": min(spread.min, spread.max),
            "max": spread.max,
            "hist": spread.hist,
            "active": active,
            "idle": max(0.0, duration - active),
        }
        start = time.time() - duration
        return {"start": start, "duration": duration, "loop": loop, "stalls": stalls}


class SelectorMonitor(LoopMonitor):
    """Exact: what lies between two calls of the selector is one iteration."""

    error = 0.001
    _back: float
    _waits: bool

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        super().__init__(loop, threshold)
        selector = loop._selector  # type: ignore[attr-defined]
        original, now = selector.select, time.monotonic

        def select(timeout: float | None = None) -> Any:
            busy = now() - self._back
            self._waits = True
            self._active += busy
            self._iterated(busy)
            try:
                return original(timeout)
            finally:
                self._back = now()
                self._waits = False

        selector.select = select

    def resume(self) -> None:
        self._back = time.monotonic()
        self._waits = False

    def busy_since(self) -> float | None:
        back = self._back  # before the flag, which the loop's thread lowers last
        return None if self._waits or not self.loop.is_running() else back


class DriftMonitor(LoopMonitor):
    """For loops that show nothing: how late a timer comes, sized by the thread's CPU time."""

    error = 0.01
    slack = 0.011
    _interval = 0.01

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        super().__init__(loop, threshold)
        self._again()

    def resume(self) -> None:
        self._last, self._cpu = time.monotonic(), time.thread_time()

    def busy_since(self) -> float | None:
        return self._last if self.loop.is_running() else None

    def _again(self) -> None:
        call_later(self.loop, self._interval, self._tick)

    def _tick(self) -> None:
        gap, spent = time.monotonic() - self._last, time.thread_time() - self._cpu
        self.resume()
        # Timers run on whole milliseconds, so the last one of lateness says nothing.
        late = max(0.0, gap - self._interval - 0.001)
        if spent < late:
            # Blocked without computing. It began somewhere within the timer's interval.
            spent = late + self._interval / 2
        self._active += min(gap, spent)
        self._iterated(min(gap, spent))
        self._again()


def open_monitor(loop: asyncio.AbstractEventLoop, threshold: float) -> LoopMonitor:
    """The best measurement that ``loop`` offers. Call it in the loop's own thread."""
    if hasattr(getattr(loop, "_selector", None), "select"):
        return SelectorMonitor(loop, threshold)
    return DriftMonitor(loop, threshold)


def call_later(
    loop: asyncio.AbstractEventLoop, delay: float, work: Callable[..., None], *args: Any
) -> None:
    """``loop.call_later`` that inherits no context: ours is no part of a request."""
    from contextvars import Context

    loop.call_later(delay, work, *args, context=Context())


class HttpTotals:
    """Running totals of the requests that the kit's middleware saw, by method, route, status."""

    def __init__(self) -> None:
        import threading

        self._lock = threading.Lock()
        self._bounds = read_bounds()
        self._series: dict[tuple[str, str | None, int], Spread] = {}
        self._routes: set[str] = set()
        self.active = 0

    def started(self) -> None:
        with self._lock:
            self.active += 1

    def finished(self, method: str, route: str | None, status: int, seconds: float) -> None:
        with self._lock:
            self.active -= 1
            key = (method if method in METHODS else "_OTHER", self._bounded(route), status)
            spread = self._series.get(key)
            if spread is None:
                spread = self._series[key] = Spread(self._bounds)
            spread.add(seconds)

    def _bounded(self, route: str | None) -> str | None:
        if route is None or route in self._routes:
            return route
        if len(self._routes) >= MAX_ROUTES or len(route) > MAX_ROUTE_LENGTH:
            return "_overflow"
        self._routes.add(route)
        return route

    def report(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {
                    "method": method,
                    "route": route,
                    "status": status,
                    "count": spread.count,
                    "sum": spread.sum,
                    "max": spread.max,
                    "hist": dict(spread.hist),
                }
                for (method, route, status), spread in self._series.items()
            ]
