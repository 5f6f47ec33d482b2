"""What a check judges: one target's window, added up once for all checks and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ..histogram import merge, quantile
from ..ledger import Totals
from ..model import Stall
from ..recorder import TargetView
from ..recorder.window import LoopSlice, RouteKey, RouteSlice, unpack

LOOP_RUNTIMES = ("node", "asyncio", "uvloop")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a check says warn or fail; the defaults hold where a target sets no objective."""

    stall: float = 0.1
    stall_fail: float = 1.0
    errors_warn: float = 0.01
    errors_fail: float = 0.05
    min_requests: int = 20
    slow: float = 0.2
    """Seconds below which no route is called slow, however fast the others are."""
    slow_ratio: float = 3.0
    latency: Mapping[str, float] = field(default_factory=dict)
    """The target's objectives: seconds by quantile name (``p99``)."""
    growth: float = 20e6 / 60
    """Bytes per second."""
    cpu: float = 0.9
    """Cores."""
    fds_warn: float = 0.8
    fds_fail: float = 0.95


@dataclass(frozen=True, slots=True)
class Loop:
    """All windows of one loop added up; seconds. None where nothing was seen."""

    method: str
    error: float | None
    iterations: int
    histogram: Mapping[int, int]
    min: float | None
    mean: float | None
    max: float | None
    utilization: float | None
    overhead: float | None = None
    """Cores that being measured costs the process; None where that is not known."""

    def quantile(self, q: float) -> float | None:
        return quantile(self.histogram, q, self.max)


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of one route, or of all; durations in seconds."""

    method: str
    route: str | None
    count: int
    errors: int
    max: float
    histogram: Mapping[int, int]

    @property
    def error_ratio(self) -> float | None:
        return self.errors / self.count if self.count else None

    def quantile(self, q: float) -> float | None:
        return quantile(self.histogram, q, self.max if self.count else None)


@dataclass(frozen=True, slots=True)
class Http:
    source: str
    total: Requests
    routes: Sequence[Requests]
    """By number of requests, the busiest first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One target as the checks see it; None: not measured."""

    view: TargetView
    loop: Loop | None
    http: Http | None
    logs: Totals | None
    has_workers: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)
    """By source, what the last read of it failed of."""
    automatic: bool = False
    """Nobody asked for this target by name: it was found because it was there."""
    launched: bool = False
    """It was started with a probe in it, by exec."""

    @property
    def name(self) -> str:
        return self.view.target.key

    @property
    def runtime(self) -> str:
        """As a probe in the process tells it; else as it looks from outside, where asyncio and
        uvloop are just python."""
        return self.view.runtime.runtime if self.view.runtime else self.view.target.runtime

    @property
    def stalls(self) -> Sequence[Stall]:
        return self.view.stalls


def loop_of(view: TargetView) -> Loop | None:
    """None when no method measures this loop."""
    if view.method is None:
        return None
    slices = [window.loop for window in view.windows if window.loop is not None]
    busy = [part for part in slices if part.iterations]
    iterations = sum(part.iterations for part in busy)
    longest = [part.max for part in busy] + [stall.duration for stall in view.stalls]
    return Loop(
        method=view.method,
        error=max((part.error for part in slices), default=None),
        iterations=iterations,
        histogram=merge(unpack(part.histogram) for part in slices),
        min=min((part.min for part in busy), default=None),
        mean=sum(part.sum for part in busy) / iterations if iterations else None,
        max=max(longest, default=None),
        utilization=_utilization(slices),
        overhead=_overhead(slices) if view.method == "trace" else None,
    )


TRACE_COST = 1.2e-6
"""Seconds that tracing adds to one iteration of a loop, as bench/loop_cost.py measures it."""


def _overhead(slices: Sequence[LoopSlice]) -> float | None:
    seconds = sum(part.duration for part in slices)
    iterations = sum(part.iterations for part in slices)
    return iterations * TRACE_COST / seconds if seconds else None


RECENT = 60
"""Seconds of CPU use that are looked at: what was long ago is not what it uses."""


def cpu_of(view: TargetView) -> float | None:
    """Cores used, mean of the last minute; None when nothing was measured. A median would be 0 for
    a process that uses less than a clock tick in most seconds."""
    recent = recent_cpu(view)
    return fmean(recent) if recent else None


def recent_cpu(view: TargetView) -> Sequence[float]:
    return [window.cpu for window in view.windows if window.cpu is not None][-RECENT:]


def _utilization(slices: Sequence[LoopSlice]) -> float | None:
    active = sum(part.active for part in slices)
    whole = active + sum(part.idle for part in slices)
    return min(1.0, active / whole) if whole > 0 else None


def http_of(view: TargetView) -> Http | None:
    """None when nothing tells of this target's requests."""
    if view.http_source is None:
        return None
    slices: dict[RouteKey, list[RouteSlice]] = {}
    for window in view.windows:
        for key, route in (window.routes or {}).items():
            slices.setdefault(key, []).append(route)
    routes = [_requests(*key, parts) for key, parts in slices.items()]
    total = _requests("*", None, [part for parts in slices.values() for part in parts])
    routes.sort(key=lambda route: (-route.count, route.route or ""))
    return Http(view.http_source, total, routes)


def _requests(method: str, route: str | None, parts: Sequence[RouteSlice]) -> Requests:
    return Requests(
        method,
        route,
        sum(part.requests for part in parts),
        sum(part.errors for part in parts),
        max((part.max for part in parts), default=0.0),
        merge(unpack(part.histogram) for part in parts),
    )
