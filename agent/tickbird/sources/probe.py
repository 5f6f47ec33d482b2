"""Hears the in-process probes: one JSON datagram per second and loop, over loopback UDP.

A datagram is believed only with the token that the launcher gave to its service. A probe that was
put into a running process (``method`` is ``attach``) gets an answer to each report: ``keep``, or
``leave`` when this agent does not want it any more. Without one it leaves.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..errors import NoData
from ..model import HttpSeries, HttpSnapshot, Item, Stall, Target
from . import Context, Source, SourceType
from .probereports import INSTRUMENTS, LiveStall, Report, fine, items_of, parse

MAX_DATAGRAM = 65_535
KEPT_STALLS = 32
WAITING_DATAGRAMS = 16
MAX_PROCESSES = 256
"""Processes that report and are no targets are remembered too: what a service's tools start."""
LOOK_UP = 5.0
"""Seconds between two looks at whether to stop, for which nobody waits."""
MAX_SERIES = 2_000
KEEP, LEAVE = b"keep", b"leave"
Address = tuple[str, int]


@dataclass(slots=True)
class _Inbox:
    """What one process has sent and nobody has read yet, and its HTTP totals."""

    reports: deque[Report] = field(default_factory=lambda: deque(maxlen=WAITING_DATAGRAMS))
    http: dict[tuple[str, str | None, int], HttpSeries] = field(default_factory=dict)
    active: int | None = None
    injected: bool = False
    seq: int = -1
    live: deque[LiveStall] = field(default_factory=lambda: deque(maxlen=KEPT_STALLS))
    """The last word about each of the latest stalls."""
    collected: float | None = None
    """Seconds spent in collections of garbage up to the last report."""

    def collected_since(self, report: Report) -> float:
        """Seconds spent in collections since the report before; 0 where that is not known."""
        total = sum(seconds for _, seconds in report.gc.values())
        before, self.collected = self.collected, total
        return 0.0 if before is None else max(0.0, total - before)

    def hear(self, stall: LiveStall) -> None:
        if self.live and self.live[-1].start == stall.start:
            self.live[-1] = stall
        else:
            self.live.append(stall)


class ProbeReceiver:
    """Owns the socket and sorts datagrams by pid; ``run`` is the body of a thread."""

    def __init__(self, sock: socket.socket, token: str) -> None:
        self._socket = sock
        self.token = token
        self._wanted: dict[int, Address | None] = {}
        self._lock = threading.Lock()
        self._inboxes: OrderedDict[int, _Inbox] = OrderedDict()
        self.received = self.rejected = 0
        self.on_stall: Callable[[int, Stall], None] | None = None
        """Called in the receiver's thread with a stall that goes on: nobody should wait for it."""

    def run(self, stop: threading.Event) -> None:
        self._socket.settimeout(LOOK_UP)
        while not stop.is_set():
            try:
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except TimeoutError:
                continue
            except OSError:
                return
            self.take(datagram, sender)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def keep(self, pid: int) -> None:
        """From now on, tell the probe that is put into this process to stay."""
        with self._lock:
            self._wanted.setdefault(pid, None)

    def leave(self, pid: int) -> None:
        """Tell it to leave, now or when it reports next."""
        with self._lock:
            address = self._wanted.pop(pid, None)
        if address is not None:
            self._send(LEAVE, address)

    def _answer_report(self, pid: int, sender: Address) -> None:
        with self._lock:
            wanted = pid in self._wanted
            if wanted:
                self._wanted[pid] = sender
        self._send(KEEP if wanted else LEAVE, sender)

    def _send(self, word: bytes, address: Address) -> None:
        with contextlib.suppress(OSError):  # the next report is answered again
            self._socket.sendto(word, address)

    def seq(self, pid: int) -> int:
        """Number of the last report of a process; -1 before the first."""
        with self._lock:
            return inbox.seq if (inbox := self._inboxes.get(pid)) else -1

    def take(self, datagram: bytes, sender: Address | None = None) -> None:
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
        if isinstance(report, Report) and report.method == "attach" and sender is not None:
            self._answer_report(report.pid, sender)
        if isinstance(report, LiveStall) and self.on_stall is not None:
            self.on_stall(report.pid, report.item())

    def _inbox(self, report: Report | LiveStall) -> _Inbox:
        """Where ``report`` belongs; numbers that begin anew are of another process."""
        inbox = self._inboxes.get(report.pid)
        if inbox is None or (isinstance(report, Report) and report.seq < inbox.seq):
            inbox = self._inboxes[report.pid] = _Inbox()
        return inbox

    def _believes(self, report: Report | LiveStall) -> bool:
        return hmac.compare_digest(report.token.encode(), self.token.encode())

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
                items += items_of(report, inbox.live, inbox.collected_since(report))
                fresh |= _gather_http(inbox, report)
            if fresh:
                series = list(inbox.http.values())
                items.append(HttpSnapshot("probe", inbox.active, series, inbox.injected))
            return items


def _gather_http(inbox: _Inbox, report: Report) -> bool:
    if report.http is None:
        return False
    inbox.active = report.http.active
    inbox.injected = report.method == "attach"
    for one in report.http.series:
        key = (one.method, one.route, one.status)
        if key in inbox.http or len(inbox.http) < MAX_SERIES:
            inbox.http[key] = HttpSeries(
                one.method, one.route, one.status, one.count, one.sum, one.max, fine(one.hist)
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


SOURCE = SourceType("probe", INSTRUMENTS, _open)

__all__ = ["SOURCE", "LiveStall", "ProbeReceiver", "ProbeSource", "Report", "parse"]
