"""Targets with a known history, recorded by the real recorder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickbird import histogram
from tickbird.health.subject import Subject, http_of, loop_of
from tickbird.ledger import Totals as Lines
from tickbird.model import (
    HttpSeries,
    HttpSnapshot,
    Identity,
    Instrument,
    Item,
    Kind,
    LoopWindow,
    Sample,
    Stall,
    Target,
)
from tickbird.recorder import Recorder

T0 = 1_700_000_000.0
CPU = Instrument("process.cpu.time", Kind.COUNTER, "s", "CPU time.", ("cpu.mode",))
RSS = Instrument("process.memory.usage", Kind.UPDOWN, "By", "Resident memory.")
HEAP = Instrument("v8js.memory.heap.used", Kind.UPDOWN, "By", "Heap.")
FDS = Instrument("process.unix.file_descriptor.count", Kind.UPDOWN, "1", "Open.")
FD_LIMIT = Instrument("process.unix.file_descriptor.limit", Kind.UPDOWN, "1", "Limit.")
MEMORY_LIMIT = Instrument("container.memory.limit", Kind.UPDOWN, "By", "Limit.")

__all__ = ["Lines"]


def target(key: str = "shop", runtime: str = "node", ordinal: int | None = None) -> Target:
    name = key.split("/", maxsplit=1)[0]
    attributes = {"service.name": name, "service.instance.id": f"id-{key}"}
    return Target(key, name, Identity(42, 1, T0), runtime, ordinal, attributes)


class History:
    """Second by second; ``now`` is the end of the last one."""

    def __init__(self, of: Target | None = None, recorder: Recorder | None = None) -> None:
        self.target = of or target()
        self.recorder = recorder or Recorder(900.0, 8 << 20)
        self.now = T0
        self._http: dict[tuple[str, str, int], HttpSeries] = {}
        self._cpu = 0.0

    def second(self, *items: Item, cpu: float = 0.1) -> None:
        self._cpu += cpu
        self.now += 1.0
        everything = [Sample(CPU, self._cpu, ("user",)), *items]
        self.recorder.record(self.target, everything, self.now)

    def loop(self, delay: float = 0.001, stalls: Iterable[Stall] = ()) -> None:
        """A second of a measured loop."""
        counts = {histogram.index_of(delay): 10}
        window = LoopWindow(
            self.now, 1.0, "probe", 0.0005, 10, delay * 10, delay, delay, counts, 0.2, 0.8
        )
        self.second(window, *stalls)

    def requests(self, route: str, seconds: Sequence[float], status: int = 200) -> None:
        """Requests since the last snapshot, each of so many seconds."""
        key = ("GET", route, status)
        known = self._http.get(key) or HttpSeries("GET", route, status, 0, 0.0, 0.0, {})
        counts = dict(known.histogram)
        for duration in seconds:
            index = histogram.index_of(duration)
            counts[index] = counts.get(index, 0) + 1
        total, longest = known.sum + sum(seconds), max([known.max, *seconds])
        number = known.count + len(seconds)
        self._http[key] = HttpSeries("GET", route, status, number, total, longest, counts)

    def serve(self) -> None:
        """A second that ends with a snapshot of all requests."""
        self.second(HttpSnapshot("probe", 0, list(self._http.values())))

    def subject(self, logs: Lines | None = None, since: float = 900.0) -> Subject:
        views = self.recorder.since(since, self.now)
        (view,) = [view for view in views if view.target.key == self.target.key]
        return Subject(view, loop_of(view), http_of(view), logs)
