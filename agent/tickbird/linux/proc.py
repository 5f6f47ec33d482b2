"""/proc/PID: files kept open and read again, and the pure functions that parse them.

A kept file cannot be fooled by a reused pid: once its process has ended it answers ESRCH.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_GONE = (errno.ESRCH, errno.ENOENT)
_DENIED = (errno.EACCES, errno.EPERM)


class Stat(NamedTuple):
    """/proc/PID/stat of the whole process: bytes, seconds, counts since its start."""

    state: str
    minor_faults: int
    major_faults: int
    user: float
    system: float
    threads: int
    start_ticks: int
    virtual: int
    resident: int


class GoneError(Exception):
    """The process does not exist any more."""


class DeniedError(Exception):
    """The kernel does not show this file of another user's process."""


def parse_stat(data: bytes) -> Stat:
    """Raises ValueError for anything but a line of /proc/PID/stat."""
    # the command may hold spaces and parentheses, so the fields are counted from the last one
    end = data.rindex(b")")
    fields = data[end + 2 :].split()
    if len(fields) < 22:
        raise ValueError("/proc/PID/stat is too short")
    return Stat(
        state=fields[0].decode("ascii", "replace"),
        minor_faults=int(fields[7]),
        major_faults=int(fields[9]),
        user=int(fields[11]) / TICKS,
        system=int(fields[12]) / TICKS,
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        virtual=int(fields[20]),
        resident=int(fields[21]) * PAGE,
    )


def parse_resident(status: bytes) -> int | None:
    """Resident bytes in /proc/PID/status, which recent kernels count exactly; the number in
    ``stat`` may be off by 64 pages per CPU. None for a zombie, which has no memory."""
    at = status.find(b"\nVmRSS:")
    return int(status[at + 7 : at + 40].split()[0]) * 1024 if at >= 0 else None


def parse_switches(status: bytes) -> tuple[int, int] | None:
    """Voluntary and involuntary context switches in /proc/PID/status: the main thread's."""
    at = status.rfind(b"\nvoluntary_ctxt_switches:")
    if at < 0:
        return None
    fields = status[at:].split()
    return int(fields[1]), int(fields[3])


def parse_io(data: bytes) -> tuple[int, int]:
    """Bytes that /proc/PID/io says were read from and written to storage."""
    values = dict(line.split(b": ") for line in data.splitlines() if b": " in line)
    return int(values[b"read_bytes"]), int(values[b"write_bytes"])


def parse_schedstat(data: bytes) -> float:
    """Seconds that the main thread was ready to run and waited for a CPU."""
    return int(data.split()[1]) / 1e9


def parse_descriptor_limit(limits: bytes) -> int | None:
    """Soft limit of open files in /proc/PID/limits; None for unlimited or not there."""
    for line in limits.splitlines():
        if line.startswith(b"Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else None
    return None


class KeptFile:
    """One file of /proc that stays open between reads; opened for each read instead when the
    agent has no descriptor to spare."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None
        try:
            self._fd = _open(path)
        except OSError as error:
            # denied now may be allowed later (a target that drops privileges), so reads try again
            if error.errno not in (*_DENIED, errno.EMFILE, errno.ENFILE):
                raise _translated(error, path) from error

    def read(self, size: int = 4096) -> bytes:
        """Raises GoneError or DeniedError."""
        try:
            if self._fd is not None:
                return os.pread(self._fd, size, 0)
            fd = _open(self._path)
            try:
                return os.pread(fd, size, 0)
            finally:
                os.close(fd)
        except OSError as error:
            raise _translated(error, self._path) from error

    def entries(self) -> int:
        """How many entries the folder at this path has."""
        try:
            # since Linux 6.2 the size of /proc/PID/fd is its number of entries
            found = Path(self._path).stat() if self._fd is None else os.fstat(self._fd)
            return found.st_size or sum(1 for _ in os.scandir(self._path))
        except OSError as error:
            raise _translated(error, self._path) from error

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)


def read_once(path: str, size: int = 8192) -> bytes:
    """What ``path`` holds, at most ``size`` bytes. Raises GoneError or DeniedError."""
    try:
        fd = _open(path)
        try:
            return os.read(fd, size)
        finally:
            os.close(fd)
    except OSError as error:
        raise _translated(error, path) from error


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _translated(error: OSError, path: str) -> Exception:
    if error.errno in _GONE:
        return GoneError(path)
    if error.errno in _DENIED:
        return DeniedError(path)
    return error
