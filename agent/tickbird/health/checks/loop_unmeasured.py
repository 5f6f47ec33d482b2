"""An event loop that nothing measures: no finding about it would mean nothing."""

from __future__ import annotations

from ...model import Finding, Status
from ..subject import LOOP_RUNTIMES, Limits, Subject
from . import Check, runbook

PATIENCE = 3.0
"""Seconds that a new process, or an agent that is new to it, may take until the first window."""
_START_ANEW = (
    "Start the service by tickbird exec -- COMMAND: it brings its own probe and needs no privilege."
)
_PROBE_LOST = (
    "It was started with a probe, which does not report: see that the command hands on its "
    "environment (NODE_OPTIONS, PYTHONPATH, TICKBIRD_PROBE)."
)


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    view = subject.view
    identity = view.target.identity
    if subject.runtime not in LOOP_RUNTIMES or identity is None or subject.has_workers:
        return None
    young = view.now - max(identity.started_at, view.watched_since) < PATIENCE
    if view.ended_at is not None or young:
        return None
    if subject.loop is not None and (subject.loop.utilization is not None or subject.stalls):
        exact = "" if subject.loop.method != "estimated" else ", as an estimate from outside"
        title = f"{subject.name}: the loop is measured by {subject.loop.method}{exact}"
        return Finding("loop_unmeasured", Status.OK, title, subject.name)
    reason = (
        subject.problems.get("looptrace")
        or "no probe reports from it, and this host gives no trace of it"
    )
    return Finding(
        "loop_unmeasured",
        Status.UNKNOWN,
        f"{subject.name}: its event loop is not measured: {reason}",
        subject.name,
        {"runtime": subject.runtime, "method": view.method, "reason": reason},
        _PROBE_LOST if subject.launched else _START_ANEW,
        runbook("LoopUnmeasured"),
    )


CHECK = Check("loop_unmeasured", judge)
