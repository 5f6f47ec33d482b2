"""A service that uses up the one core that its loop can have."""

from __future__ import annotations

from statistics import median

from ...model import Finding, Status
from .. import words
from ..subject import LOOP_RUNTIMES, Limits, Subject
from . import Check, runbook

LOOK_BACK = 60
LEAST = 10
"""Seconds of data judged at most and at least."""


def judge(subject: Subject, limits: Limits) -> Finding | None:
    recent = [w.cpu for w in subject.view.windows if w.cpu is not None][-LOOK_BACK:]
    if len(recent) < LEAST:
        return None
    used = median(recent)
    high = used >= limits.cpu
    loop = subject.runtime in LOOP_RUNTIMES
    ceiling = " An event loop can use one core." if loop else ""
    return Finding(
        "cpu_high",
        Status.WARN if high else Status.OK,
        f"{subject.name}: uses {words.share(used)} of a core",
        subject.name,
        {"utilization": used, "seconds": len(recent)},
        f"Profile it to see where the time goes; then add workers or instances.{ceiling}"
        if high
        else "",
        runbook("CpuHigh") if high else "",
    )


CHECK = Check("cpu_high", judge)
