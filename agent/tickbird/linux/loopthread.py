"""Which thread of a process runs its event loop, as /proc shows it to every user."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from .thread import look


class Place(Enum):
    """Where a thread is now."""

    EPOLL = "epoll"
    LOCK = "lock"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


def place(pid: int, thread: int) -> Place:
    found = look(pid, thread)
    if found is None or (found.call is None and found.state != "R"):
        return Place.UNKNOWN
    call = found.call or ""
    if call.startswith("epoll_") or "ep_poll" in call or "epoll_wait" in call:
        return Place.EPOLL
    return Place.LOCK if "futex" in call else Place.ELSEWHERE


def loop_thread(pid: int, runtime: str, silent: int | None = None) -> int:
    """The thread that runs the loop. Node's is the main one; Python's too, unless that waits for a
    lock while another waits in epoll. ``silent``: a thread that turned out to run none.

    Libraries have threads in epoll too (gRPC's), so that the main thread is left only for cause.
    """
    if runtime == "node" or (silent is None and place(pid, pid) is not Place.LOCK):
        return pid
    waiting = [one for one in _in_epoll(pid) if one != silent]
    return pid if pid in waiting or not waiting else waiting[0]


def in_callback(pid: int, thread: int, runtime: str) -> bool | None:
    """Whether the loop of ``thread`` is in a callback now (True) or waits in epoll (False). None
    where it cannot be told, as for a Python thread beside others that might be the loop's."""
    now = place(pid, thread)
    if now is Place.EPOLL:
        return False
    if runtime == "node":
        return None if now is Place.UNKNOWN else True
    return True if now is Place.ELSEWHERE and not _in_epoll(pid) else None


def _in_epoll(pid: int) -> list[int]:
    try:
        threads = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [thread for thread in threads if place(pid, thread) is Place.EPOLL]
