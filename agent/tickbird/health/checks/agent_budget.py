"""The agent itself must stay cheap: it measures less rather than exceed its budget, and says so."""

from __future__ import annotations

from ...model import Finding, Status
from .. import words
from . import AgentCheck, AgentUse, runbook


def judge(agent: AgentUse) -> Finding | None:
    if agent.cpu is None or agent.memory is None:
        return None
    measuring = agent.cpu if agent.measuring is None else agent.measuring
    over = measuring > agent.cpu_budget or agent.memory > agent.memory_budget
    shed = _shed(agent)
    wrong = over or bool(shed)
    return Finding(
        "agent_budget",
        Status.WARN if wrong else Status.OK,
        _title(agent, measuring) + (f"; to keep to it, {shed}" if shed else ""),
        None,
        {
            "cpu": agent.cpu,
            "measuring": measuring,
            "cpu_budget": agent.cpu_budget,
            "memory_bytes": agent.memory,
            "memory_budget_bytes": agent.memory_budget,
            "traced_ratio": agent.traced_ratio,
            "pace": agent.pace,
        },
        "Watch fewer targets with one agent, or raise budget in its configuration."
        if wrong
        else "",
        runbook("AgentBudget") if wrong else "",
    )


def _title(agent: AgentUse, measuring: float) -> str:
    return (
        f"the agent uses {words.share(agent.cpu or 0.0)} of a core, {words.share(measuring)} for "
        f"measuring (budget {words.share(agent.cpu_budget)}), and "
        f"{words.size(agent.memory or 0.0)} (budget {words.size(agent.memory_budget)})"
    )


def _shed(agent: AgentUse) -> str:
    """What is left out to keep to the budget; empty for nothing."""
    found = []
    if agent.traced_ratio < 1:
        found.append(f"loops are traced {words.share(agent.traced_ratio)} of the time")
    if agent.pace > 1:
        found.append(f"processes are sampled {agent.pace} times less often")
    return " and ".join(found)


CHECK = AgentCheck("agent_budget", judge)
