"""Root's helper, for hosts whose users may not open perf events at all: it opens the epoll events
of a thread for the user who asks and hands over the descriptors, if that user owns the process.

It is small on purpose, reads no configuration, writes nothing, and takes one fixed message. Who
asks is known from the kernel (SO_PEERCRED); whether that user may look into the process is asked
of the kernel, as that user; and that it is one and the same process throughout follows from the
order: its folder in /proc is opened first, and read again through that descriptor at the end,
which fails once the process has ended, whoever has its number then.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import CannotCreate
from . import perf
from .traceaccess import ANSWER, REQUEST, SOCKET, peer, start_ticks

_WAIT = 0.5
"""Seconds that a client may take to say what it wants; the next one waits meanwhile."""
_IDLE = 60.0
"""Seconds without a client after which a helper that systemd started ends; it starts it again."""
_PASSED = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""


def serve(folder: Path, ids: Mapping[str, int]) -> None:
    """Answer until SIGTERM or SIGINT, on the socket that systemd passed or on one of our own in
    ``folder``, which only root may write to. Raises CannotCreate for what is in the way."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    os.setgroups([])
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        _answer_all(socket.socket(fileno=_PASSED), ids, _IDLE)
        return
    path = folder / SOCKET
    listening = _listen(path)
    try:
        _answer_all(listening, ids, None)
    finally:
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            if other.connect_ex(str(path)) == 0:
                raise CannotCreate(f"a helper listens on {path} already", "one is enough")
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(0o666)  # whoever may ask; what they may have is decided below
        listening.listen(64)
    except OSError as error:
        raise CannotCreate(f"cannot listen on {path}: {error.strerror}") from error
    return listening


def _answer_all(listening: socket.socket, ids: Mapping[str, int], idle: float | None) -> None:
    listening.settimeout(idle)
    while True:
        try:
            asking, _ = listening.accept()
        except TimeoutError:
            return
        except OSError:  # the client left, or there is no descriptor for it
            time.sleep(0.05)
            continue
        with asking:
            asking.settimeout(_WAIT)
            try:
                answer(asking, ids)
            except OSError:
                continue


def answer(asking: socket.socket, ids: Mapping[str, int]) -> None:
    """One question and its answer. Raises OSError for a client that went away or is silent."""
    _, uid, gid = peer(asking)
    request = asking.recv(REQUEST.size + 1)
    if len(request) != REQUEST.size:
        return
    thread, ticks = REQUEST.unpack(request)
    fds: list[int] = []
    try:
        fds = opened_for(uid, gid, thread, ticks, ids)
        code = 0
    except OSError as error:
        code = errno.EAGAIN if error.errno == errno.EMFILE else error.errno or errno.EIO
    try:
        socket.send_fds(asking, [ANSWER.pack(code)], fds)
    finally:
        perf.close_all(fds)


def opened_for(uid: int, gid: int, thread: int, ticks: int, ids: Mapping[str, int]) -> list[int]:
    """Descriptors as of ``perf.open_events``. Raises OSError: EPERM for root, who needs no helper
    and might have it lend what a container took from it; ESRCH when there is no such thread, ENXIO
    when it is not the one that began at ``ticks``, EACCES when it is not this user's."""
    if uid == 0:
        raise OSError(errno.EPERM, "root")
    if thread <= 0:
        raise OSError(errno.ESRCH, "no thread")
    folder = _open_folder(thread)
    try:
        fds = perf.open_events(thread, ids)
        try:
            _check(folder, uid, gid, ticks)
        except BaseException:
            perf.close_all(fds)
            raise
        return fds
    finally:
        os.close(folder)


def _open_folder(thread: int) -> int:
    try:
        return os.open(f"/proc/{thread}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(errno.ESRCH, "no such thread") from None


def _check(folder: int, uid: int, gid: int, ticks: int) -> None:
    if ticks != start_ticks(_read(folder, "stat")):
        raise OSError(errno.ENXIO, "another thread")
    # auxv is shown to who may trace the process (PTRACE_MODE_READ), which is what perf asks too:
    # all its user and group ids, its capabilities, and whether it was set-uid.
    os.setegid(gid)
    os.seteuid(uid)
    try:
        _read(folder, "auxv")
    except PermissionError:
        raise OSError(errno.EACCES, "another user's") from None
    finally:
        os.seteuid(0)
        os.setegid(0)


def _read(folder: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(fd, 1024)
    except ProcessLookupError:
        raise OSError(errno.ESRCH, "it has ended") from None
    finally:
        os.close(fd)
