"""What should be read of a target and cannot be: a scrape that fails, a file not permitted."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from ..subject import Limits, Subject
from . import Check, runbook

_JUDGED_ELSEWHERE = ("http", "looptrace")


def judge(subject: Subject, limits: Limits) -> Finding | None:  # noqa: ARG001 - as every check
    failing = {k: v for k, v in subject.problems.items() if k not in _JUDGED_ELSEWHERE}
    if not failing:
        return None
    first, *others = failing.values()
    more = f" (and {words.count(len(others), 'more source')})" if others else ""
    return Finding(
        "sources",
        Status.WARN,
        f"{subject.name}: {words.printable(first)}{more}",
        subject.name,
        {"problems": failing},
        "All its other sources are read meanwhile; each problem says what to do.",
        runbook("AgentSourceFailing"),
    )


CHECK = Check("sources", judge)
