"""Single iterations of the event loop that took so long that every request waited."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ...model import Finding, Stall, Status
from .. import words
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
            "culprit": dict(worst.culprit) if worst.culprit else None,
            "culprits": _by_culprit(stalls),
        },
        _advice(worst),
        runbook("EventLoopBlocked"),
    )


def _title(subject: Subject, stalls: list[Stall], worst: Stall) -> str:
    place = f" in {_place(worst.culprit)}" if worst.culprit else ""
    if stalls[-1].ongoing:
        last = stalls[-1]
        lasted = words.seconds(last.duration)
        place = f" in {_place(last.culprit)}" if last.culprit else ""
        return f"{subject.name}: the event loop has been blocked for {lasted} and still is{place}"
    times = words.count(len(stalls), "time")
    longest = words.seconds(worst.duration)
    return f"{subject.name}: the event loop was blocked {times}, for {longest} at worst{place}"


def _place(culprit: Mapping[str, Any]) -> str:
    file, line = culprit.get("file"), culprit.get("line")
    where = f" ({PurePath(file).name}:{line})" if file else ""
    return words.printable(f"{culprit.get('function') or 'an unnamed function'}{where}")


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


def _advice(worst: Stall) -> str:
    if worst.culprit:
        return "Split this work up, move it to a worker thread, or use its asynchronous form."
    return (
        "Look for synchronous work in what ran then: file or crypto calls with a synchronous form, "
        "large JSON, a heavy loop or regular expression, a blocking client in a coroutine."
    )


CHECK = Check("loop_blocked", judge)
