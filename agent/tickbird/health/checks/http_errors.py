"""Routes that answer with a server error too often."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Requests, Subject
from . import Check, runbook


def judge(subject: Subject, limits: Limits) -> Finding | None:
    if subject.http is None:
        return None
    judged = [r for r in subject.http.routes if r.count >= limits.min_requests]
    if not judged:
        return None
    # An objective of 100 % makes the limit 0, which no error at all would meet.
    failing = [r for r in judged if r.errors and r.errors / r.count >= limits.errors_warn]
    if not failing:
        total = words.count(subject.http.total.count, "request")
        return Finding(
            "http_errors",
            Status.OK,
            f"{subject.name}: {total}, no route with {words.share(limits.errors_warn)} of errors",
            subject.name,
        )
    failing.sort(key=lambda route: route.errors / route.count, reverse=True)
    worst = failing[0]
    fails = worst.errors / worst.count >= limits.errors_fail
    return Finding(
        "http_errors",
        Status.FAIL if fails else Status.WARN,
        _title(subject, worst, len(failing) - 1),
        subject.name,
        {"routes": [_evidence(route) for route in failing[:10]]},
        "Read the error lines of this route and the trace of one failing request; compare the "
        "start of the errors with the last deployment and with what the route depends on.",
        runbook("HttpErrorRatioHigh"),
    )


def _title(subject: Subject, worst: Requests, more: int) -> str:
    also = f"; {words.count(more, 'more route')} above the limit" if more else ""
    return (
        f"{subject.name}: {words.route(worst.method, worst.route)} fails "
        f"{words.share(worst.errors / worst.count)} of the time "
        f"({worst.errors:,} of {words.count(worst.count, 'request')}){also}"
    )


def _evidence(route: Requests) -> dict[str, object]:
    return {
        "method": route.method,
        "route": route.route,
        "requests": route.count,
        "errors": route.errors,
        "error_ratio": route.error_ratio,
    }


CHECK = Check("http_errors", judge)
