"""File descriptors close to their limit: the next connection would be refused."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook


def judge(subject: Subject, limits: Limits) -> Finding | None:
    used, limit = subject.view.last.get("fds"), subject.view.last.get("fd_limit")
    if used is None or limit is None or limit < 1:
        return None
    ratio = used / limit
    title = f"{subject.name}: {used:,.0f} of {limit:,.0f} file descriptors are open"
    if ratio < limits.fds_warn:
        return Finding("fds", Status.OK, title, subject.name)
    return Finding(
        "fds",
        Status.FAIL if ratio >= limits.fds_fail else Status.WARN,
        f"{title} ({words.share(ratio)})",
        subject.name,
        {"open": int(used), "limit": int(limit), "ratio": ratio},
        "See what is open (ls -l /proc/PID/fd): sockets never closed are a leak; if they are all "
        "in use, raise the limit (ulimit -n, LimitNOFILE=).",
        runbook("FileDescriptors"),
    )


CHECK = Check("fds", judge)
