"""What the agent was asked to do and cannot: a file without permission, a target not found."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from . import AgentCheck, AgentUse, runbook


def judge(agent: AgentUse) -> Finding | None:
    if not agent.problems:
        return None
    first = agent.problems[0]
    more = len(agent.problems) - 1
    return Finding(
        "agent_problems",
        Status.WARN,
        f"{first} (and {words.count(more, 'more problem')})" if more else first,
        None,
        {"problems": list(agent.problems)},
        "Each line says what to do; the rest is watched meanwhile.",
        runbook("AgentProblems"),
    )


CHECK = AgentCheck("agent_problems", judge)
