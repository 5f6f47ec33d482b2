"""With no targets configured: which processes of this user are services, and why others are not."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..commands import is_tickbird, why_left
from .match import Matcher
from .table import Process, Table


@dataclass(frozen=True, slots=True)
class Left:
    """A Node or Python process that is not watched. ``command`` is its program and script only:
    further arguments may hold secrets."""

    pid: int
    command: str
    why: str


def choose(table: Table, matcher: Matcher) -> tuple[list[Process], list[Left]]:
    """The leads to watch, oldest first, and what was left with its reason."""
    own = table.own_line()
    listening: list[Process] = []
    silent: list[Process] = []
    left: list[Left] = []
    for process in table.by_pid.values():
        if process.owner != os.geteuid() or process.zombie or process.runtime == "other":
            continue
        why = _why(process, table, own)
        if why:
            left.append(_left(process, why))
        elif matcher.listens(process):
            listening.append(process)
        else:
            silent.append(process)
    leads = matcher.heads(listening)
    taken = {one.pid for lead in leads for one in matcher.workers(lead)}
    left += [_left(one, "listens on no TCP port") for one in silent if one.pid not in taken]
    return leads, sorted(left, key=lambda one: one.pid)


def _why(process: Process, table: Table, own: set[int]) -> str | None:
    if process.pid == os.getpid():
        return "this agent"
    if process.pid in own:
        return "started this agent"
    if reason := why_left(process.command):
        return reason
    for pid in table.ancestors(process.parent):
        above = table.by_pid.get(pid)
        if above and is_tickbird(above.command) and pid not in own:
            return f"already watched by the tickbird that started it (pid {pid})"
    return None


def _left(process: Process, why: str) -> Left:
    return Left(process.pid, " ".join(process.command[:2])[:200], why)
