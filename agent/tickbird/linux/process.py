"""One look at one process by files of /proc that stay open."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SourceError, TargetGone
from ..model import Identity
from . import cgroup, proc

SLOW_INTERVAL = 60.0
"""Seconds between two looks at what hardly ever changes: limits and the cgroup."""
QUIET_INTERVAL = 5.0
"""Seconds between two whole looks at a process that meanwhile used no CPU tick and no page."""

_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD, in the flags of /proc/PID/stat."""


def is_kernel_thread(pid: int) -> bool:
    """False where that cannot be told."""
    try:
        text = proc.read_once(f"/proc/{pid}/stat")
        return bool(int(text[text.rfind(b")") + 1 :].split()[6]) & _KERNEL_THREAD)
    except (OSError, proc.GoneError, proc.DeniedError, IndexError, ValueError):
        return False


@dataclass(slots=True)
class Reading:
    """One look at a process: seconds, bytes and counts since its start; None is not known.
    Pairs are (user, system), (minor, major), (read, write), (voluntary, involuntary)."""

    cpu: tuple[float, float]
    resident: int
    virtual: int
    threads: int | None
    faults: tuple[int, int] | None = None
    switches: tuple[int, int] | None = None
    descriptors: int | None = None
    descriptor_limit: int | None = None
    disk: tuple[int, int] | None = None
    runqueue: float | None = None
    memory_limit: int | None = None
    cpu_limit: float | None = None
    throttled: float | None = None


class LinuxReader:
    """Raises TargetGone when the process (pid, start time) is not there."""

    def __init__(self, identity: Identity) -> None:
        self.problems: tuple[str, ...] = ()
        self._identity = identity
        self._denied: set[str] = set()
        self._slow_due = self._whole_due = float("-inf")
        self._line = b""
        self._stat: proc.Stat | None = None
        self._reading: Reading | None = None
        self._descriptor_limit: int | None = None
        self._limits = cgroup.Limits()
        self._files: dict[str, proc.KeptFile] = {}
        try:
            for name in ("stat", "status", "io", "schedstat", "fd"):
                self._files[name] = proc.KeptFile(f"/proc/{identity.pid}/{name}")
            self._checked(self._files["stat"].read(1024))
        except (proc.GoneError, FileNotFoundError) as error:
            self.close()
            raise self._gone() from error
        except TargetGone:
            self.close()
            raise

    def read(self, now: float) -> Reading:
        """The same object as before when nothing moved: a process that used neither a CPU tick
        nor a page is looked at as a whole only every ``QUIET_INTERVAL``."""
        try:
            line = self._files["stat"].read(1024)
            if line != self._line or now >= self._whole_due:
                stat = self._checked(line)
                if stat != self._stat or now >= self._whole_due:
                    self._whole_due = now + QUIET_INTERVAL
                    self._reading = self._read(stat, now)
                self._line, self._stat = line, stat
            assert self._reading is not None
            return self._reading
        except proc.GoneError as error:
            raise self._gone() from error
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read /proc/{self._identity.pid}: {error}") from error

    def _read(self, stat: proc.Stat, now: float) -> Reading:
        if now >= self._slow_due:
            self._slow_due = now + SLOW_INTERVAL
            self._read_limits()
        status, io = self._shown("status"), self._shown("io")
        schedstat = self._shown("schedstat")
        resident = proc.parse_resident(status) if status else None
        reading = Reading(
            cpu=(stat.user, stat.system),
            resident=stat.resident if resident is None else resident,
            virtual=stat.virtual,
            threads=stat.threads,
            faults=(stat.minor_faults, stat.major_faults),
            switches=proc.parse_switches(status) if status else None,
            descriptors=self._descriptors(),
            descriptor_limit=self._descriptor_limit,
            disk=proc.parse_io(io) if io else None,
            runqueue=proc.parse_schedstat(schedstat) if schedstat else None,
            memory_limit=self._limits.memory,
            cpu_limit=self._limits.cpu,
            throttled=self._throttled(),
        )
        self.problems = self._problems(stat)
        return reading

    def _checked(self, line: bytes) -> proc.Stat:
        stat = proc.parse_stat(line)
        if stat.start_ticks != self._identity.start_ticks:
            raise self._gone()
        return stat

    def _shown(self, name: str) -> bytes | None:
        try:
            data = self._files[name].read()
        except proc.DeniedError:
            self._denied.add(name)
            return None
        self._denied.discard(name)
        return data

    def _descriptors(self) -> int | None:
        try:
            count = self._files["fd"].entries()
        except proc.DeniedError:
            self._denied.add("fd")
            return None
        self._denied.discard("fd")
        return count

    def _read_limits(self) -> None:
        try:
            data = proc.read_once(f"/proc/{self._identity.pid}/limits")
            self._descriptor_limit = proc.parse_descriptor_limit(data)
            self._denied.discard("limits")
        except proc.DeniedError:
            self._denied.add("limits")
        self._limits = cgroup.limits(self._identity.pid)

    def _throttled(self) -> float | None:
        if self._limits.throttled is None:
            return None
        try:
            return cgroup.parse_throttled(proc.read_once(str(self._limits.throttled)))
        except (
            proc.GoneError,
            proc.DeniedError,
        ):  # the process moved to another group since the last look
            return None

    def _problems(self, stat: proc.Stat) -> tuple[str, ...]:
        pid, found = self._identity.pid, []
        if stat.state == "Z":
            found.append(f"process {pid} has ended, but its parent has not collected it (zombie)")
        if self._denied:
            hidden = ", ".join(sorted(self._denied))
            found.append(
                f"process {pid} belongs to another user: {hidden} cannot be read; what to do: run "
                "the agent as that user, or give it CAP_SYS_PTRACE"
            )
        return tuple(found)

    def _gone(self) -> TargetGone:
        return TargetGone(f"process {self._identity.pid} has ended")

    def close(self) -> None:
        for file in self._files.values():
            file.close()
