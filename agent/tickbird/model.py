"""The nouns: plain data that every other part passes on. Nothing here does anything.

Units are those of the OpenTelemetry conventions: seconds, bytes, ratios 0..1, Unix seconds (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    COUNTER = "counter"
    UPDOWN = "updowncounter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Status(StrEnum):
    """What a check says. ``UNKNOWN`` is an answer: there was nothing to judge by."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric, declared once by the module that emits it. Names follow the OpenTelemetry
    semantic conventions; ``labels`` are attribute names, ``bounds`` a histogram's upper edges."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A cumulative histogram: ``counts`` has one entry more than the instrument's bounds."""

    counts: tuple[int, ...]
    sum: float
    count: int


class Sample(NamedTuple):
    """One absolute value of one series now. Counters are running totals, never differences."""

    instrument: Instrument
    value: float | Distribution
    labels: tuple[str, ...] = ()


class Identity(NamedTuple):
    """A process, for ever: a reused pid has another start time, so it is another identity."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks after boot."""
    started_at: float
    """The same as Unix seconds."""


@dataclass(frozen=True, slots=True)
class Target:
    """One watched process, or one name that only logs, scrapes and probes stand behind.

    ``key`` is unique in an agent and stable over restarts (``checkout``, ``checkout/2`` for the
    second worker); ``ordinal`` is None for a master or a lone process, 0.. for workers.
    """

    key: str
    name: str
    identity: Identity | None
    runtime: str
    """node, asyncio, uvloop, python or other."""
    ordinal: int | None = None
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    """Resource attributes: service.name, service.instance.id, host.name, labels ..."""

    @property
    def pid(self) -> int | None:
        return self.identity.pid if self.identity else None


LOOP_METHODS = ("trace", "probe", "attach", "kit", "otlp", "scrape", "estimated")
"""Ways to measure a loop, the preferred first. Two of them never share a percentile."""


@dataclass(slots=True)
class LoopWindow:
    """One window (normally 1 s) of one event loop, from whichever method measured it.

    ``histogram`` counts iterations by index into ``histogram.FINE_BOUNDS``; ``active`` and
    ``idle`` are the window's seconds in callbacks and in the poll call.
    """

    start: float
    duration: float
    method: str
    """One of ``LOOP_METHODS``."""
    error: float
    """Known measuring error of the method, seconds."""
    count: int
    sum: float
    min: float
    max: float
    histogram: Mapping[int, int]
    active: float
    idle: float
    quantiles: Mapping[str, float] | None = None
    """p50, p90, p99 where the method tells these and no histogram, which is empty then; ``count``
    and ``sum`` are estimates."""


@dataclass(slots=True)
class Stall:
    """One loop iteration of at least the stall threshold; ``ongoing`` while it still runs."""

    start: float
    duration: float
    method: str
    ongoing: bool = False
    cause: str | None = None
    """cpu, blocking call, lock, starved, paging, stopped or gc; None: not known."""
    culprit: Mapping[str, Any] | None = None
    certainty: str | None = None
    """Of the cause: measured, or likely."""
    evidence: Mapping[str, Any] | None = None
    """What the cause was concluded from."""


@dataclass(slots=True)
class HttpSeries:
    """Running totals of one (method, route, status) since the process started."""

    method: str
    route: str | None
    status: int
    """0: the client went away before an answer."""
    count: int
    sum: float
    max: float
    histogram: Mapping[int, int]
    """Counts by index into ``histogram.FINE_BOUNDS``."""


@dataclass(slots=True)
class HttpSnapshot:
    """All HTTP series of a target as one source sees them now."""

    source: str
    """probe, kit, otlp or scrape; where a target has several, the first of this order counts."""
    active: int | None
    series: list[HttpSeries]
    from_zero: bool = False
    """Whether its totals began when it was first heard of, however old the process."""


@dataclass(slots=True)
class RuntimeInfo:
    """What an in-process probe tells about the process it lives in."""

    runtime: str
    version: str


@dataclass(slots=True)
class LogRecord:
    """One log line after the stages, by itself. ``time_ns`` is 0 when the line bears no time;
    ``observed_ns`` is when it was read."""

    body: str
    time_ns: int = 0
    observed_ns: int = 0
    severity_number: int = 0
    severity_text: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    correlation_id: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one target (or, with ``target`` None, about agent and machine)."""

    check: str
    status: Status
    title: str
    target: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    runbook: str = ""


Item = Sample | LoopWindow | Stall | HttpSnapshot | RuntimeInfo
"""What a source may yield."""
