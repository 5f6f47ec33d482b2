"""What a probe's datagrams say: JSON, the same for every runtime, and the items it stands for.

Loop values are of one window; HTTP and GC counts are running totals, so a lost datagram loses no
request. While a stall lasts the probe's watchdog tells of it ten times a second, with what it knows
of the culprit; the report of the window in which the stall has ended has its exact length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Literal

import msgspec

from ..histogram import FINE_BOUNDS
from ..model import Instrument, Item, Kind, LoopWindow, RuntimeInfo, Sample, Stall

HEAP_USED = Instrument("v8js.memory.heap.used", Kind.UPDOWN, "By", "Heap in use.")
HEAP_LIMIT = Instrument(
    "tickbird.v8js.heap.limit", Kind.UPDOWN, "By", "Most that the heap may grow to."
)
_SPACE = ("v8js.heap.space.name",)
HEAP_SPACES = (
    Instrument(
        "v8js.memory.heap.space.size", Kind.UPDOWN, "By", "Size of a space of the heap.", _SPACE
    ),
    Instrument("tickbird.v8js.heap.space.used", Kind.UPDOWN, "By", "Of that in use.", _SPACE),
    Instrument(
        "v8js.memory.heap.space.available_size", Kind.UPDOWN, "By", "Of that available.", _SPACE
    ),
    Instrument(
        "v8js.memory.heap.space.physical_size", Kind.UPDOWN, "By", "Of that committed.", _SPACE
    ),
)
"""In the order in which a report has their values."""
RESOURCES = Instrument(
    "v8js.resource.active",
    Kind.GAUGE,
    "{resource}",
    "Resources that keep the event loop alive, by type.",
    ("v8js.resource.type",),
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

INSTRUMENTS = (HEAP_USED, HEAP_LIMIT, *HEAP_SPACES, RESOURCES, GC_COUNT, GC_TIME)

Cause = Literal["cpu", "blocking call", "lock", "starved"]
MAX_FRAMES = 20
Text = Annotated[str, msgspec.Meta(max_length=2_000)]

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""What every number of OTLP and of JSON can hold."""

Method = Literal["probe", "attach"]
"""How the probe came in: started with its service, or put into it later."""


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
    method: Method = "probe"

    def overlap(self, stall: _Stall) -> float:
        """Seconds; both mean the same iteration when it is most of the shorter one."""
        end = min(self.start + self.duration, stall.start + stall.duration)
        return end - max(self.start, stall.start)

    def item(self) -> Stall:
        culprit = msgspec.to_builtins(self.culprit) if self.culprit else None
        certainty = "likely" if self.cause else None  # its books begin when the stall is noticed
        return Stall(self.start, self.duration, self.method, True, self.cause, culprit, certainty)


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
    spaces: dict[str, tuple[Count, Count, Count, Count]] = {}
    resources: dict[str, Count] = {}
    method: Method = "probe"


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


GARBAGE = 0.5
"""Share of a stall from which on collections of garbage are what it was spent on."""


def items_of(report: Report, named: Iterable[LiveStall] = (), collected: float = 0.0) -> list[Item]:
    """What one report says, its HTTP part apart (that one is gathered over datagrams). ``named``
    is what was told of its stalls while they went on; ``collected`` the seconds that collections of
    garbage took meanwhile."""
    items: list[Item] = [RuntimeInfo(report.runtime, report.version)]
    if (loop := report.loop) is not None:
        items.append(
            LoopWindow(
                report.start, report.duration, report.method, loop.error, loop.count, loop.sum,
                loop.min, loop.max, fine(loop.hist), loop.active, loop.idle,
            )
        )  # fmt: skip
    stalls = [_ended(stall, named, report.method) for stall in report.stalls]
    items += _of_collections(stalls, collected)
    if (memory := report.memory) is not None:
        items.append(Sample(HEAP_USED, memory.heap_used))
        items.append(Sample(HEAP_LIMIT, memory.heap_limit))
    for kind, (count, seconds) in report.gc.items():
        items.append(Sample(GC_COUNT, count, (kind,)))
        items.append(Sample(GC_TIME, seconds, (kind,)))
    for space, values in report.spaces.items():
        items += map(Sample, HEAP_SPACES, values, [(space,)] * len(values))
    items += [Sample(RESOURCES, count, (kind,)) for kind, count in report.resources.items()]
    return items


def _ended(stall: _Stall, named: Iterable[LiveStall], method: Method) -> Stall:
    best = max(named, key=lambda one: one.overlap(stall), default=None)
    if best is None or best.overlap(stall) <= min(best.duration, stall.duration) / 2:
        return Stall(stall.start, stall.duration, method)
    return replace(best.item(), start=stall.start, duration=stall.duration, ongoing=False)


def _of_collections(stalls: list[Stall], collected: float) -> list[Stall]:
    """The same, spent on collections where these took most of the time of all of them: nobody knows
    which collection fell into which stall."""
    whole = sum(stall.duration for stall in stalls if stall.cause in ("cpu", None))
    if not whole or collected < GARBAGE * whole:
        return stalls
    return [
        replace(stall, cause="gc", certainty="likely") if stall.cause in ("cpu", None) else stall
        for stall in stalls
    ]


def fine(histogram: dict[int, int]) -> dict[int, int]:
    return {index: n for index, n in histogram.items() if 0 <= index <= len(FINE_BOUNDS)}
