"""Every log line that was read must be accounted for."""

from __future__ import annotations

from ...ledger import Totals
from ...model import Finding, Status
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    logs = subject.logs
    if logs is None:
        return None
    refused, dropped = sum(logs.refused.values()), sum(logs.dropped.values())
    missing = logs.read - logs.delivered - refused - dropped - logs.queued
    lines = words.count(logs.read, "log line")
    if missing:
        return _finding(
            subject,
            logs,
            Status.FAIL,
            f"{subject.name}: the ledger is out by {missing:+,} of {lines}",
            "This is a defect of the agent: please report it with the output of tickbird health "
            "--format json.",
        )
    if refused or dropped:
        losses = sorted([*logs.refused.items(), *logs.dropped.items()])
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in losses if number)
        return _finding(
            subject,
            logs,
            Status.WARN,
            f"{subject.name}: {refused + dropped:,} of {lines} did not arrive ({reasons})",
            "Refused lines were turned down by the Collector (see its own log for why), dropped "
            "ones by a limit of this agent's configuration.",
        )
    return Finding(
        "logs_ledger",
        Status.OK,
        f"{subject.name}: {lines} read, {logs.delivered:,} delivered, {logs.queued:,} on the way",
        subject.name,
    )


def _finding(subject: Subject, logs: Totals, status: Status, title: str, advice: str) -> Finding:
    heading = "LogLedgerUnbalanced" if status is Status.FAIL else "LogsRefused"
    evidence = {
        "read": logs.read,
        "delivered": logs.delivered,
        "refused": dict(logs.refused),
        "dropped": dict(logs.dropped),
        "queued": logs.queued,
    }
    return Finding("logs_ledger", status, title, subject.name, evidence, advice, runbook(heading))


CHECK = Check("logs_ledger", judge)
