"""Finds the ids of the epoll tracepoints without any privilege, where nobody can read them to this
user: by trying which of them count the calls that this thread makes.

Each try registers a tracepoint, which costs the kernel some 40 ms, so this is done only when asked
for. The ids of all epoll calls are neighbours (they follow the order of fs/eventpoll.c), so every
eighth is tried until one counts, then those around it: seconds, where each alone took a minute.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence

from ..errors import SourceError
from . import perf, tracepoints
from .refusal import refusal

CANDIDATES = range(64, 8192)
STRIDE = 8
"""Ids of the fewest epoll calls that a machine has: four on arm64, two each."""
_AROUND = 12
_TIMES = {
    # call: (number on x86-64, on arm64, how often it is made, so that a count tells its name)
    "epoll_create": (213, None, 5),
    "epoll_create1": (291, 20, 7),
    "epoll_ctl": (233, 21, 11),
    "epoll_wait": (232, None, 13),
    "epoll_pwait": (281, 22, 17),
    "epoll_pwait2": (441, 441, 19),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_libc = ctypes.CDLL(None, use_errno=True)


def search(candidates: range = CANDIDATES) -> dict[str, int]:
    """Ids by name. Raises SourceError when this user may not open perf events at all, or when no
    tracepoint counts."""
    found: dict[int, str] = {}
    for candidate in candidates[::STRIDE]:
        if _name(candidate) is not None:
            near = range(candidate - _AROUND, candidate + _AROUND + 1)
            found = {one: name for one in near if (name := _name(one)) is not None}
            break
    ids = _sorted(found)
    if not tracepoints.usable(ids):
        raise SourceError(
            "no tracepoint of this kernel counts the calls of epoll",
            "it needs CONFIG_FTRACE_SYSCALLS; without it use tickbird exec, which measures inside "
            "the process",
        )
    return ids


def _name(candidate: int) -> str | None:
    """The epoll call that the tracepoint counts; None for any other, and where there is none."""
    try:
        fd = perf.open_event(0, candidate)
    except PermissionError as error:
        raise refusal(error, os.getpid()) from error
    except OSError:
        return None
    try:
        before = _count(fd)
        column = _COLUMN[os.uname().machine]
        for numbers in _TIMES.values():
            for _ in range(numbers[2]):
                if (number := numbers[column]) is not None:
                    _libc.syscall(number, -1, 0, 0, 0, 0, 0)  # fails at once, and is counted
        counted = _count(fd) - before
    finally:
        os.close(fd)
    return next((name for name, (_, _, times) in _TIMES.items() if times == counted), None)


def _count(fd: int) -> int:
    return int.from_bytes(os.read(fd, 8), "little")


def _sorted(found: Mapping[int, str]) -> dict[str, int]:
    """Of the two ids of a call the one that comes first in a wait is its entry."""
    ids: dict[str, int] = {}
    for call in tracepoints.CALLS:
        both = [one for one, name in found.items() if name == call]
        if len(both) == 2:
            enter, leave = both if _enters_first(both, call) else both[::-1]
            ids |= {f"sys_enter_{call}": enter, f"sys_exit_{call}": leave}
    return ids


def _enters_first(both: Sequence[int], call: str) -> bool:
    trace = perf.EpollTrace([perf.open_event(0, one) for one in both])
    try:
        number = _TIMES[call][_COLUMN[os.uname().machine]]
        _libc.syscall(number, -1, 0, 0, 0, 0, 0)
        ((first, _), *_) = trace.read().before
    finally:
        trace.close()
    return first is True  # of its first event, which a trace takes for that of leaving
