"""Users and sandboxes that may not open perf events, as the kernel has them."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NUMBER = {"x86_64": 298, "aarch64": 241}
_libc = ctypes.CDLL(None, use_errno=True)

_BEFORE = """
import os, sys
sys.path.insert(0, {folder!r})
import tracing
tracing.{call}
os.execvp(sys.argv[1], sys.argv[1:])
"""
_HERE = str(Path(__file__).parent)
FORBIDDING = _BEFORE.format(folder=_HERE, call="forbid_perf_events()")
"""A program that runs its arguments as a command that may not open perf events."""


def living_by(profile: Path) -> str:
    """A program that runs its arguments as a command under a seccomp profile."""
    return _BEFORE.format(folder=str(profile.parent), call=f"apply_profile({str(profile)!r})")


def forbid_perf_events(code: int = errno.EPERM) -> None:
    """From now on perf_event_open fails with ``code`` here and in all that is started: as under a
    container's seccomp profile (EPERM), or on Debian's level 3 (EACCES)."""
    number = _NUMBER[platform.machine()]
    program = b"".join(
        struct.pack("<HBBI", *one)
        for one in (
            (0x20, 0, 0, 0),  # load the number of the system call
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x00050000 | code),  # SECCOMP_RET_ERRNO
            (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filtered = ctypes.create_string_buffer(struct.pack("@HP", 4, ctypes.addressof(buffer)))
    for call in ((38, 1, 0), (22, 2, ctypes.addressof(filtered))):  # NO_NEW_PRIVS, SECCOMP
        if _libc.prctl(call[0], ctypes.c_ulong(call[1]), ctypes.c_ulong(call[2]), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def become(uid: int, gid: int | None = None) -> None:
    """Give up root for a user that has nothing else."""
    os.setgroups([])
    os.setresgid(*[uid if gid is None else gid] * 3)
    os.setresuid(*[uid] * 3)
    _libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after exec: else it is protected from its user


def as_user(uid: int, work: Callable[[], Any], forbid: int | None = None) -> Any:
    """What ``work`` returns (plain data) when a child of that user does it; its OSErrors too.
    ``forbid``: perf events are forbidden to it, with this errno."""

    def do() -> Any:
        become(uid)
        if forbid is not None:
            forbid_perf_events(forbid)
        return work()

    from tickbird.linux import tracesetup  # noqa: PLC0415 - a command that this starts may lack it

    return tracesetup.in_child(do)


def apply_profile(path: str) -> None:
    """Live by a container engine's seccomp profile from now on, as libseccomp understands it.
    OSError where the library is missing."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    profile = json.loads(Path(path).read_text())
    context = ctypes.c_void_p(seccomp.seccomp_init(0x00050000 | profile["defaultErrnoRet"]))
    for group in profile["syscalls"]:
        assert group["action"] == "SCMP_ACT_ALLOW"
        for name in group["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:  # else this machine has no such call
                seccomp.seccomp_rule_add_array(context, 0x7FFF0000, number, 0, None)
    code = seccomp.seccomp_load(context)
    if code != 0:
        raise OSError(-code, "seccomp_load")
