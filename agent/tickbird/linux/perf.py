"""perf events on the epoll system calls of one thread, without a compiled part.

When a thread leaves epoll its loop begins a turn, when it enters again the turn ends: the time
between is the iteration. Only two tracepoints of one thread are read; nothing in it changes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
from collections.abc import Mapping
from pathlib import Path

from ..errors import SourceError, TargetGone
from .tracepoints import CALLS

EPOLL_NUMBERS = {"x86_64": (232, 281, 441), "aarch64": (22, 441)}
"""System call numbers of CALLS, to find the thread that waits in one."""

_OPEN_NUMBER = {"x86_64": 298, "aarch64": 241}
_PAGES = 64
_RECORD_LOST, _RECORD_SAMPLE = 2, 9
_SET_OUTPUT = 0x2405
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQQQIi")
_ATTRIBUTES_SIZE = 112
_RECORD = struct.Struct("<I2xHQQ")
"""Kind, size, event id, time: samples are of this shape, and records of loss as large."""

_SAMPLE_ID_AND_TIME = 1 << 16 | 1 << 2
_READ_ID = 1 << 2
# exclude_kernel is what lets an ordinary user open it; the tracepoint is still seen
_FLAGS = 1 << 5 | 1 << 14 | 1 << 25  # exclude_kernel, watermark, use_clockid
_CLOEXEC = 8
_libc = ctypes.CDLL(None, use_errno=True)


Event = tuple[bool | None, int]
"""True when the thread left epoll, False when it entered, None where records were lost (the time
then means nothing); and the time, CLOCK_MONOTONIC nanoseconds. A plain tuple: a busy loop makes
ten thousand of them a second."""


def parse_records(data: bytes, leaving: Mapping[int, bool]) -> list[Event]:
    """Events in a stretch of ring; ``leaving`` maps event ids to True for exits of epoll. A
    record that is cut off or of size zero ends it."""
    found: list[Event] = []
    at = 0
    whole = len(data) - len(data) % _RECORD.size
    for kind, size, identity, time in _RECORD.iter_unpack(data[:whole]):
        if size != _RECORD.size:  # rare; what follows is not aligned to this size any more
            return found + _after_other(data[at:], leaving)
        at += size
        if kind == _RECORD_SAMPLE and identity in leaving:
            found.append((leaving[identity], time))
        elif kind == _RECORD_LOST:
            found.append((None, 0))
    return found


def _after_other(data: bytes, leaving: Mapping[int, bool]) -> list[Event]:
    """The events behind a first record of another kind and size."""
    size = _RECORD.unpack_from(data)[1]
    return parse_records(data[size:], leaving) if size >= 8 else []


class EpollTrace:
    """Epoll events of one thread in one ring, in order; times are CLOCK_MONOTONIC."""

    def __init__(self, thread: int, ids: Mapping[str, int]) -> None:
        """Raises SourceError with what this host lacks; TargetGone when there is no such thread."""
        self._fds: list[int] = []
        self._leaving: dict[int, bool] = {}
        self._map: mmap.mmap | None = None
        try:
            for call in CALLS:
                enter, leave = ids.get(f"sys_enter_{call}"), ids.get(f"sys_exit_{call}")
                if enter is not None and leave is not None:
                    self._add(thread, leave, True)
                    self._add(thread, enter, False)
        except OSError as error:
            self.close()
            raise refusal(error, thread) from error
        self._poll = select.poll()
        self._poll.register(self._fds[0], 0)

    def _add(self, thread: int, tracepoint: int, leaving: bool) -> None:
        fd = _open_event(thread, tracepoint)
        self._fds.append(fd)
        identity: int = struct.unpack("<QQ", os.read(fd, 16))[1]
        self._leaving[identity] = leaving
        if self._map is None:
            self._map = mmap.mmap(fd, (_PAGES + 1) * mmap.PAGESIZE)
        else:
            fcntl.ioctl(fd, _SET_OUTPUT, self._fds[0])

    def read(self) -> list[Event]:
        """What happened since the last call."""
        ring = self._map
        if ring is None:
            return []
        head, tail = struct.unpack_from("<QQ", ring, 1024)  # data_head and data_tail
        if head == tail:
            return []
        size, first = _PAGES * mmap.PAGESIZE, mmap.PAGESIZE
        begin, end = tail % size, head % size
        if begin < end:
            data = ring[first + begin : first + end]
        else:
            data = ring[first + begin :] + ring[first : first + end]
        struct.pack_into("<Q", ring, 1032, head)
        return parse_records(data, self._leaving)

    def ended(self) -> bool:
        """Whether the thread does not exist any more."""
        return any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _open_event(thread: int, tracepoint: int) -> int:
    number = _OPEN_NUMBER.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "unknown machine")
    attributes = _ATTRIBUTES.pack(
        2,  # PERF_TYPE_TRACEPOINT
        _ATTRIBUTES_SIZE,
        tracepoint,
        1,  # every event
        _SAMPLE_ID_AND_TIME,
        _READ_ID,
        _FLAGS,
        _PAGES * mmap.PAGESIZE // 2,
        *(0, 0, 0, 0, 0, 0),
        1,  # clockid: CLOCK_MONOTONIC
    ).ljust(_ATTRIBUTES_SIZE, b"\0")
    fd: int = _libc.syscall(number, attributes, thread, -1, -1, _CLOEXEC)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def refusal(error: OSError, thread: int) -> SourceError:
    """What a refused perf event means on this host, and what to do about it."""
    code = error.errno
    if code == errno.ESRCH:
        return TargetGone(f"thread {thread} has ended")
    if code in (errno.EPERM, errno.EACCES):
        return _not_allowed(code, thread)
    if code in (errno.EMFILE, errno.ENFILE):
        return SourceError(
            "no file descriptor is left for the loop tracer", "raise the agent's 'ulimit -n'"
        )
    if code in (errno.EINVAL, errno.ENOENT):
        return SourceError(
            "this kernel does not know the given epoll tracepoints",
            "ids differ per kernel: have them read again by sudo tickbird setup trace",
        )
    return SourceError(f"this host has no perf events for loop tracing: {error.strerror}")


def _not_allowed(code: int, thread: int) -> SourceError:
    if code == errno.EPERM and _under_seccomp():
        return SourceError(
            "the container's seccomp profile forbids perf_event_open, which exact loop lag needs",
            "allow that one call in it (docs/loop-tracing.md), or add the capability SYS_ADMIN",
        )
    level = _paranoid()
    if level is not None and level > 2:
        return SourceError(
            f"kernel.perf_event_paranoid is {level}: users may not open perf events",
            "set it to 2 (sysctl kernel.perf_event_paranoid=2), or give the agent CAP_PERFMON",
        )
    if code == errno.EPERM:
        return SourceError(
            "the kernel grants this user no more memory for perf events",
            "raise kernel.perf_event_mlock_kb or the agent's 'ulimit -l'",
        )
    if _owner(thread) in (None, os.geteuid()):
        return SourceError(
            "the kernel protects this process from being traced: it holds capabilities or was "
            "started by a set-uid program, or a security module forbids it",
            "give the agent CAP_PERFMON (or CAP_SYS_PTRACE), or run it as root",
        )
    return SourceError(
        "exact loop lag needs the right to trace this process, which belongs to another user",
        "run the agent as that process's user, or give it CAP_PERFMON (or CAP_SYS_PTRACE)",
    )


def _owner(thread: int) -> int | None:
    """Its effective user, who need not own its folder in /proc."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
        return int(status.partition("\nUid:")[2].split(None, 2)[1])
    except (OSError, ValueError, IndexError):
        return None


def _under_seccomp() -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    return "\nSeccomp:\t2" in status


def _paranoid() -> int | None:
    try:
        return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return None
