"""The parts of the one JSON document of docs/json.md: plain data of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..ledger import Totals
from ..model import Finding, LogRecord, Stall
from ..recorder import TargetView
from ..recorder.window import Window
from .checks import AgentUse
from .rollup import LoopOfMany, RollUp
from .subject import Http, Limits, Loop, Requests, Subject, cpu_of

EXACT = 0.002
"""Seconds: a method whose error is at most this is called exact."""
LATEST = 5
"""Stalls whose last seconds are shown; those of a thousand would fill megabytes."""
BEFORE = 10
"""Seconds before a stall that are shown with it."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

Document = dict[str, Any]


def entry_of(subject: Subject, limits: Limits, findings: Iterable[Finding]) -> Document:
    view = subject.view
    target = view.target
    return {
        "name": target.name,
        "key": target.key,
        "pid": target.pid,
        "runtime": subject.runtime,
        "runtime_version": view.runtime.version if view.runtime else None,
        "started_at": target.identity.started_at if target.identity else None,
        "watched_since": view.watched_since,
        "ended_at": view.ended_at,
        "restarts": len(view.restarts),
        "service_instance_id": target.attributes.get("service.instance.id"),
        "workers": [],
        "cpu": {"utilization": cpu_of(view)},
        "memory": {
            "rss_bytes": _whole(view.last.get("rss")),
            "limit_bytes": _whole(view.last.get("memory_limit")),
            "heap_used_bytes": _whole(view.last.get("heap_used")),
        },
        "fds": {"open": _whole(view.last.get("fds")), "limit": _whole(view.last.get("fd_limit"))},
        "loop": _loop(subject.loop, view, limits) if subject.loop else None,
        "http": _http(subject.http) if subject.http else None,
        "logs": _logs(subject.logs) if subject.logs else None,
        "errors": [_error(record) for record in view.errors[-20:]],
        "findings": [finding_of(finding) for finding in findings],
    }


def service_of(one: RollUp, limits: Limits) -> Document:
    return {
        "name": one.name,
        "keys": [subject.name for subject in one.subjects],
        "cpu": {"utilization": one.cpu},
        "memory": {"rss_bytes": _whole(one.rss)},
        "fds": {"open": _whole(one.fds)},
        "loops": [_loops(many, limits) for many in one.loops],
        "http": _http(one.http) if one.http else None,
    }


def agent_of(use: AgentUse) -> Document:
    return {
        "cpu": {"utilization": use.cpu, "measuring": use.measuring, "budget": use.cpu_budget},
        "memory": {"rss_bytes": _whole(use.memory), "budget_bytes": _whole(use.memory_budget)},
        "traced_ratio": use.traced_ratio,
        "pace": use.pace,
    }


def _loops(many: LoopOfMany, limits: Limits) -> Document:
    return {
        "keys": [subject.name for subject in many.subjects],
        **_measured(many.loop),
        "blocked_seconds": _blocked(many.blocked, limits),
        "stalls": len(list(many.blocked)),
        "ongoing": many.ongoing,
        "worst": many.worst,
    }


def _measured(loop: Loop) -> Document:
    return {
        "method": loop.method,
        "exact": loop.error is not None and loop.error <= EXACT,
        "error_seconds": loop.error,
        "delay_seconds": {
            "min": loop.min,
            "mean": loop.mean,
            **{name: loop.quantile(q) for name, q in _QUANTILES.items()},
            "max": loop.max,
        },
        "utilization": loop.utilization,
        "overhead": loop.overhead,
    }


def _blocked(durations: Iterable[float], limits: Limits) -> float:
    return sum(max(0.0, duration - limits.stall) for duration in durations)


def _loop(loop: Loop, view: TargetView, limits: Limits) -> Document:
    return {
        **_measured(loop),
        "blocked_seconds": _blocked((stall.duration for stall in view.stalls), limits),
        "windows": [
            {
                "start": window.start,
                "delay_max_seconds": window.loop.max if window.loop.iterations else None,
                "utilization": window.loop.utilization,
            }
            for window in view.windows
            if window.loop is not None
        ],
        "stalls": _stalls(view),
        "phases": None,
    }


def _stalls(view: TargetView) -> list[Document]:
    """All of them; the latest, the worst and what still lasts with the seconds before them."""
    told = [*view.stalls[-LATEST:], *(stall for stall in view.stalls if stall.ongoing)]
    told += [max(view.stalls, key=lambda stall: stall.duration)] if view.stalls else []
    shown = {id(stall) for stall in told}
    return [
        _stall(stall, _before(stall, view.windows) if id(stall) in shown else None)
        for stall in view.stalls
    ]


def _before(stall: Stall, windows: Sequence[Window]) -> list[Document]:
    return [
        _window(window)
        for window in windows
        if stall.start - BEFORE - 1 < window.start <= stall.start
    ]


def _window(window: Window) -> Document:
    loop, routes = window.loop, (window.routes or {}).values()
    counted = window.routes is not None
    return {
        "start": window.start,
        "cpu_utilization": window.cpu,
        "rss_bytes": _whole(window.rss),
        "delay_max_seconds": loop.max if loop and loop.iterations else None,
        "utilization": loop.utilization if loop else None,
        "requests": sum(route.requests for route in routes) if counted else None,
        "errors": sum(route.errors for route in routes) if counted else None,
    }


def _stall(stall: Stall, before: list[Document] | None) -> Document:
    culprit = stall.culprit
    return {
        "start": stall.start,
        "duration_seconds": stall.duration,
        "ongoing": stall.ongoing,
        "cause": stall.cause,
        "certainty": stall.certainty,
        "evidence": dict(stall.evidence) if stall.evidence else None,
        "culprit": culprit
        and {
            "function": culprit.get("function"),
            "file": culprit.get("file"),
            "line": culprit.get("line"),
            "stack": list(culprit.get("stack") or ()),
        },
        "before": before,
    }


def _http(http: Http) -> Document:
    total = http.total
    return {
        "source": http.source,
        "requests": total.count,
        "errors": total.errors,
        "error_ratio": total.error_ratio,
        "duration_seconds": {
            **{name: total.quantile(q) for name, q in _QUANTILES.items()},
            "max": total.max if total.count else None,
        },
        "routes": [_route(route) for route in http.routes],
    }


def _route(route: Requests) -> Document:
    return {
        "method": route.method,
        "route": route.route,
        "requests": route.count,
        "errors": route.errors,
        "error_ratio": route.error_ratio,
        "p50_seconds": route.quantile(0.5),
        "p99_seconds": route.quantile(0.99),
        "max_seconds": route.max,
    }


def _logs(logs: Totals) -> Document:
    return {
        "read": logs.read,
        "delivered": logs.delivered,
        "refused": dict(logs.refused),
        "dropped": dict(logs.dropped),
        "queued": logs.queued,
        "redelivered": logs.redelivered,
        "correlated": logs.correlated,
    }


def _error(record: LogRecord) -> Document:
    return {
        "time": (record.time_ns or record.observed_ns) / 1e9 or None,
        "severity": record.severity_text or None,
        "body": record.body,
        "trace_id": record.trace_id,
        "correlation_id": record.correlation_id,
    }


def finding_of(finding: Finding) -> Document:
    return {
        "check": finding.check,
        "status": finding.status.value,
        "title": finding.title,
        "target": finding.target,
        "evidence": dict(finding.evidence),
        "advice": finding.advice or None,
        "runbook": finding.runbook or None,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
