"""Turns what was seen of loops and requests into series.

A source yields windows and snapshots, whichever way it measured; the names, kinds and labels that
leave the agent are the same for all of them and stand here.
"""

from __future__ import annotations

from .histogram import HTTP_BOUNDS, LOOP_BOUNDS, distribution, merge, quantile
from .model import HttpSnapshot, Instrument, Item, Kind, LoopWindow, RuntimeInfo, Sample, Stall

_METHOD = "tickbird.eventloop.method"
_STATISTICS = ("min", "max", "mean", "p50", "p90", "p99")


class _LoopInstruments:
    """Node's names come from the conventions; there are none for asyncio, so its own mirror
    them (uvloop is an asyncio loop)."""

    def __init__(self, prefix: str, runtime: str) -> None:
        self.delay = {
            statistic: Instrument(
                f"{prefix}.eventloop.delay.{statistic}",
                Kind.GAUGE,
                "s",
                f"Event loop {statistic} delay of the last window ({runtime}).",
                (_METHOD,),
            )
            for statistic in _STATISTICS
        }
        self.utilization = Instrument(
            f"{prefix}.eventloop.utilization",
            Kind.GAUGE,
            "1",
            f"Share of the last window that the loop spent in callbacks ({runtime}).",
        )
        self.time = Instrument(
            f"{prefix}.eventloop.time",
            Kind.COUNTER,
            "s",
            f"Time the loop spent active and idle ({runtime}).",
            (f"{prefix}.eventloop.state",),
        )

    def all(self) -> tuple[Instrument, ...]:
        return (*self.delay.values(), self.utilization, self.time)


_LOOPS = {
    "nodejs": _LoopInstruments("nodejs", "Node.js"),
    "asyncio": _LoopInstruments("asyncio", "asyncio and uvloop; mirrors nodejs.eventloop"),
}

ITERATION = Instrument(
    "tickbird.eventloop.iteration.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of single loop iterations: add it up over workers, unlike percentiles.",
    (_METHOD,),
    LOOP_BOUNDS,
)
BLOCKED = Instrument(
    "tickbird.eventloop.blocked.time",
    Kind.COUNTER,
    "s",
    "Time that loop iterations took beyond the stall threshold.",
)
STALLS = Instrument(
    "tickbird.eventloop.stalls",
    Kind.COUNTER,
    "{stall}",
    "Loop iterations that took at least the stall threshold.",
    ("tickbird.eventloop.cause",),
)
HTTP_DURATION = Instrument(
    "http.server.request.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of HTTP server requests.",
    ("http.request.method", "http.route", "http.response.status_code", "error.type"),
    HTTP_BOUNDS,
)
HTTP_ACTIVE = Instrument(
    "http.server.active_requests",
    Kind.UPDOWN,
    "{request}",
    "HTTP server requests being answered now.",
)

INSTRUMENTS = (
    *(instrument for loop in _LOOPS.values() for instrument in loop.all()),
    ITERATION,
    BLOCKED,
    STALLS,
    HTTP_DURATION,
    HTTP_ACTIVE,
)


LOOP_METRICS = frozenset(
    one.name
    for one in (*(i for loop in _LOOPS.values() for i in loop.all()), ITERATION, BLOCKED, STALLS)
)
"""What whoever measures the loop speaks of."""


class Meter:
    """Running totals of one target's loop and requests; one meter per (target, identity)."""

    def __init__(self, runtime: str, stall_threshold: float) -> None:
        self._runtime = runtime
        self._threshold = stall_threshold
        self._active = self._idle = self._blocked = self._iterations_sum = 0.0
        self._method: str | None = None
        self._iterations: dict[int, int] = {}
        self._stalls: dict[str, int] = {}

    def observe(self, item: Item) -> list[Sample]:
        """The series that ``item`` moves."""
        if isinstance(item, Sample):  # nearly all are
            return [item]
        if isinstance(item, RuntimeInfo):
            self._runtime = item.runtime
        elif isinstance(item, LoopWindow):
            return self._loop(item)
        elif isinstance(item, Stall) and not item.ongoing:
            return self._stall(item)
        elif isinstance(item, HttpSnapshot):
            return _http(item)
        return []

    def _loop(self, window: LoopWindow) -> list[Sample]:
        loop = self._instruments()
        if window.quantiles is not None:
            return _delays(loop, window)
        if window.method != self._method:  # its own series: what another counted is not in it
            self._method, self._iterations, self._iterations_sum = window.method, {}, 0.0
        self._active += window.active
        self._idle += window.idle
        self._iterations_sum += window.sum
        self._iterations = merge((self._iterations, window.histogram))
        samples = [
            Sample(loop.time, self._active, ("active",)),
            Sample(loop.time, self._idle, ("idle",)),
            Sample(
                ITERATION,
                distribution(self._iterations, LOOP_BOUNDS, self._iterations_sum),
                (window.method,),
            ),
            Sample(BLOCKED, self._blocked),
        ]
        if (whole := window.active + window.idle) > 0:
            samples.append(Sample(loop.utilization, min(1.0, window.active / whole)))
        return samples + _delays(loop, window)

    def _instruments(self) -> _LoopInstruments:
        """Of a target without a process, only Node's names are known."""
        return _LOOPS["nodejs" if self._runtime in ("node", "other") else "asyncio"]

    def silence(self, seconds: float) -> list[Sample]:
        """The delay of a loop that has ended no iteration for so long: that one has lasted at
        least as long. It is counted when it ends."""
        loop = self._instruments()
        return [Sample(gauge, seconds, (self._method or "",)) for gauge in loop.delay.values()]

    def _stall(self, stall: Stall) -> list[Sample]:
        cause = stall.cause or "unknown"
        self._stalls[cause] = self._stalls.get(cause, 0) + 1
        self._blocked += max(0.0, stall.duration - self._threshold)
        return [Sample(STALLS, self._stalls[cause], (cause,)), Sample(BLOCKED, self._blocked)]


def _delays(loop: _LoopInstruments, window: LoopWindow) -> list[Sample]:
    if not window.count:
        return []
    known = delay_statistics(window).items()
    return [Sample(loop.delay[name], value, (window.method,)) for name, value in known]


def delay_statistics(window: LoopWindow) -> dict[str, float]:
    """min, max, mean, p50, p90 and p99 of a window's iterations, seconds."""
    found = {"min": window.min, "max": window.max, "mean": window.sum / window.count}
    if window.quantiles is not None:
        return {**found, **window.quantiles}
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        value = quantile(window.histogram, q, window.max)
        found[name] = window.max if value is None else value
    return found


def _http(snapshot: HttpSnapshot) -> list[Sample]:
    samples = [
        Sample(
            HTTP_DURATION,
            distribution(series.histogram, HTTP_BOUNDS, series.sum),
            (
                series.method,
                series.route or "",
                str(series.status) if series.status else "",
                error_type(series.status) or "",
            ),
        )
        for series in snapshot.series
    ]
    if snapshot.active is not None:
        samples.append(Sample(HTTP_ACTIVE, snapshot.active))
    return samples


def error_type(status: int) -> str | None:
    """``error.type`` of a server answer: the status from 500 on, ``aborted`` where the client
    went away; None when it was no server error."""
    if status == 0:
        return "aborted"
    return str(status) if status >= 500 else None
