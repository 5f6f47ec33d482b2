"""What the in-process probes send: one JSON datagram per second and loop, over loopback UDP.

A datagram is believed only with the token that the launcher gave to its service. Loop values are
of one window; HTTP and GC counts are running totals, so a lost datagram loses no request. While a
stall lasts the probe's watchdog tells of it ten times a second, with what it knows of the culprit;
the report of the window in which the stall has ended has its exact length.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec

from ..errors import NoData
from ..histogram import FINE_BOUNDS
from ..model import (
    HttpSeries,
    HttpSnapshot,
    Instrument,
    Item,
    Kind,
    LoopWindow,
    RuntimeInfo,
    Sample,
    Stall,
    Target,
)
from . import Context, Source, SourceType

MAX_DATAGRAM = 65_535
KEPT_STALLS = 32
WAITING_DATAGRAMS = 16
MAX_PROCESSES = 256
"""Processes that report and are no targets are remembered too: what a service's tools start."""
LOOK_UP = 5.0
"""Seconds between two looks at whether to stop, for which nobody waits."""
MAX_SERIES = 2_000

HEAP_USED = Instrument("v8js.memory.heap.used", Kind.UPDOWN, "By", "Heap in use.")
HEAP_LIMIT = Instrument(
    "tickbird.v8js.heap.limit", Kind.UPDOWN, "By", "Most that the heap may grow to."
)
GC_COUNT = Instrument(
    "tickbird.v8js.gc.collections",
    Kind.COUNTER,
    "{collection}",
    "Collections by kind.",
    ("v8js.gc.type",),
)
GC_TIME = Instrument(
    "tickbird.v8js.gc.time", Kind.COUNTER, "s", "Time spent in collections by kind.",
    ("v8js.gc.type",),
)  # fmt: skip


Cause = Literal["cpu", "blocking call", "lock", "starved"]
MAX_FRAMES = 20
Text = Annotated[str, msgspec.Meta(max_length=2_000)]

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""What every number of OTLP and of JSON can hold."""


class _Loop(msgspec.Struct):
    error: float
    count: Count
    sum: float
    min: float
    max: float
    active: float
    idle: float
    hist: dict[int, Count] = {}


class _Stall(msgspec.Struct):
    start: float
    duration: float


class Culprit(msgspec.Struct):
    """What held the loop: the innermost function that is not the runtime's own."""

    function: Text
    file: Text
    line: int
    stack: Annotated[list[Text], msgspec.Meta(max_length=MAX_FRAMES)] = []
    """Innermost first, ``function file:line``."""


class LiveStall(msgspec.Struct):
    """One datagram of a watchdog: a stall that still goes on."""

    v: int
    token: str
    pid: int
    start: float
    duration: float
    cause: Cause | None = None
    culprit: Culprit | None = None

    def overlap(self, stall: _Stall) -> float:
        """Seconds; both mean the same iteration when it is most of the shorter one."""
        end = min(self.start + self.duration, stall.start + stall.duration)
        return end - max(self.start, stall.start)

    def item(self) -> Stall:
        culprit = msgspec.to_builtins(self.culprit) if self.culprit else None
        return Stall(self.start, self.duration, "probe", True, self.cause, culprit)


class _Series(msgspec.Struct):
    method: str
    status: Annotated[int, msgspec.Meta(ge=0, lt=1_000)]
    count: Count
    sum: float
    max: float
    route: str | None = None
    hist: dict[int, Count] = {}


class _Http(msgspec.Struct):
    active: Count
    series: list[_Series] = []


class _Memory(msgspec.Struct):
    heap_used: float
    heap_total: float
    heap_limit: float


class Report(msgspec.Struct):
    """One datagram. Fields of later versions are ignored."""

    v: int
    token: str
    pid: int
    runtime: str
    version: str
    seq: int
    start: float
    duration: float
    loop: _Loop | None = None
    stalls: list[_Stall] = []
    memory: _Memory | None = None
    gc: dict[str, tuple[Count, float]] = {}
    http: _Http | None = None


class _Kind(msgspec.Struct):
    type: Literal["report", "stall"] = "report"


def parse(datagram: bytes) -> Report | LiveStall | None:
    """The datagram as what it tells; None when it is nothing of ours."""
    try:
        if msgspec.json.decode(datagram, type=_Kind).type == "stall":
            return msgspec.json.decode(datagram, type=LiveStall)
        return msgspec.json.decode(datagram, type=Report)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def items_of(report: Report, named: Iterable[LiveStall] = ()) -> list[Item]:
    """What one report says, its HTTP part apart (that one is gathered over datagrams). ``named``
    is what was told of its stalls while they went on."""
    items: list[Item] = [RuntimeInfo(report.runtime, report.version)]
    if (loop := report.loop) is not None:
        items.append(
            LoopWindow(
                report.start, report.duration, "probe", loop.error, loop.count, loop.sum,
                loop.min, loop.max, _fine(loop.hist), loop.active, loop.idle,
            )
        )  # fmt: skip
    items += [_ended(stall, named) for stall in report.stalls]
    if (memory := report.memory) is not None:
        items.append(Sample(HEAP_USED, memory.heap_used))
        items.append(Sample(HEAP_LIMIT, memory.heap_limit))
    for kind, (count, seconds) in report.gc.items():
        items.append(Sample(GC_COUNT, count, (kind,)))
        items.append(Sample(GC_TIME, seconds, (kind,)))
    return items


def _ended(stall: _Stall, named: Iterable[LiveStall]) -> Stall:
    best = max(named, key=lambda one: one.overlap(stall), default=None)
    if best is None or best.overlap(stall) <= min(best.duration, stall.duration) / 2:
        return Stall(stall.start, stall.duration, "probe")
    return replace(best.item(), start=stall.start, duration=stall.duration, ongoing=False)


def _fine(histogram: dict[int, int]) -> dict[int, int]:
    return {index: n for index, n in histogram.items() if 0 <= index <= len(FINE_BOUNDS)}


@dataclass(slots=True)
class _Inbox:
    """What one process has sent and nobody has read yet, and its HTTP totals."""

    reports: deque[Report] = field(default_factory=lambda: deque(maxlen=WAITING_DATAGRAMS))
    http: dict[tuple[str, str | None, int], HttpSeries] = field(default_factory=dict)
    active: int | None = None
    seq: int = -1
    live: deque[LiveStall] = field(default_factory=lambda: deque(maxlen=KEPT_STALLS))
    """The last word about each of the latest stalls."""

    def hear(self, stall: LiveStall) -> None:
        if self.live and self.live[-1].start == stall.start:
            self.live[-1] = stall
        else:
            self.live.append(stall)


class ProbeReceiver:
    """Owns the socket and sorts datagrams by pid; ``run`` is the body of a thread."""

    def __init__(self, sock: socket.socket, token: str) -> None:
        self._socket = sock
        self._token = token
        self._lock = threading.Lock()
        self._inboxes: OrderedDict[int, _Inbox] = OrderedDict()
        self.received = self.rejected = 0
        self.on_stall: Callable[[int, Stall], None] | None = None
        """Called in the receiver's thread with a stall that goes on: nobody should wait for it."""

    def run(self, stop: threading.Event) -> None:
        self._socket.settimeout(LOOK_UP)
        while not stop.is_set():
            try:
                datagram = self._socket.recv(MAX_DATAGRAM)
            except TimeoutError:
                continue
            except OSError:
                return
            self.take(datagram)

    def take(self, datagram: bytes) -> None:
        report = parse(datagram)
        if report is None or report.v != 1 or not self._believes(report):
            self.rejected += 1
            return
        with self._lock:
            self.received += 1
            inbox = self._inbox(report)
            self._inboxes.move_to_end(report.pid)
            if isinstance(report, LiveStall):
                inbox.hear(report)
            else:
                inbox.seq = report.seq
                inbox.reports.append(report)
            while len(self._inboxes) > MAX_PROCESSES:
                self._inboxes.popitem(last=False)
        if isinstance(report, LiveStall) and self.on_stall is not None:
            self.on_stall(report.pid, report.item())

    def _inbox(self, report: Report | LiveStall) -> _Inbox:
        """Where ``report`` belongs; numbers that begin anew are of another process."""
        inbox = self._inboxes.get(report.pid)
        if inbox is None or (isinstance(report, Report) and report.seq < inbox.seq):
            inbox = self._inboxes[report.pid] = _Inbox()
        return inbox

    def _believes(self, report: Report | LiveStall) -> bool:
        return hmac.compare_digest(report.token.encode(), self._token.encode())

    def knows(self, pid: int) -> bool:
        with self._lock:
            return pid in self._inboxes

    def forget(self, pid: int) -> None:
        with self._lock:
            self._inboxes.pop(pid, None)

    def collect(self, pid: int) -> list[Item]:
        """Everything that arrived from ``pid`` since the last call."""
        with self._lock:
            if (inbox := self._inboxes.get(pid)) is None:
                return []
            items: list[Item] = []
            fresh = False
            while inbox.reports:
                report = inbox.reports.popleft()
                items += items_of(report, inbox.live)
                fresh |= _gather_http(inbox, report)
            if fresh:
                items.append(HttpSnapshot("probe", inbox.active, list(inbox.http.values())))
            return items


def _gather_http(inbox: _Inbox, report: Report) -> bool:
    if report.http is None:
        return False
    inbox.active = report.http.active
    for one in report.http.series:
        key = (one.method, one.route, one.status)
        if key in inbox.http or len(inbox.http) < MAX_SERIES:
            inbox.http[key] = HttpSeries(
                one.method, one.route, one.status, one.count, one.sum, one.max, _fine(one.hist)
            )
    return True


class ProbeSource:
    """The reports of one process."""

    interval = 1.0
    problems: Sequence[str] = ()

    def __init__(self, receiver: ProbeReceiver, pid: int) -> None:
        self._receiver = receiver
        self._pid = pid

    def read(self) -> Iterable[Item]:
        if not self._receiver.knows(self._pid):
            raise NoData("no probe has reported from this process")
        return self._receiver.collect(self._pid)

    def close(self) -> None:
        """A process that takes the pid over begins with nothing."""
        self._receiver.forget(self._pid)


def _open(target: Target, context: Context) -> Source | None:
    if context.probes is None or target.pid is None:
        return None
    return ProbeSource(context.probes, target.pid)


SOURCE = SourceType("probe", (HEAP_USED, HEAP_LIMIT, GC_COUNT, GC_TIME), _open)
