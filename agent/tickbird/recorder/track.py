"""One target in the flight recorder, over restarts of its process."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field, replace

from ..model import (
    HttpSnapshot,
    Item,
    LogRecord,
    LoopWindow,
    RuntimeInfo,
    Sample,
    Stall,
    Target,
)
from .requests import HttpTotals
from .series import Series
from .stalls import Stalls
from .window import LoopSlice, Window, join_loops, join_routes

IN_PROCESS = frozenset({"probe", "attach"})
"""Methods that fall silent together with the loop they measure."""

SILENCE = 2.0
"""Seconds without a word from a living process after which its loop counts as late."""

MAX_ERRORS = 100
_ERROR_BYTES = sys.getsizeof(LogRecord("")) + 1_000


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the recorder knows of one target from ``since`` to ``now`` (Unix seconds): a copy, in
    order of time. ``stalls`` and the windows' loops are those of ``method`` alone."""

    target: Target
    since: float
    now: float
    windows: tuple[Window, ...] = ()
    stalls: tuple[Stall, ...] = ()
    errors: tuple[LogRecord, ...] = ()
    last: dict[str, float] = field(default_factory=dict)
    """rss, fds, fd_limit, memory_limit, heap_used, check_error, check_class (5: 5xx) and
    check_seconds: the latest values that are known."""
    method: str | None = None
    http_source: str | None = None
    runtime: RuntimeInfo | None = None
    ended_at: float | None = None
    restarts: tuple[float, ...] = ()
    """When another process was seen to have taken its place."""
    watched_since: float = 0.0
    """When the recorder first heard of it; the agent may be younger than the process."""


class Track:
    """All that is kept of one target, over restarts of its process. Which of several ways to
    measure its loop is believed has been decided before: the newest window tells."""

    def __init__(self, target: Target, opened: float, now: float) -> None:
        self.target = target
        self.series = Series()
        self.errors: deque[LogRecord] = deque(maxlen=MAX_ERRORS)
        self._watched_since = now
        self._stalls = Stalls()
        self._restarts: deque[float] = deque(maxlen=100)
        self._opened = opened
        self._begin()

    def _begin(self) -> None:
        """Forget what belonged to one process; the windows and stalls stay."""
        self.series.begin()
        self._method: str | None = None
        self._loop_end: float | None = None
        self._ticks_then = 0
        self._runtime: RuntimeInfo | None = None
        identity = self.target.identity
        young = identity is None or identity.started_at > self._opened - 5.0
        self._http = HttpTotals(counts_from_start=young)

    @property
    def bytes(self) -> int:
        return self.series.bytes + self._stalls.bytes + len(self.errors) * _ERROR_BYTES

    def follow(self, target: Target, now: float) -> None:
        """Take on the target's newest description; another identity is another process."""
        before, after = self.target.identity, target.identity
        self.target = target
        if (before and before[:2]) != (after and after[:2]):
            if before is not None:
                self._restarts.append(now)
            self._begin()
            self.series.ended_at = None

    def take(self, item: Item, now: float) -> None:
        if isinstance(item, Sample):
            self.series.take(item, now)
        elif isinstance(item, LoopWindow):
            self._loop(item)
        elif isinstance(item, Stall):
            self._stalls.take(item, now)
        elif isinstance(item, HttpSnapshot):
            self._requests(item, now)
        elif self._runtime is None or item.runtime != "python":
            self._runtime = item
        else:
            self._loop_end = None  # its loop has stopped; silence of none is no lag

    def _loop(self, window: LoopWindow) -> None:
        self._method = window.method
        if window.method in IN_PROCESS:
            self._loop_end = max(self._loop_end or 0.0, window.start + window.duration)
            self._ticks_then = self.series.ticks
        kept = self.series.window(window.start)
        self.series.put(kept, loop=join_loops(kept.loop, LoopSlice.of(window)))

    def _requests(self, snapshot: HttpSnapshot, now: float) -> None:
        routes = self._http.advance(snapshot, now)
        if routes is not None:
            window = self.series.window(now)
            joined = join_routes(window.routes, routes)
            self.series.put(window, routes=joined, active=snapshot.active)

    def expire(self, before: float) -> None:
        self.series.expire(before)
        self._stalls.expire(before)

    def end(self, now: float) -> None:
        if self.series.ended_at is None:
            self.series.ended_at = now

    def aged_out(self, before: float) -> bool:
        return self.series.ended_at is not None and self.series.ended_at < before

    def view(self, since: float, now: float) -> TargetView:
        windows = self.series.since(since)
        for window in windows:
            if window.loop is not None and window.loop.method != self._method:
                window.loop = None
        return TargetView(
            self.target,
            since,
            now,
            windows,
            self._stalls_of(since, now),
            tuple(self.errors),
            dict(self.series.last),
            self._method,
            self._http.source,
            self._runtime,
            self.series.ended_at,
            tuple(at for at in self._restarts if at >= since),
            self._watched_since,
        )

    def settled(self, now: float) -> list[Stall]:
        """Stalls that have ended and were not given before."""
        return self._stalls.settled(self._method, now)

    def _stalls_of(self, since: float, now: float) -> tuple[Stall, ...]:
        found = self._stalls.of(self._method, since, now, self._silence(now))
        if self.series.ended_at is not None:
            found = [replace(stall, ongoing=False) for stall in found]
        return tuple(found)

    def _silence(self, now: float) -> Stall | None:
        """Two process samples must have passed, so that a suspended agent accuses nobody."""
        if self._loop_end is None or self._method not in IN_PROCESS:
            return None
        alive = self.series.ticks - self._ticks_then >= 2
        alive = alive and self.series.ended_at is None
        alive = alive and now - self.series.last_tick <= 2 * SILENCE
        if not alive or now - self._loop_end <= SILENCE:
            return None
        return Stall(self._loop_end, now - self._loop_end, str(self._method), ongoing=True)
