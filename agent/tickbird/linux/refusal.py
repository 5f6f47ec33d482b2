"""What a refused perf event means on this host, in words, with what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import SourceError, TargetGone
from .perf import LockedMemoryError

CAP_PERFMON, CAP_SYS_ADMIN = 38, 21
_HELPER_OR = (
    "as root, once: tickbird setup trace --helper (docs/loop-tracing.md), or give the agent "
    "CAP_PERFMON"
)
HELPER = {
    errno.EACCES: (
        "the trace helper opens only processes of the user who asks, and this one is another's, "
        "holds capabilities, or was started by a set-uid program",
        "run the agent as that process's user, or give it CAP_PERFMON",
    ),
    errno.EPERM: (
        "the trace helper serves ordinary users only, not root without its privileges",
        "run the agent as the service's user, or give it CAP_PERFMON",
    ),
    errno.ENXIO: (
        "the trace helper sees another process under this number: the agent lives in another pid "
        "namespace",
        "run the agent in the host's pid namespace, or give it CAP_PERFMON",
    ),
    errno.EAGAIN: (
        "the trace helper has no descriptor left",
        "raise LimitNOFILE of its service",
    ),
}
"""By the errno that the helper answers: message and remedy."""


_NO_DESCRIPTOR = (
    "no file descriptor is left for the loop tracer",
    "raise the agent's 'ulimit -n' (LimitNOFILE): six for each loop",
)
_WRONG_IDS = (
    "this kernel does not know the given epoll tracepoints",
    "ids differ per kernel: have them read again by sudo tickbird setup trace",
)
_PLAIN = {
    errno.EMFILE: _NO_DESCRIPTOR,
    errno.ENFILE: _NO_DESCRIPTOR,
    errno.EINVAL: _WRONG_IDS,
    errno.ENOENT: _WRONG_IDS,
    errno.ENOSYS: (
        "loop tracing needs perf events, which this kernel lacks (CONFIG_PERF_EVENTS), a sandbox "
        f"hides, or this project does not know on {os.uname().machine}",
        "start the service by tickbird exec, which measures inside it",
    ),
}


def refusal(error: OSError, thread: int) -> SourceError:
    """What ``error``, of opening perf events on ``thread`` or mapping their ring, means."""
    code = error.errno
    if isinstance(error, LockedMemoryError):
        return SourceError(
            "the kernel grants this user no more memory for perf events",
            "raise kernel.perf_event_mlock_kb, or the agent's 'ulimit -l' (LimitMEMLOCK)",
        )
    if code == errno.ESRCH:
        return TargetGone(f"thread {thread} has ended")
    if code in (errno.EPERM, errno.EACCES):
        return _not_allowed(code, thread)
    if code in _PLAIN:
        return SourceError(*_PLAIN[code])
    return SourceError(f"this host has no perf events for loop tracing: {error.strerror}")


def _not_allowed(code: int, thread: int) -> SourceError:
    if code == errno.EPERM and under_seccomp():
        return SourceError(
            "a seccomp profile, as containers have one, forbids perf_event_open, which exact loop "
            "lag needs",
            "start the agent's container with --security-opt seccomp=FILE, FILE being what "
            "tickbird setup seccomp prints; or mount the folder of a trace helper into it",
        )
    if owner(thread) not in (None, os.geteuid()):
        return SourceError(
            "exact loop lag needs the right to trace this process, which belongs to another user",
            "run the agent as that process's user, or give it CAP_PERFMON (or CAP_SYS_PTRACE)",
        )
    level = paranoid()
    if level is not None and level > 2 and not capable(CAP_PERFMON, CAP_SYS_ADMIN):
        return SourceError(
            f"kernel.perf_event_paranoid is {level}: this host lets no user open perf events",
            f"{_HELPER_OR}; or set it to 2 (sysctl kernel.perf_event_paranoid=2)",
        )
    return SourceError(
        "the kernel protects this process from being traced: it holds capabilities or was "
        "started by a set-uid program, or a security module (SELinux, AppArmor, lockdown) "
        "forbids it",
        "give the agent CAP_PERFMON (or CAP_SYS_PTRACE), or run it as root",
    )


def owner(thread: int) -> int | None:
    """Its effective user, who need not own its folder in /proc."""
    try:
        return int(_status(thread, "Uid").split()[1])
    except (OSError, ValueError, IndexError):
        return None


def under_seccomp() -> bool:
    """Whether a filter decides which system calls this process may make."""
    try:
        return _status("self", "Seccomp") == "2"
    except OSError:
        return False


def capable(*capabilities: int) -> bool:
    """Whether this process has one of ``capabilities`` in effect."""
    try:
        held = int(_status("self", "CapEff") or "0", 16)
    except (OSError, ValueError):
        return False
    return any(held >> one & 1 for one in capabilities)


def paranoid() -> int | None:
    """``kernel.perf_event_paranoid``; None where it cannot be read."""
    try:
        return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return None


def _status(process: int | str, name: str) -> str:
    text = Path(f"/proc/{process}/status").read_text()
    return text.partition(f"\n{name}:")[2].partition("\n")[0].strip()
