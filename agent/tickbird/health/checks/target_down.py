"""A watched process that ended, or that keeps starting again."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook

CRASH_LOOP = 3
"""Restarts within the window from which they look like a crash loop, not like a deployment."""


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    view = subject.view
    if view.target.identity is None:
        return None
    evidence = {
        "pid": view.target.pid,
        "ended_at": view.ended_at,
        "restarts": len(view.restarts),
        "last_error": view.errors[-1].body if view.errors else None,
    }
    if view.ended_at is not None:
        ago = words.seconds(max(0.0, view.now - view.ended_at))
        title = f"{subject.name}: pid {view.target.pid} ended {ago} ago and has not come back"
        # What was only found because it ran may have been ended by those who started it.
        status = Status.WARN if subject.automatic else Status.FAIL
    elif len(view.restarts) >= CRASH_LOOP:
        title = f"{subject.name}: restarted {words.count(len(view.restarts), 'time')}"
        status = Status.WARN
    else:
        title = f"{subject.name}: pid {view.target.pid} is running"
        return Finding("target_down", Status.OK, title, subject.name)
    return Finding(
        "target_down",
        status,
        title,
        subject.name,
        evidence,
        "Read its last log lines, and ask what supervises it (systemd, the container engine) how "
        "it ended.",
        runbook("TargetDown"),
    )


CHECK = Check("target_down", judge)
