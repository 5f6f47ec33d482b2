"""Checks: one file each, one pure function that judges and says what to do.

A module of this package with ``CHECK`` is found by itself: a ``Check`` looks at every target, an
``AgentCheck`` at the agent. ``None`` means that the question does not arise (no requests seen, no
logs read); ``UNKNOWN`` that it does and cannot be answered.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ...model import Finding
from ..subject import Limits, Subject

RUNBOOK = "alerts/RUNBOOK.md"


@dataclass(frozen=True, slots=True)
class AgentUse:
    """What the agent costs and what it cannot do. None: not known; bytes, cores."""

    cpu: float | None = None
    memory: float | None = None
    cpu_budget: float = 0.02
    memory_budget: float = 64 * 1024 * 1024
    measuring: float | None = None
    """Cores that measuring takes, of ``cpu``: what the budget is for, since logs are never shed."""
    traced_ratio: float = 1.0
    """Share of the time in which loops are traced."""
    pace: int = 1
    """How many times the configured interval lies between two samples of a process."""
    problems: tuple[str, ...] = ()
    """One line each, fit to be shown to a person."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    judge: Callable[[Subject, Limits], Finding | None]


@dataclass(frozen=True, slots=True)
class AgentCheck:
    name: str
    judge: Callable[[AgentUse], Finding | None]


@cache
def checks() -> tuple[Check | AgentCheck, ...]:
    """Every check of this package, in the order of their names."""
    found = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        check = getattr(importlib.import_module(f"{__name__}.{module.name}"), "CHECK", None)
        if isinstance(check, Check | AgentCheck):
            found.append(check)
    return tuple(found)


def runbook(heading: str) -> str:
    """Address of a heading in the runbook; a check that has an alert shares the alert's."""
    return f"{RUNBOOK}#{heading.lower()}"
