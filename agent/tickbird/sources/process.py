"""What a process uses: CPU, memory, threads, descriptors, I/O, faults, waiting, cgroup limits.

On Linux from files of /proc that stay open (a third of a percent of a core for 100 processes at
1 Hz), elsewhere from psutil. What the kernel does not show for another user's process is absent,
never zero, and named once in ``problems``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol

from ..errors import SourceError, TargetGone
from ..linux.process import LinuxReader, Reading
from ..model import Identity, Instrument, Item, Kind, Sample, Target
from . import Context, SourceType

CPU_TIME = Instrument(
    "process.cpu.time", Kind.COUNTER, "s", "CPU time of all threads.", ("cpu.mode",)
)
CPU_UTILIZATION = Instrument(
    "process.cpu.utilization",
    Kind.GAUGE,
    "1",
    "Share of one core since the last reading; above 1 when several threads run at once. The "
    "convention divides by the CPUs; an event loop has only one, so this one does not.",
)
MEMORY_USAGE = Instrument("process.memory.usage", Kind.UPDOWN, "By", "Resident memory.")
MEMORY_VIRTUAL = Instrument("process.memory.virtual", Kind.UPDOWN, "By", "Virtual memory.")
THREADS = Instrument("process.thread.count", Kind.UPDOWN, "{thread}", "Threads.")
DESCRIPTORS = Instrument(
    "process.unix.file_descriptor.count", Kind.UPDOWN, "{file_descriptor}", "Open descriptors."
)
DESCRIPTOR_LIMIT = Instrument(
    "process.unix.file_descriptor.limit",
    Kind.UPDOWN,
    "{file_descriptor}",
    "Soft limit of open descriptors; absent when unlimited. No convention names it yet.",
)
CONTEXT_SWITCHES = Instrument(
    "process.context_switches",
    Kind.COUNTER,
    "{context_switch}",
    "Context switches; on Linux those of the main thread, which is the loop's.",
    ("process.context_switch.type",),
)
DISK_IO = Instrument(
    "process.disk.io",
    Kind.COUNTER,
    "By",
    "Bytes read from and written to storage; absent without the right to see it.",
    ("disk.io.direction",),
)
PAGING_FAULTS = Instrument(
    "process.paging.faults",
    Kind.COUNTER,
    "{fault}",
    "Page faults of all threads.",
    ("system.paging.fault.type",),
)
UPTIME = Instrument("process.uptime", Kind.GAUGE, "s", "Time since the process started.")
RUNQUEUE = Instrument(
    "process.runqueue.time",
    Kind.COUNTER,
    "s",
    "Time the main thread (the loop's) was ready to run and waited for a CPU.",
)
CONTAINER_MEMORY_LIMIT = Instrument(
    "container.memory.limit",
    Kind.UPDOWN,
    "By",
    "Tightest memory limit of the process's control groups; absent when there is none.",
)
CONTAINER_CPU_LIMIT = Instrument(
    "container.cpu.limit",
    Kind.UPDOWN,
    "{cpu}",
    "Tightest CPU quota of the process's control groups, in CPUs; absent when there is none.",
)
CONTAINER_THROTTLED = Instrument(
    "container.cpu.throttled.time",
    Kind.COUNTER,
    "s",
    "Time the control group with the tightest CPU quota was held back.",
)


class Reader(Protocol):
    problems: tuple[str, ...]

    def read(self, now: float) -> Reading:
        """Raises TargetGone, or SourceError."""

    def close(self) -> None: ...


def samples(reading: Reading) -> list[Sample]:
    """The series of one reading; what is not known has none."""
    pairs = (
        (CPU_TIME, reading.cpu, ("user", "system")),
        (PAGING_FAULTS, reading.faults, ("minor", "major")),
        (CONTEXT_SWITCHES, reading.switches, ("voluntary", "involuntary")),
        (DISK_IO, reading.disk, ("read", "write")),
    )
    values = (
        (MEMORY_USAGE, reading.resident),
        (MEMORY_VIRTUAL, reading.virtual),
        (THREADS, reading.threads),
        (DESCRIPTORS, reading.descriptors),
        (DESCRIPTOR_LIMIT, reading.descriptor_limit),
        (RUNQUEUE, reading.runqueue),
        (CONTAINER_MEMORY_LIMIT, reading.memory_limit),
        (CONTAINER_CPU_LIMIT, reading.cpu_limit),
        (CONTAINER_THROTTLED, reading.throttled),
    )
    found = [
        Sample(instrument, value, (name,))
        for instrument, pair, names in pairs
        if pair is not None
        for value, name in zip(pair, names, strict=True)
    ]
    found += [Sample(instrument, value) for instrument, value in values if value is not None]
    return found


class PortableReader:
    """The same where there is no /proc, by psutil."""

    def __init__(self, identity: Identity) -> None:
        import psutil  # noqa: PLC0415 - on Linux the agent never needs it

        self._psutil = psutil
        self.problems: tuple[str, ...] = ()
        try:
            self._process = psutil.Process(identity.pid)
            started = self._process.create_time()
        except psutil.NoSuchProcess as error:
            raise TargetGone(f"process {identity.pid} has ended") from error
        if abs(started - identity.started_at) > 1:
            raise TargetGone(f"process {identity.pid} is another one by now")

    def read(self, now: float) -> Reading:  # noqa: ARG002 - part of the protocol
        psutil, process = self._psutil, self._process
        try:
            if not process.is_running():
                raise TargetGone(f"process {process.pid} has ended")
            with process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
                reading = Reading(
                    (cpu.user, cpu.system), memory.rss, memory.vms, process.num_threads()
                )
                switches = process.num_ctx_switches()
                reading.switches = (switches.voluntary, switches.involuntary)
                if hasattr(process, "num_fds"):
                    reading.descriptors = process.num_fds()
        except psutil.NoSuchProcess as error:
            raise TargetGone(f"process {process.pid} has ended") from error
        except psutil.AccessDenied as error:
            raise SourceError(
                f"process {process.pid} belongs to another user and cannot be read",
                "run the agent as that user",
            ) from error
        return reading

    def close(self) -> None:
        """Nothing is kept open."""


class ProcessSource:
    """One process, read once per ``sampling.interval``."""

    def __init__(self, identity: Identity, context: Context, reader: Reader) -> None:
        self.interval = context.config.sampling.interval
        self._identity = identity
        self._clock = context.clock
        self._reader = reader
        self._last: tuple[float, float] | None = None
        self._reading: Reading | None = None
        self._still: list[Item] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read at the last reading though the rest could; fit to be shown."""
        return self._reader.problems

    def read(self) -> Iterable[Item]:
        """Every series, or of a process that stood still those alone that the flight recorder
        keeps second by second: what they say is as new, and ten idle services cost a third."""
        now = self._clock.monotonic()
        reading = self._reader.read(now)
        if reading is not self._reading:
            self._reading = reading
            found: list[Item] = [*samples(reading), self._uptime()]
            self._still = [one for one in found if isinstance(one, Sample) and _each_second(one)]
        else:
            found = self._still.copy()
        busy = sum(reading.cpu)
        if self._last is not None and now > self._last[0]:
            share = (busy - self._last[1]) / (now - self._last[0])
            found.append(Sample(CPU_UTILIZATION, max(0.0, share)))
        self._last = (now, busy)
        return found

    def _uptime(self) -> Sample:
        return Sample(UPTIME, max(0.0, self._clock.time() - self._identity.started_at))

    def close(self) -> None:
        self._reader.close()


def _each_second(sample: Sample) -> bool:
    return sample.instrument in (CPU_TIME, MEMORY_USAGE, DESCRIPTORS)


def open_source(target: Target, context: Context) -> ProcessSource | None:
    if target.identity is None:
        return None
    reader = LinuxReader if sys.platform == "linux" else PortableReader
    return ProcessSource(target.identity, context, reader(target.identity))


SOURCE = SourceType(
    "process",
    (
        CPU_TIME,
        CPU_UTILIZATION,
        MEMORY_USAGE,
        MEMORY_VIRTUAL,
        THREADS,
        DESCRIPTORS,
        DESCRIPTOR_LIMIT,
        CONTEXT_SWITCHES,
        DISK_IO,
        PAGING_FAULTS,
        UPTIME,
        RUNQUEUE,
        CONTAINER_MEMORY_LIMIT,
        CONTAINER_CPU_LIMIT,
        CONTAINER_THROTTLED,
    ),
    open_source,
    patient=True,
)
