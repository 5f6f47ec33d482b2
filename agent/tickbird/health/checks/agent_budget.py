"""The agent itself must stay cheap."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from . import AgentCheck, AgentUse, runbook


def judge(agent: AgentUse) -> Finding | None:
    if agent.cpu is None or agent.memory is None:
        return None
    over = agent.cpu > agent.cpu_budget or agent.memory > agent.memory_budget
    return Finding(
        "agent_budget",
        Status.WARN if over else Status.OK,
        f"the agent uses {words.share(agent.cpu)} of a core (budget "
        f"{words.share(agent.cpu_budget)}) and {words.size(agent.memory)} "
        f"(budget {words.size(agent.memory_budget)})",
        None,
        {
            "cpu": agent.cpu,
            "cpu_budget": agent.cpu_budget,
            "memory_bytes": agent.memory,
            "memory_budget_bytes": agent.memory_budget,
        },
        "Watch fewer targets or log files with one agent, or raise budget in its configuration."
        if over
        else "",
        runbook("AgentBudget") if over else "",
    )


CHECK = AgentCheck("agent_budget", judge)
