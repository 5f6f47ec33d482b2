"""The configured health address of a target: what it answered last."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    last = subject.view.last
    silent = last.get("check_error")
    if silent is None:
        return None
    kind = None if silent else last.get("check_class")
    took = None if silent else last.get("check_seconds")
    answer = f"{kind:.0f}xx" if kind else None
    evidence = {"answered": answer, "seconds": took}
    if kind is not None and kind < 4:
        title = f"{subject.name}: the health check passes"
        if took is not None:
            title += f" ({words.seconds(took)})"
        return Finding("http_check", Status.OK, title, subject.name, evidence)
    reason = subject.problems.get("http") or (
        f"the health check answered {answer}" if answer else "the health check got no answer"
    )
    return Finding(
        "http_check",
        Status.FAIL,
        f"{subject.name}: {words.printable(reason)}",
        subject.name,
        evidence,
        "Ask the address yourself (curl -i) and read the service's log lines of that moment; a "
        "check that was set up for another address fails too (http.url of the target).",
        runbook("HealthCheckFailing"),
    )


CHECK = Check("http_check", judge)
