"""Single iterations of the event loop that took so long that every request waited."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...model import Finding, Stall, Status
from .. import words
from ..stalls import advice, why
from ..subject import Limits, Subject
from . import Check, runbook


def judge(subject: Subject, limits: Limits) -> Finding | None:
    if subject.loop is None:
        return None
    stalls = [s for s in subject.stalls if s.ongoing or s.duration >= limits.stall]
    if not stalls:
        return Finding(
            "loop_blocked",
            Status.OK,
            f"{subject.name}: the event loop was never blocked for {words.seconds(limits.stall)}",
            subject.name,
        )
    worst = max(stalls, key=lambda stall: stall.duration)
    ongoing = any(stall.ongoing for stall in stalls)
    fails = ongoing or worst.duration >= limits.stall_fail
    return Finding(
        "loop_blocked",
        Status.FAIL if fails else Status.WARN,
        _title(subject, stalls, worst),
        subject.name,
        {
            "stalls": len(stalls),
            "worst_seconds": worst.duration,
            "worst_at": worst.start,
            "total_seconds": sum(stall.duration for stall in stalls),
            "ongoing": ongoing,
            "method": subject.loop.method,
            "cause": worst.cause,
            "certainty": worst.certainty,
            "causes": dict(Counter(stall.cause or "unknown" for stall in stalls)),
            "culprit": dict(worst.culprit) if worst.culprit else None,
            "culprits": _by_culprit(stalls),
        },
        advice(worst),
        runbook("EventLoopBlocked"),
    )


def _title(subject: Subject, stalls: list[Stall], worst: Stall) -> str:
    last = stalls[-1]
    if last.ongoing:
        blocked = f"has been blocked for {words.seconds(last.duration)} and still is{why(last)}"
        return f"{subject.name}: the event loop {blocked}"
    times = words.count(len(stalls), "time")
    longest = words.seconds(worst.duration)
    return f"{subject.name}: the event loop was blocked {times}, for {longest} at worst{why(worst)}"


def _by_culprit(stalls: list[Stall]) -> list[dict[str, Any]]:
    """Each function that held the loop, with how often and how long; the worst first."""
    found: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for stall in stalls:
        if stall.culprit:
            function, file = stall.culprit.get("function"), stall.culprit.get("file")
            one = found.setdefault(
                (function, file), {"function": function, "file": file, "stalls": 0, "seconds": 0.0}
            )
            one["stalls"] += 1
            one["seconds"] += stall.duration
    return sorted(found.values(), key=lambda one: -one["seconds"])


CHECK = Check("loop_blocked", judge)
