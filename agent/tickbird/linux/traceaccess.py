"""How an agent comes to trace a thread: by itself, else by root's helper, else it says what this
host lacks."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from ..errors import SourceError, TargetGone
from . import perf, proc, tracepoints
from .refusal import HELPER, refusal

SOCKET = "helper.sock"
REQUEST = struct.Struct("<iQ")
"""To the helper: thread, and its start time (field 22 of its stat), so that neither a number that
was reused nor one of another pid namespace is taken for it."""
ANSWER = struct.Struct("<i")
"""From the helper: 0 with the descriptors of ``perf.open_events``, or the kernel's errno."""
MOST_DESCRIPTORS = 2 * len(tracepoints.CALLS)
PATIENCE = 2.0
"""Seconds that the helper may take."""


def open_trace(thread: int, folders: Iterable[Path], helper: Path) -> perf.EpollTrace:
    """The trace of one thread, with ids from one of ``folders`` or by the helper that listens in
    the folder ``helper``. Raises SourceError with what this host lacks and what to do; TargetGone
    when there is no such thread."""
    try:
        return by_itself(thread, folders)
    except TargetGone:
        raise
    except SourceError:
        trace = by_helper(thread, helper)
        if trace is None:
            raise
        return trace


def by_itself(thread: int, folders: Iterable[Path]) -> perf.EpollTrace:
    """Raises as ``open_trace`` does."""
    ids = tracepoints.tracepoint_ids(folders)
    try:
        return perf.EpollTrace(perf.open_events(thread, ids))
    except OSError as error:
        raise refusal(error, thread) from error


def by_helper(thread: int, folder: Path) -> perf.EpollTrace | None:
    """None where no helper of root listens in ``folder``. Raises as ``open_trace`` does."""
    fds = ask_helper(thread, folder / SOCKET)
    if fds is None:
        return None
    try:
        return perf.EpollTrace(fds)
    except OSError as error:
        raise refusal(error, thread) from error


def ask_helper(thread: int, path: Path) -> list[int] | None:
    """Descriptors from the helper; None where there is none, or where it is not root's. Raises
    SourceError with what it refused, TargetGone when there is no such thread."""
    try:
        ticks = start_ticks(proc.read_once(f"/proc/{thread}/stat", 1024))
    except (OSError, proc.GoneError, proc.DeniedError) as error:
        raise TargetGone(f"thread {thread} has ended") from error
    try:
        if not tracepoints.trusted(path.parent.lstat()):
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.settimeout(PATIENCE)
            asking.connect(str(path))
            if peer(asking)[1] not in (0, os.geteuid()):
                return None
            asking.send(REQUEST.pack(thread, ticks))
            said, fds, _, _ = socket.recv_fds(asking, ANSWER.size, MOST_DESCRIPTORS)
    except OSError:
        return None
    return _taken(thread, said, fds)


def _taken(thread: int, said: bytes, fds: list[int]) -> list[int]:
    code = ANSWER.unpack(said)[0] if len(said) == ANSWER.size else errno.EPROTO
    if code == 0 and fds:
        for fd in fds:
            os.set_inheritable(fd, False)
        return fds
    perf.close_all(fds)
    if code == errno.ESRCH:
        raise TargetGone(f"thread {thread} has ended")
    raise SourceError(*HELPER.get(code, (f"the trace helper failed: {os.strerror(code)}", None)))


def start_ticks(stat: bytes) -> int:
    """Field 22 of a thread's stat. Raises OSError for what is none."""
    try:
        return proc.parse_stat(stat).start_ticks
    except ValueError:
        raise OSError(errno.ESRCH, "no stat") from None


def peer(connected: socket.socket) -> tuple[int, int, int]:
    """Pid, uid and gid of who connected, or listens: SO_PEERCRED, given by the kernel."""
    said = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("iII", said)
    return pid, uid, gid
