"""Event-loop delay of a service that the agent did not start, as OpenTelemetry metrics.

There is no convention for asyncio yet, so the names mirror those of Node's event loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from .exchange import probe

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

    from ..runtimes.python.tickbird_measure import LoopMonitor

STALL_THRESHOLD = 0.1


def watch_loop() -> bool:
    """Measure the running loop and publish ``asyncio.eventloop.*``; False when the agent's probe
    measures it already. One loop of a process is measured at a time; call it in a coroutine, as
    often as you like."""
    if probe() is not None:
        return False
    _windows().watch(asyncio.get_running_loop())
    return True


@cache
def _windows() -> _Windows:
    windows = _Windows()
    _publish(windows)
    return windows


class _Windows:
    """The window between two collections, shared by all instruments of one collection."""

    def __init__(self) -> None:
        self._monitor: LoopMonitor | None = None
        self._lock = threading.Lock()
        self._taken = float("-inf")
        self._loop: dict[str, Any] = {}
        self._time = {"active": 0.0, "idle": 0.0}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure ``loop`` from now on, unless the one before still runs."""
        from ..runtimes.python.tickbird_measure import open_monitor

        with self._lock:
            if self._monitor is None or not self._monitor.loop.is_running():
                self._monitor = open_monitor(loop, STALL_THRESHOLD)

    def read(self) -> tuple[dict[str, Any], dict[str, float]]:
        """The last window's loop values, and the running totals of seconds by state."""
        with self._lock:
            monitor = self._monitor
            # A second in the past is another collection: instruments are read at once.
            if monitor and monitor.measured and time.monotonic() - self._taken > 1:
                self._loop = monitor.take()["loop"]
                self._taken = time.monotonic()
                for state in self._time:
                    self._time[state] += self._loop[state]
            return self._loop, dict(self._time)


def quantile(hist: Mapping[int, int], bounds: tuple[float, ...], q: float, most: float) -> float:
    """Upper edge of the bucket that holds rank ``q``, at most ``most``; seconds."""
    rank = q * sum(hist.values())
    seen = 0
    for index in sorted(hist):
        seen += hist[index]
        if seen >= rank:
            return min(bounds[index], most) if index < len(bounds) else most
    return most


def _publish(windows: _Windows) -> None:
    from opentelemetry.metrics import Observation, get_meter

    from ..runtimes.python.tickbird_measure import read_bounds

    meter = get_meter("tickbird.kit")
    bounds = tuple(read_bounds())
    values = {
        "min": lambda loop: loop["min"],
        "max": lambda loop: loop["max"],
        "mean": lambda loop: loop["sum"] / loop["count"],
        "p50": lambda loop: quantile(loop["hist"], bounds, 0.5, loop["max"]),
        "p90": lambda loop: quantile(loop["hist"], bounds, 0.9, loop["max"]),
        "p99": lambda loop: quantile(loop["hist"], bounds, 0.99, loop["max"]),
    }

    def gauge(name: str, unit: str, help_text: str, value: Any) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            loop, _time = windows.read()
            return [Observation(value(loop))] if loop else []

        meter.create_observable_gauge(name, [observe], unit, help_text)

    for key, value in values.items():
        gauge(f"asyncio.eventloop.delay.{key}", "s", f"Event loop iteration time, {key}.", value)
    gauge(
        "asyncio.eventloop.utilization",
        "1",
        "Share of time that the event loop ran callbacks.",
        lambda loop: loop["active"] / ((loop["active"] + loop["idle"]) or 1.0),
    )

    def observe_time(_: CallbackOptions) -> Iterable[Observation]:
        _loop, spent = windows.read()
        return [Observation(spent[s], {"asyncio.eventloop.state": s}) for s in spent]

    meter.create_observable_counter(
        "asyncio.eventloop.time", [observe_time], "s", "Time of the event loop by state."
    )
