"""An event loop that nothing measures: no finding about it would mean nothing."""

from __future__ import annotations

from ...model import Finding, Status
from ..subject import LOOP_RUNTIMES, Limits, Subject
from . import Check, runbook

PATIENCE = 3.0
"""Seconds that a new process may take until its first window."""


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    view = subject.view
    identity = view.target.identity
    if subject.runtime not in LOOP_RUNTIMES or identity is None or subject.has_workers:
        return None
    if view.ended_at is not None or view.now - identity.started_at < PATIENCE:
        return None
    if subject.loop is not None and (subject.loop.iterations or subject.stalls):
        exact = "" if subject.loop.method != "estimated" else ", as an estimate from outside"
        title = f"{subject.name}: the loop is measured by {subject.loop.method}{exact}"
        return Finding("loop_unmeasured", Status.OK, title, subject.name)
    reason = subject.loop_reason or "no probe reports from it, and this host gives no trace of it"
    return Finding(
        "loop_unmeasured",
        Status.UNKNOWN,
        f"{subject.name}: its event loop is not measured: {reason}",
        subject.name,
        {"runtime": subject.runtime, "method": view.method, "reason": reason},
        "Start the service by tickbird exec -- COMMAND: it brings its own probe and needs no "
        "privilege.",
        runbook("LoopUnmeasured"),
    )


CHECK = Check("loop_unmeasured", judge)
