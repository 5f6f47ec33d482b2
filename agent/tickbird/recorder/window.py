"""What the flight recorder keeps of one second: packed, so that many minutes stay small."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..histogram import merge
from ..model import LoopWindow

RouteKey = tuple[str, str | None]
"""Method and route; a route of None gathers what matched none."""

Packed: TypeAlias = "array[int]"
"""A sparse histogram of the fine scale: index, count, index, count."""


def pack(histogram: Mapping[int, int]) -> Packed:
    return array("I", [n for pair in sorted(histogram.items()) for n in pair])


def unpack(packed: Iterable[int]) -> dict[int, int]:
    numbers = iter(packed)
    return dict(zip(numbers, numbers, strict=True))


class LoopSlice(NamedTuple):
    """One window of a loop, or several that began in the same second."""

    method: str
    error: float
    duration: float
    iterations: int
    sum: float
    min: float
    max: float
    histogram: Packed
    active: float
    idle: float

    @classmethod
    def of(cls, window: LoopWindow) -> LoopSlice:
        return cls(
            window.method,
            window.error,
            window.duration,
            window.count,
            window.sum,
            window.min,
            window.max,
            pack(window.histogram),
            window.active,
            window.idle,
        )

    @property
    def utilization(self) -> float | None:
        """Share of the window spent in callbacks, 0..1."""
        whole = self.active + self.idle
        return min(1.0, self.active / whole) if whole > 0 else None


class RouteSlice(NamedTuple):
    """What one route did in one window; durations in seconds."""

    requests: int
    errors: int
    sum: float
    max: float
    histogram: Packed


@dataclass(slots=True)
class Window:
    """One second of one target, from ``start`` (whole Unix seconds). None: not known."""

    start: float
    cpu: float | None = None
    """CPU seconds per second: 1.0 is one core."""
    rss: float | None = None
    fds: float | None = None
    heap_used: float | None = None
    loop: LoopSlice | None = None
    active: int | None = None
    routes: Mapping[RouteKey, RouteSlice] | None = None

    def size(self) -> int:
        """Estimate of its memory in bytes, the numbers it points to included."""
        total = _WINDOW_BYTES
        if self.loop is not None:
            total += _LOOP_BYTES + sys.getsizeof(self.loop.histogram)
        if self.routes is not None:
            total += sys.getsizeof(self.routes)
            for route in self.routes.values():
                total += _ROUTE_BYTES + sys.getsizeof(route.histogram)
        return total


_FLOAT = sys.getsizeof(0.0)
_WINDOW_BYTES = sys.getsizeof(Window(0.0)) + 5 * _FLOAT + 16
_LOOP_BYTES = sys.getsizeof((None,) * 10) + 8 * _FLOAT
_ROUTE_BYTES = sys.getsizeof((None,) * 5) + 4 * _FLOAT + sys.getsizeof((None, None))


def join_loops(known: LoopSlice | None, new: LoopSlice) -> LoopSlice:
    """Both as one; of two methods the newer alone counts, since they never mix."""
    if known is None or known.method != new.method:
        return new
    extremes = [part for part in (known, new) if part.iterations]
    return LoopSlice(
        new.method,
        max(known.error, new.error),
        known.duration + new.duration,
        known.iterations + new.iterations,
        known.sum + new.sum,
        min((part.min for part in extremes), default=0.0),
        max((part.max for part in extremes), default=0.0),
        pack(merge((unpack(known.histogram), unpack(new.histogram)))),
        known.active + new.active,
        known.idle + new.idle,
    )


def join_routes(
    known: Mapping[RouteKey, RouteSlice] | None, new: Mapping[RouteKey, RouteSlice]
) -> Mapping[RouteKey, RouteSlice]:
    """Both added up, route by route, as a new mapping (readers may hold the old one)."""
    total = dict(known or {})
    for key, route in new.items():
        total[key] = join_route(total.get(key), route)
    return total


def join_route(known: RouteSlice | None, new: RouteSlice) -> RouteSlice:
    if known is None:
        return new
    return RouteSlice(
        known.requests + new.requests,
        known.errors + new.errors,
        known.sum + new.sum,
        max(known.max, new.max),
        pack(merge((unpack(known.histogram), unpack(new.histogram)))),
    )
