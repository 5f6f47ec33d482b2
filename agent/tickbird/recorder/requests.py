"""HTTP counts: from running totals since process start to what happened meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from ..histogram import FINE_BOUNDS, difference
from ..model import HttpSeries, HttpSnapshot
from .window import RouteKey, RouteSlice, join_route, pack

MAX_ROUTES = 200
"""Routes kept apart per target; what comes later is counted under the route None."""

SOURCES = ("probe", "kit", "otlp", "scrape")
"""Where HTTP counts may come from, the preferred first: never two of them at once."""

SOURCE_HELD = 30.0
"""Seconds that a source of HTTP counts must be silent before a lesser one takes its place."""


class HttpTotals:
    """Turns running totals since process start into what happened between two snapshots.

    ``counts_from_start``: the process began under our eyes, so its first totals are news; else
    they are what went on before and only mark where to count from.
    """

    def __init__(self, counts_from_start: bool) -> None:
        self.source: str | None = None
        self._seen = 0.0
        self._from_start = counts_from_start
        self._marking_until = 0.0
        self._before: dict[tuple[str, str | None, int], HttpSeries] = {}
        self._routes: set[RouteKey] = set()

    def advance(self, snapshot: HttpSnapshot, now: float) -> dict[RouteKey, RouteSlice] | None:
        """What is new by route; None when a preferred source already tells."""
        if not self._prefers(snapshot, now):
            return None
        if any(self._went_down(series) for series in snapshot.series):
            self._before.clear()
            self._from_start = True
        new: dict[RouteKey, RouteSlice] = {}
        for series in snapshot.series:
            if (route := self._news(series, now)) is not None:
                key = self._key(series)
                new[key] = join_route(new.get(key), route)
        return new

    def _prefers(self, snapshot: HttpSnapshot, now: float) -> bool:
        source = snapshot.source
        held = self.source is not None and now - self._seen <= SOURCE_HELD
        if held and _rank(source) > _rank(self.source or source):
            return False
        if source != self.source:
            self._from_start = self._from_start and self.source is None
            self._before.clear()
            self._marking_until = now if snapshot.from_zero else now + 2.0
        self.source, self._seen = source, now
        return True

    def _went_down(self, series: HttpSeries) -> bool:
        before = self._before.get((series.method, series.route, series.status))
        return before is not None and series.count < before.count

    def _news(self, series: HttpSeries, now: float) -> RouteSlice | None:
        key = (series.method, series.route, series.status)
        before = self._before.get(key)
        self._before[key] = series
        if before is None and not self._from_start and now < self._marking_until:
            return None
        base = before or HttpSeries(series.method, series.route, series.status, 0, 0.0, 0.0, {})
        if (count := series.count - base.count) <= 0:
            return None
        new = difference(series.histogram, base.histogram)
        errors = count if series.status >= 500 else 0
        longest = _longest(series, base, new)
        return RouteSlice(count, errors, series.sum - base.sum, longest, pack(new))

    def _key(self, series: HttpSeries) -> RouteKey:
        key = (series.method, series.route)
        if key not in self._routes:
            if len(self._routes) >= MAX_ROUTES:
                return (series.method, None)
            self._routes.add(key)
        return key


def _longest(series: HttpSeries, base: HttpSeries, new: Mapping[int, int]) -> float:
    """The running maximum where it grew just now; else the edge of the slowest bucket."""
    if series.max > base.max or not new:
        return series.max
    top = max(new)
    return min(series.max, FINE_BOUNDS[top] if top < len(FINE_BOUNDS) else series.max)


def _rank(source: str) -> int:
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)
