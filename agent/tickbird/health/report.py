"""Builds the one JSON document of docs/json.md: what was measured and what the checks say."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ..ledger import Totals
from ..model import Finding, Status
from ..recorder import TargetView
from .checks import AgentCheck, AgentUse, Check, checks
from .document import Document, agent_of, entry_of, finding_of, service_of
from .rollup import RollUp, roll_up
from .subject import Limits, Subject, http_of, loop_of

SCHEMA = 1
"""Rises when a key changes its meaning or leaves; new keys may come at any time."""

EXIT_CODES = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}
_SEVERITY = (Status.OK, Status.UNKNOWN, Status.WARN, Status.FAIL)


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
    subjects = [
        replace(
            _subject(view, totals, manned, (problems_of or {}).get(view.target.key, {})),
            automatic=automatic,
            launched=launched,
        )
        for view in wanted
    ]
    given = limits or {}
    limited = [(one, given.get(one.view.target.name, Limits())) for one in subjects]
    entries = [entry_of(one, of, _judge(one, of)) for one, of in limited]
    use = replace(agent or AgentUse(), problems=tuple(problems))
    document: Document = {
        "schema": SCHEMA,
        "instance": instance,
        "generated_at": now or max((view.now for view in views), default=None) or time.time(),
        "sink": sink,
        "status": Status.UNKNOWN.value,
        "targets": _grouped(wanted, entries),
        "services": [
            service_of(one, given.get(one.name, Limits())) for one in _rolled_up(subjects)
        ],
        "agent": agent_of(use),
        "findings": [finding_of(finding) for finding in _judge_agent(use)],
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


def _rolled_up(subjects: Sequence[Subject]) -> Iterable[RollUp]:
    """One for each service that has several processes."""
    by_name: dict[str, list[Subject]] = {}
    for one in subjects:
        by_name.setdefault(one.view.target.name, []).append(one)
    return [roll_up(name, some) for name, some in by_name.items() if len(some) > 1]


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
