"""Builds the one JSON document of docs/json.md: what was measured and what the checks say."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ..ledger import Totals
from ..model import Finding, LogRecord, Stall, Status
from ..recorder import TargetView
from .checks import AgentCheck, AgentUse, Check, checks
from .subject import Http, Limits, Loop, Requests, Subject, cpu_of, http_of, loop_of

SCHEMA = 1
"""Rises when a key changes its meaning or leaves; new keys may come at any time."""

EXIT_CODES = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}
_SEVERITY = (Status.OK, Status.UNKNOWN, Status.WARN, Status.FAIL)
EXACT = 0.002
"""Seconds: a method whose error is at most this is called exact."""
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

Document = dict[str, Any]


def build(
    *,
    instance: str,
    views: Sequence[TargetView],
    sink: Literal["recorder", "collector"],
    totals: Callable[[str], Totals | None],
    now: float | None = None,
    limits: Mapping[str, Limits] | None = None,
    problems_of: Mapping[str, Mapping[str, str]] | None = None,
    agent: AgentUse | None = None,
    problems: Sequence[str] = (),
    target: str | None = None,
    automatic: bool = False,
    launched: bool = False,
) -> Document:
    """The document; with ``target`` (name, key or pid) only of the targets that match it.

    ``totals`` gives the log ledger of a target key, ``limits`` are by target name, and
    ``problems_of`` say by target key and source what cannot be read of a target. ``problems`` are
    what the agent cannot do, one line each. ``now`` is in Unix seconds; without it, the time of the
    views. ``automatic``: the targets were found, not asked for; ``launched``: exec started them.
    """
    wanted = [view for view in views if _matches(view, target)]
    manned = {view.target.name for view in views if view.target.ordinal is not None}
    entries = [
        _entry(
            replace(
                _subject(view, totals, manned, (problems_of or {}).get(view.target.key, {})),
                automatic=automatic,
                launched=launched,
            ),
            (limits or {}).get(view.target.name, Limits()),
        )
        for view in wanted
    ]
    use = replace(agent or AgentUse(), problems=tuple(problems))
    document: Document = {
        "schema": SCHEMA,
        "instance": instance,
        "generated_at": now or max((view.now for view in views), default=None) or time.time(),
        "sink": sink,
        "status": Status.UNKNOWN.value,
        "targets": _grouped(wanted, entries),
        "findings": [_finding(finding) for finding in _judge_agent(use)],
    }
    if entries:
        document["status"] = worst(findings_of(document)).value
    return document


def _grouped(views: Sequence[TargetView], entries: Sequence[Document]) -> list[Document]:
    """Workers under their master; a worker whose master is not seen stands for itself."""
    masters = {
        view.target.name: entry
        for view, entry in zip(views, entries, strict=True)
        if view.target.ordinal is None
    }
    top = []
    for view, entry in zip(views, entries, strict=True):
        master = masters.get(view.target.name)
        if view.target.ordinal is None or master is None:
            top.append(entry)
        else:
            master["workers"].append(entry)
    return top


def findings_of(document: Mapping[str, Any]) -> Iterable[Document]:
    """Every finding of a document: the targets', their workers', the agent's."""
    for entry in document["targets"]:
        yield from entry["findings"]
        for worker in entry["workers"]:
            yield from worker["findings"]
    yield from document["findings"]


def worst(findings: Iterable[Mapping[str, Any]]) -> Status:
    """The gravest status; what cannot be known is graver than ok, milder than a warning."""
    return max((Status(f["status"]) for f in findings), key=_SEVERITY.index, default=Status.OK)


def exit_code(document: Mapping[str, Any], fail_on: Status | None = None) -> int:
    """0 ok, 1 warn, 2 fail, 3 unknown; with ``fail_on``, 0 for everything milder than it."""
    status = Status(document["status"])
    if fail_on is not None and _SEVERITY.index(status) < _SEVERITY.index(fail_on):
        return 0
    return EXIT_CODES[status]


def _matches(view: TargetView, wanted: str | None) -> bool:
    target = view.target
    return wanted is None or wanted in (target.name, target.key, str(target.pid))


def _subject(
    view: TargetView,
    totals: Callable[[str], Totals | None],
    manned: Container[str],
    problems: Mapping[str, str],
) -> Subject:
    key = view.target.key
    logs = totals(key)
    return Subject(
        view,
        loop_of(view),
        http_of(view),
        logs if logs is not None and logs.read else None,
        has_workers=view.target.ordinal is None and view.target.name in manned,
        problems=problems,
    )


def _judge(subject: Subject, limits: Limits) -> Iterable[Finding]:
    found = (check.judge(subject, limits) for check in checks() if isinstance(check, Check))
    return [finding for finding in found if finding is not None]


def _judge_agent(agent: AgentUse) -> Iterable[Finding]:
    found = (check.judge(agent) for check in checks() if isinstance(check, AgentCheck))
    return [finding for finding in found if finding is not None]


def _entry(subject: Subject, limits: Limits) -> Document:
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
        "findings": [_finding(finding) for finding in _judge(subject, limits)],
    }


def _loop(loop: Loop, view: TargetView, limits: Limits) -> Document:
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
        "blocked_seconds": sum(max(0.0, s.duration - limits.stall) for s in view.stalls),
        "windows": [
            {
                "start": window.start,
                "delay_max_seconds": window.loop.max if window.loop.iterations else None,
                "utilization": window.loop.utilization,
            }
            for window in view.windows
            if window.loop is not None
        ],
        "stalls": [_stall(stall) for stall in view.stalls],
        "phases": None,
    }


def _stall(stall: Stall) -> Document:
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


def _finding(finding: Finding) -> Document:
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
