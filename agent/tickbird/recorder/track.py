"""One target in the flight recorder, over restarts of its process."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile

from ..model import (
    LOOP_METHODS,
    Distribution,
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
from .window import LoopSlice, Window, join_loops, join_routes

IN_PROCESS = frozenset({"probe", "kit"})
"""Methods that fall silent together with the loop they measure."""

SILENCE = 2.0
"""Seconds without a word from a living process after which its loop counts as late."""

HEARD = 0.5
"""Seconds without a word about an ongoing stall, told of every 0.1 s, after which it is over."""

METHOD_HELD = 10.0
"""Seconds that a method must be silent before a lesser one takes its place."""

MAX_STALLS = 1_000
MAX_ERRORS = 100

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

_STALL_BYTES = sys.getsizeof(Stall(0.0, 0.0, "")) + 100
_CULPRIT_BYTES = 3_000
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
    """All that is kept of one target, over restarts of its process."""

    def __init__(self, target: Target, opened: float, now: float) -> None:
        self.target = target
        self._watched_since = now
        self.windows: deque[Window] = deque()
        self.errors: deque[LogRecord] = deque(maxlen=MAX_ERRORS)
        self.ended_at: float | None = None
        self._stalls: deque[tuple[Stall, float]] = deque(maxlen=MAX_STALLS)
        self._window_bytes = 0
        self._restarts: deque[float] = deque(maxlen=100)
        self._opened = opened
        self._begin()

    def _begin(self) -> None:
        """Forget what belonged to one process; the windows and stalls stay."""
        identity = self.target.identity
        self._last: dict[str, float] = {}
        self._cpu_total: dict[tuple[str, ...], float] = {}
        self._cpu_before: tuple[float, float] | None = None
        self._method: str | None = None
        self._method_seen = 0.0
        self._loop_end: float | None = None
        self._ticks_since_loop = 0
        self._last_tick = 0.0
        self._runtime: RuntimeInfo | None = None
        young = identity is None or identity.started_at > self._opened - 5.0
        self._http = HttpTotals(counts_from_start=young)

    @property
    def bytes(self) -> int:
        culprits = sum(1 for stall, _ in self._stalls if stall.culprit)
        stalls = len(self._stalls) * _STALL_BYTES + culprits * _CULPRIT_BYTES
        return self._window_bytes + stalls + len(self.errors) * _ERROR_BYTES

    def follow(self, target: Target, now: float) -> None:
        """Take on the target's newest description; another identity is another process."""
        before, after = self.target.identity, target.identity
        self.target = target
        if (before and before[:2]) != (after and after[:2]):
            if before is not None:
                self._restarts.append(now)
            self._begin()
            self.ended_at = None

    def take(self, item: Item, now: float) -> None:
        if isinstance(item, Sample):
            self._sample(item, now)
        elif isinstance(item, LoopWindow):
            self._loop(item, now)
        elif isinstance(item, Stall):
            self._stall(item, now)
        elif isinstance(item, HttpSnapshot):
            self._requests(item, now)
        elif self._runtime is None or item.runtime != "python":
            self._runtime = item
        else:
            self._loop_end = None  # its loop has stopped; silence of none is no lag

    def _sample(self, sample: Sample, now: float) -> None:
        name = sample.instrument.name
        if isinstance(sample.value, Distribution):
            return
        if name == "process.cpu.time":
            self._cpu(sample.labels, float(sample.value), now)
        elif (kept := _GAUGES.get(name)) is not None:
            self._last[kept] = float(sample.value)
            if kept in ("rss", "fds", "heap_used"):
                setattr(self._window(now), kept, float(sample.value))
        elif name == "httpcheck.status" and sample.value:
            self._last["check_class"] = float(sample.labels[0][0])

    def _cpu(self, mode: tuple[str, ...], total: float, now: float) -> None:
        """CPU time comes as one sample per mode; the modes of one tick share its ``now``."""
        self.ended_at = None  # it was let go and is watched again: what is sampled lives
        if now != self._last_tick:
            if self._last_tick and self._cpu_total:
                self._cpu_before = (self._last_tick, sum(self._cpu_total.values()))
            self._last_tick = now
            self._ticks_since_loop += 1
        self._cpu_total[mode] = total
        if self._cpu_before is not None and now > self._cpu_before[0]:
            spent = sum(self._cpu_total.values()) - self._cpu_before[1]
            self._window(now).cpu = max(0.0, spent / (now - self._cpu_before[0]))

    def _loop(self, window: LoopWindow, now: float) -> None:
        if not self._prefers(window.method, now):
            return
        if window.method in IN_PROCESS:
            self._loop_end = max(self._loop_end or 0.0, window.start + window.duration)
            self._ticks_since_loop = 0
        kept = self._window(window.start)
        self._put(kept, loop=join_loops(kept.loop, LoopSlice.of(window)))

    def _prefers(self, method: str, now: float) -> bool:
        """Whether ``method`` is the one to believe now; it becomes the one that is shown."""
        held = self._method is not None and now - self._method_seen <= METHOD_HELD
        if held and _rank(method) > _rank(self._method or method):
            return False
        self._method, self._method_seen = method, now
        return True

    def _stall(self, stall: Stall, now: float) -> None:
        """A stall that was ongoing is replaced by what is known of it now."""
        for index in range(len(self._stalls) - 1, max(-1, len(self._stalls) - 5), -1):
            known = self._stalls[index][0]
            if known.method == stall.method and _same(known, stall):
                self._stalls[index] = (_joined(known, stall), now)
                return
        self._stalls.append((stall, now))

    def _requests(self, snapshot: HttpSnapshot, now: float) -> None:
        routes = self._http.advance(snapshot, now)
        if routes is not None:
            window = self._window(now)
            self._put(window, routes=join_routes(window.routes, routes), active=snapshot.active)

    def _window(self, at: float) -> Window:
        """The window that holds ``at``; one that came late is put in its place."""
        start = float(int(at))
        for window in reversed(self.windows):
            if window.start == start:
                return window
            if window.start < start:
                break
        made = Window(start)
        self._window_bytes += made.size()
        if not self.windows or self.windows[-1].start < start:
            self.windows.append(made)
        else:
            place = sum(1 for window in self.windows if window.start < start)
            self.windows.insert(place, made)
        return made

    def _put(self, window: Window, **parts: object) -> None:
        self._window_bytes -= window.size()
        for name, part in parts.items():
            setattr(window, name, part)
        self._window_bytes += window.size()

    def expire(self, before: float) -> None:
        while self.windows and self.windows[0].start < before:
            self.drop_oldest()
        while self._stalls and self._stalls[0][0].start + self._stalls[0][0].duration < before:
            self._stalls.popleft()

    def drop_oldest(self) -> int:
        """Drop the oldest window; return the bytes that it held."""
        freed = self.windows.popleft().size()
        self._window_bytes -= freed
        return freed

    def aged_out(self, before: float) -> bool:
        return self.ended_at is not None and self.ended_at < before

    def view(self, since: float, now: float) -> TargetView:
        windows = tuple(copy.copy(w) for w in dropwhile(lambda w: w.start < since, self.windows))
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
            dict(self._last),
            self._method,
            self._http.source,
            self._runtime,
            self.ended_at,
            tuple(at for at in self._restarts if at >= since),
            self._watched_since,
        )

    def _stalls_of(self, since: float, now: float) -> tuple[Stall, ...]:
        """Stalls of the preferred method; the silence of a probe is one that still goes on,
        unless its watchdog speaks for it."""
        recent = [(s, seen) for s, seen in self._stalls if s.start + s.duration >= since]
        named = [s for s, _ in recent if s.culprit and s.method != self._method]
        found = [
            replace(
                _lent(stall, named),
                ongoing=stall.ongoing and now - seen <= HEARD and not self.ended_at,
            )
            for stall, seen in recent
            if stall.method == self._method
        ]
        if not any(stall.ongoing for stall in found) and (silence := self._silence(now)):
            # What a watchdog said before it was held up too is a part of it.
            covered = [s for s in found if _overlap(s, silence) > s.duration / 2]
            found = [s for s in found if s not in covered] + [_lent(silence, covered)]
        return tuple(sorted(found, key=lambda stall: stall.start))

    def _silence(self, now: float) -> Stall | None:
        """Two process samples must have passed, so that a suspended agent accuses nobody."""
        if self._loop_end is None or self.ended_at or self._method not in IN_PROCESS:
            return None
        alive = self._ticks_since_loop >= 2 and now - self._last_tick <= 2 * SILENCE
        if not alive or now - self._loop_end <= SILENCE:
            return None
        return Stall(self._loop_end, now - self._loop_end, str(self._method), ongoing=True)


def _overlap(one: Stall, other: Stall) -> float:
    """Seconds; negative for two that lie apart."""
    end = min(one.start + one.duration, other.start + other.duration)
    return end - max(one.start, other.start)


def _same(known: Stall, stall: Stall) -> bool:
    """Whether two reports of one method are of one stall. A watchdog sees only the last sign of
    life before it, so that their starts may lie apart."""
    if abs(known.start - stall.start) < 0.05:
        return True
    shorter = min(known.duration, stall.duration)
    return (known.ongoing or stall.ongoing) and _overlap(known, stall) > shorter / 2


def _joined(known: Stall, stall: Stall) -> Stall:
    """What is known of one stall after another report of it. Its end is the last word on its
    length; the culprit may be heard of later."""
    if stall.ongoing and not known.ongoing:
        return _lent(known, [stall])
    cause = stall.cause if stall.ongoing else stall.cause or known.cause
    return replace(stall, cause=cause, culprit=stall.culprit or known.culprit)


def _lent(stall: Stall, named: Sequence[Stall]) -> Stall:
    """``stall`` with the culprit and cause of the one of ``named`` that is the same stall."""
    best = max(named, key=lambda other: _overlap(stall, other), default=None)
    if best is None or _overlap(stall, best) <= 0:
        return stall
    return replace(stall, cause=stall.cause or best.cause, culprit=stall.culprit or best.culprit)


def _rank(method: str) -> int:
    return LOOP_METHODS.index(method) if method in LOOP_METHODS else len(LOOP_METHODS)
