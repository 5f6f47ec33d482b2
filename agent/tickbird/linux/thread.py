"""One moment of one thread by /proc: what it has used so far, and what it sleeps in now."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import proc

_CALLS = {
    # name: (number on x86-64, number on arm64); of those that can take long
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "poll": (7, None),
    "mmap": (9, 222), "mprotect": (10, 226), "madvise": (28, 233), "munmap": (11, 215),
    "ioctl": (16, 29), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "select": (23, None), "msync": (26, 227),
    "nanosleep": (35, 101), "sendfile": (40, 71), "connect": (42, 203), "accept": (43, 202),
    "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "clone": (56, 220), "vfork": (58, None), "wait4": (61, 260), "semop": (65, 193),
    "fcntl": (72, 25), "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83),
    "truncate": (76, 45), "ftruncate": (77, 46), "rename": (82, None), "unlink": (87, None),
    "futex": (202, 98), "getdents64": (217, 61), "semtimedop": (220, 192),
    "clock_nanosleep": (230, 115), "epoll_wait": (232, None), "waitid": (247, 95),
    "openat": (257, 56), "newfstatat": (262, 79), "unlinkat": (263, 35), "pselect6": (270, 72),
    "ppoll": (271, 73), "epoll_pwait": (281, 22), "fallocate": (285, 47), "accept4": (288, 242),
    "preadv": (295, 69), "pwritev": (296, 70), "renameat2": (316, 276), "getrandom": (318, 278),
    "copy_file_range": (326, 285), "statx": (332, 291), "clone3": (435, 435),
    "epoll_pwait2": (441, 441),
}  # fmt: skip
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)
_NAMES = {numbers[_COLUMN]: name for name, numbers in _CALLS.items()} if _COLUMN is not None else {}
_OF_DESCRIPTOR = frozenset({
    "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "fsync",
    "fdatasync", "ftruncate", "fallocate", "flock", "fcntl", "ioctl", "sendto", "recvfrom",
    "sendmsg", "recvmsg", "connect", "accept", "accept4", "getdents64", "sendfile",
})  # fmt: skip
"""Calls whose first argument is a descriptor."""

FAULT = "page fault"
"""In place of a call: the thread sleeps and is in none, so it waits for a page of its memory."""


@dataclass(frozen=True, slots=True)
class Look:
    """``at`` is CLOCK_MONOTONIC nanoseconds; the rest is totals since the thread's start."""

    at: int
    ran: int
    """Nanoseconds on a CPU; of a thread that runs now it may lack the current tick (4 ms)."""
    waited: int
    """Nanoseconds ready to run and without a CPU; what still lasts is not in it."""
    user: float
    system: float
    """Seconds by the clock tick, so no finer than 10 ms."""
    state: str
    """R runs or is ready to, S and D sleep, T and t are stopped."""
    call: str | None = None
    """The system call, or kernel function, that it sleeps in; None where that is hidden."""
    path: str | None = None
    """What the call's descriptor is open on."""


def look(pid: int, thread: int) -> Look | None:
    """None when the thread has ended. Every user may see all of it of his own processes; where
    only debuggers may see system calls (Yama), the kernel function stands for it."""
    folder = f"/proc/{pid}/task/{thread}"
    try:
        state, user, system = parse_stat(proc.read_once(f"{folder}/stat", 1024))
        call, path = (None, None) if state == "R" else _sleeps_in(pid, folder)
        ran, waited = parse_schedstat(proc.read_once(f"{folder}/schedstat", 256))
    except (OSError, ValueError, proc.GoneError, proc.DeniedError):
        return None
    return Look(time.monotonic_ns(), ran, waited, user, system, state, call, path)


def parse_stat(data: bytes) -> tuple[str, float, float]:
    """State, and seconds of user and of system time, of a thread's ``stat``."""
    stat = proc.parse_stat(data)
    return stat.state, stat.user, stat.system


def parse_schedstat(data: bytes) -> tuple[int, int]:
    """Nanoseconds on a CPU, and nanoseconds ready and without one."""
    fields = data.split()
    return int(fields[0]), int(fields[1])


def parse_syscall(data: bytes) -> tuple[str, int] | None:
    """The call's name and its first argument; None for a thread that runs."""
    fields = data.split()
    if not fields or fields[0] == b"running":
        return None
    number = int(fields[0])
    if number < 0:
        return FAULT, 0
    return _NAMES.get(number, f"system call {number}"), int(fields[1], 16)


def _sleeps_in(pid: int, folder: str) -> tuple[str | None, str | None]:
    try:
        found = parse_syscall(proc.read_once(f"{folder}/syscall", 256))
    except (OSError, ValueError, proc.DeniedError):
        return _wchan(folder), None
    if found is None:
        return None, None
    name, argument = found
    return name, _path(pid, argument) if name in _OF_DESCRIPTOR else None


def _wchan(folder: str) -> str | None:
    try:
        place = proc.read_once(f"{folder}/wchan", 256).decode("ascii", "replace")
    except (OSError, proc.DeniedError):
        return None
    return place if place not in ("", "0") else None


def _path(pid: int, descriptor: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
    except OSError:
        return None
