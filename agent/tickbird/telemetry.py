"""The agent's own instruments, and the agent as a target among the others.

They are served at ``/metrics/self`` and never pushed: a pipeline that is broken could not tell.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque

from . import __version__
from .model import Identity, Instrument, Kind, Sample, Target

CPU = Instrument("tickbird.agent.cpu.time", Kind.COUNTER, "s", "CPU time of the agent itself.")
MEMORY = Instrument(
    "tickbird.agent.memory.usage", Kind.UPDOWN, "By", "Resident memory of the agent itself."
)
TARGETS = Instrument(
    "tickbird.agent.targets", Kind.UPDOWN, "{target}", "Targets that are watched now."
)
SOURCE_UP = Instrument(
    "tickbird.agent.source.up",
    Kind.GAUGE,
    "1",
    "1 when the source's last read succeeded, 0 when it failed, wholly or in part.",
    ("tickbird.target", "tickbird.source"),
)
SOURCE_ERRORS = Instrument(
    "tickbird.agent.source.errors",
    Kind.COUNTER,
    "{error}",
    "Reads of a source that failed, wholly or in part.",
    ("tickbird.target", "tickbird.source"),
)
MISSED_TICKS = Instrument(
    "tickbird.agent.missed_ticks",
    Kind.COUNTER,
    "{tick}",
    "Sampling ticks skipped because the agent or its host was held up.",
)
TRACED = Instrument(
    "tickbird.agent.traced",
    Kind.GAUGE,
    "1",
    "Share of the time in which loops are traced; less than 1 to keep to the agent's budget.",
)
PACE = Instrument(
    "tickbird.agent.sampling.pace",
    Kind.GAUGE,
    "{interval}",
    "Configured intervals between two samples of a process; above 1 to keep to the budget.",
)
EXPORT_ITEMS = Instrument(
    "tickbird.agent.export.items",
    Kind.COUNTER,
    "{item}",
    "Spans, log records and data points that left the outgoing queue.",
    ("tickbird.signal", "tickbird.outcome"),
)
EXPORT_RETRIES = Instrument(
    "tickbird.agent.export.retries",
    Kind.COUNTER,
    "{request}",
    "Requests to the Collector that had to be sent again.",
    ("tickbird.signal",),
)
QUEUE_BYTES = Instrument(
    "tickbird.agent.queue.size",
    Kind.UPDOWN,
    "By",
    "Bytes waiting for the Collector.",
    ("tickbird.signal",),
)
INTAKE_REQUESTS = Instrument(
    "tickbird.agent.intake.requests",
    Kind.COUNTER,
    "{request}",
    "OTLP requests from the services' own SDKs.",
    ("tickbird.outcome",),
)
PROBE_DATAGRAMS = Instrument(
    "tickbird.agent.probe.datagrams",
    Kind.COUNTER,
    "{datagram}",
    "Datagrams from in-process probes.",
    ("tickbird.outcome",),
)
LOG_RECORDS = Instrument(
    "tickbird.log.records",
    Kind.UPDOWN,
    "{record}",
    "Log records: read = delivered + refused + dropped + queued at every moment.",
    ("tickbird.target", "state", "reason"),
)
LOG_UNBALANCED = Instrument(
    "tickbird.log.ledger.unbalanced",
    Kind.GAUGE,
    "{source}",
    "Log sources whose books do not add up; anything but 0 is a defect of the agent.",
)

INSTRUMENTS = (
    CPU,
    MEMORY,
    TARGETS,
    SOURCE_UP,
    SOURCE_ERRORS,
    MISSED_TICKS,
    TRACED,
    PACE,
    EXPORT_ITEMS,
    EXPORT_RETRIES,
    QUEUE_BYTES,
    INTAKE_REQUESTS,
    PROBE_DATAGRAMS,
    LOG_RECORDS,
    LOG_UNBALANCED,
)


def agent_target(instance: str) -> Target:
    """The agent itself, for its own series."""
    return Target(
        key="tickbird-agent",
        name="tickbird-agent",
        identity=Identity(os.getpid(), 0, time.time()),
        runtime="python",
        attributes={
            "service.name": "tickbird-agent",
            "service.instance.id": instance,
            "service.version": __version__,
            "host.name": socket.gethostname(),
        },
    )


class OwnCpu:
    """CPU of this process over the last minute; start-up does not count for ever."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque(maxlen=60)

    def look(self, now: float) -> None:
        """Call about once a second; ``now`` is monotonic."""
        self._looks.append((now, time.process_time()))

    def utilization(self) -> float | None:
        """Share of one core; None before there is enough to judge by."""
        if len(self._looks) < 10:
            return None
        (before, used_before), (now, used) = self._looks[0], self._looks[-1]
        return (used - used_before) / (now - before)


def own_cost() -> list[Sample]:
    """CPU seconds and resident bytes of this process."""
    times = os.times()
    return [Sample(CPU, times.user + times.system), Sample(MEMORY, resident_bytes())]


def resident_bytes() -> float:
    """Resident memory of this process; its peak where the system tells no more than that."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - half the cost of Path
            return float(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        import resource  # noqa: PLC0415 - only where there is no /proc

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
