"""A service that uses up the one core that its loop can have."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import LOOP_RUNTIMES, Limits, Subject, cpu_of, recent_cpu
from . import Check, runbook

LEAST = 10
"""Seconds of data without which nothing is said."""


def judge(subject: Subject, limits: Limits) -> Finding | None:
    seconds, used = len(recent_cpu(subject.view)), cpu_of(subject.view)
    if used is None or seconds < LEAST:
        return None
    high = used >= limits.cpu
    loop = subject.runtime in LOOP_RUNTIMES
    ceiling = " An event loop can use one core." if loop else ""
    return Finding(
        "cpu_high",
        Status.WARN if high else Status.OK,
        f"{subject.name}: uses {words.share(used)} of a core",
        subject.name,
        {"utilization": used, "seconds": seconds},
        f"Profile it to see where the time goes; then add workers or instances.{ceiling}"
        if high
        else "",
        runbook("CpuHigh") if high else "",
    )


CHECK = Check("cpu_high", judge)
