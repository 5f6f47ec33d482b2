"""The latest value of every series: what is exported is always this table, never a queue.

Values are absolute, so a lost export costs resolution and nothing else. When a target ends, its
series leave the table and are handed out once more as ended, so that every sink can say so.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .model import Distribution, Identity, Instrument, Kind, Sample, Target


@dataclass(slots=True)
class Series:
    """One series; ``start_time`` is where its counting began, both times Unix seconds."""

    target: Target
    instrument: Instrument
    labels: tuple[str, ...]
    value: float | Distribution
    start_time: float
    time: float


Key = tuple[str, tuple[str, ...]]
"""Name and labels: instruments of one name are one family, whoever declared them."""


class _Table:
    """The series of one target, and which source owns each metric name."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.series: dict[Key, Series] = {}
        self.owners: dict[str, str] = {}


class Store:
    """Thread-safe. One source owns a (target, metric): the first that brought it, until it
    ``release``s it, so nothing is counted twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        self._ended: list[Series] = []

    def update(
        self,
        target: Target,
        source: str,
        samples: Iterable[Sample],
        now: float,
        whole: bool = False,
    ) -> None:
        """Take ``samples`` read at ``now``. A counter that went down began anew. ``whole``: this
        is all that the source has, so a series of its that is missing has ended."""
        with self._lock:
            table = self._table(target)
            for sample in samples:
                if table.owners.setdefault(sample.instrument.name, source) == source:
                    self._take(table, sample, now)
            if whole:
                self._end_missing(table, source, now)

    def _take(self, table: _Table, sample: Sample, now: float) -> None:
        key = (sample.instrument.name, sample.labels)
        known = table.series.get(key)
        if known is None or (
            known.instrument is not sample.instrument
            and _redeclared(known.instrument, sample.instrument)
        ):
            identity = table.target.identity
            start = identity.started_at if identity else now
            table.series[key] = Series(
                table.target, sample.instrument, sample.labels, sample.value, start, now
            )
            return
        if _went_down(known, sample.value):
            known.start_time = known.time
        known.value, known.time = sample.value, now

    def _end_missing(self, table: _Table, source: str, now: float) -> None:
        for key, series in list(table.series.items()):
            if series.time != now and table.owners.get(key[0]) == source:
                self._ended.append(table.series.pop(key))

    def _table(self, target: Target) -> _Table:
        """The target's table; a restarted process begins a new one, its old series being ended."""
        table = self._tables.get(target.key)
        if table is not None and _same_process(table.target.identity, target.identity):
            return table
        if table is not None:
            self._end(table)
        table = self._tables[target.key] = _Table(target)
        return table

    def owner(self, target_key: str, metric: str) -> str | None:
        """Which source owns ``metric`` of the target; None when nobody brought it yet."""
        with self._lock:
            table = self._tables.get(target_key)
            return table.owners.get(metric) if table else None

    def owners(self, target_key: str) -> dict[str, str]:
        """Metric name → source, for ``/status``."""
        with self._lock:
            table = self._tables.get(target_key)
            return dict(table.owners) if table else {}

    def release(self, target_key: str, metrics: Collection[str]) -> None:
        """Another source speaks of these metrics from now on: what their owner said ends."""
        with self._lock:
            if (table := self._tables.get(target_key)) is None:
                return
            for key in [key for key in table.series if key[0] in metrics]:
                self._ended.append(table.series.pop(key))
            for name in metrics:
                table.owners.pop(name, None)

    def end(self, target_key: str) -> None:
        """The target ended or was let go: all its series end."""
        with self._lock:
            if (table := self._tables.pop(target_key, None)) is not None:
                self._end(table)

    def _end(self, table: _Table) -> None:
        self._ended.extend(table.series.values())

    def series(self) -> list[Series]:
        """Every living series, grouped by target."""
        with self._lock:
            return [series for table in self._tables.values() for series in table.series.values()]

    def take_ended(self) -> list[Series]:
        """Series that ended since the last call and have not come back since."""
        with self._lock:
            ended, self._ended = self._ended, []
            keys = {series.target.key for series in ended}
            tables = [self._tables[key] for key in keys if key in self._tables]
            living = {_outside(series) for table in tables for series in table.series.values()}
            return [series for series in ended if _outside(series) not in living]


def _same_process(a: Identity | None, b: Identity | None) -> bool:
    return a is not None and b is not None and a[:2] == b[:2] if a or b else True


def _redeclared(before: Instrument, after: Instrument) -> bool:
    """A service may be replaced behind its address by one that gives a name another meaning."""
    return (before.kind, before.bounds) != (after.kind, after.bounds)


def _outside(series: Series) -> tuple[str, str, frozenset[tuple[str, str]]]:
    """What a series is elsewhere, where a label without a value is no label."""
    pairs = zip(series.instrument.labels, series.labels, strict=True)
    return series.target.key, series.instrument.name, frozenset(p for p in pairs if p[1])


def _went_down(known: Series, value: float | Distribution) -> bool:
    if isinstance(value, Distribution):
        return isinstance(known.value, Distribution) and value.count < known.value.count
    return (
        known.instrument.kind is Kind.COUNTER
        and not isinstance(known.value, Distribution)
        and value < known.value
    )
