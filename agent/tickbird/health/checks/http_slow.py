"""Routes that miss their objective, or are far slower than the service's other routes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Requests, Subject
from . import Check, runbook

LEVELS = (0.5, 0.9, 0.99)
"""Compared level by level: a blocked loop lifts the p99 of every route, and would hide there the
one that is slow each time."""

BEYOND = 2
"""Requests that must lie beyond a level: one unlucky request makes no slow route."""


def judge(subject: Subject, limits: Limits) -> Finding | None:
    if subject.http is None:
        return None
    judged = [r for r in subject.http.routes if r.count >= limits.min_requests]
    if not judged:
        return None
    reasons = {id(route): _reason(route, judged, limits) for route in judged}
    slow = [route for route in judged if reasons[id(route)]]
    if not slow:
        worst = max(judged, key=_p99)
        if _hides_slow_ones(judged, limits):
            return _not_told_apart(subject, worst)
        return Finding("http_slow", Status.OK, f"{subject.name}: no slow route", subject.name)
    slow.sort(key=_p99, reverse=True)
    worst = slow[0]
    more = f"; {words.count(len(slow) - 1, 'more slow route')}" if len(slow) > 1 else ""
    return Finding(
        "http_slow",
        Status.WARN,
        f"{subject.name}: {words.route(worst.method, worst.route)} is slow: p99 "
        f"{words.seconds(_p99(worst))} ({reasons[id(worst)]}){more}",
        subject.name,
        {"routes": [_evidence(route) for route in slow[:10]]},
        "Open the trace of one slow request of this route: a slow dependency shows as a long "
        "child span, the route's own work as a gap.",
        runbook("HttpLatencyHigh"),
    )


def _hides_slow_ones(judged: Sequence[Requests], limits: Limits) -> bool:
    unnamed = not any(route.route for route in judged)
    return unnamed and max(map(_p99, judged)) >= limits.slow * limits.slow_ratio


def _not_told_apart(subject: Subject, worst: Requests) -> Finding:
    """Some request is slow, and which cannot be said: slow ones hide among fast ones."""
    return Finding(
        "http_slow",
        Status.UNKNOWN,
        f"{subject.name}: requests cannot be told apart by route: p99 "
        f"{words.seconds(_p99(worst))} over all of them",
        subject.name,
        {"routes": [_evidence(worst)]},
        "The framework gives no name to its routes. Set the target's slo.latency to say what is "
        "too slow for all requests together, or let an OpenTelemetry SDK name the routes.",
        runbook("HttpLatencyHigh"),
    )


def _reason(route: Requests, judged: Sequence[Requests], limits: Limits) -> str | None:
    """Why ``route`` is slow; None when it is not."""
    for name, objective in limits.latency.items():
        value = route.quantile(_level(name))
        if value is not None and value >= objective:
            return f"its objective: {name} below {words.seconds(objective)}"
    others = [other for other in judged if other is not route]
    if not others:
        return None
    for level in (level for level in LEVELS if route.count * (1 - level) >= BEYOND):
        usual = median(other.quantile(level) or 0.0 for other in others)
        own = route.quantile(level) or 0.0
        if own >= max(limits.slow, limits.slow_ratio * usual):
            much = f"p{level * 100:g} {words.seconds(own)}"
            return f"{much} where the other routes have {words.seconds(usual)}"
    return None


def _level(name: str) -> float:
    """``p99`` → 0.99, ``p99.9`` → 0.999."""
    return float(name.removeprefix("p")) / 100


def _p99(route: Requests) -> float:
    return route.quantile(0.99) or 0.0


def _evidence(route: Requests) -> dict[str, object]:
    return {
        "method": route.method,
        "route": route.route,
        "requests": route.count,
        "p50_seconds": route.quantile(0.5),
        "p99_seconds": route.quantile(0.99),
        "max_seconds": route.max,
    }


CHECK = Check("http_slow", judge)
