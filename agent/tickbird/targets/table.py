"""The process table, read within a bound of time and kept between scans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..clock import Clock
from ..commands import runtime_of
from ..model import Identity
from .proc import Processes

_YOUNG = 15.0
_BUDGET = 0.25


@dataclass(slots=True)
class Process:
    """One process as last seen. ``owner`` is None where even that is hidden."""

    identity: Identity
    name: str
    parent: int
    zombie: bool
    owner: int | None
    command: tuple[str, ...]
    runtime: str

    @property
    def pid(self) -> int:
        return self.identity.pid


class Table:
    """Every process by pid. A scan stops after a quarter of a second and the next one goes on
    there, so that ten thousand processes delay nothing; ``unread`` counts those still to come."""

    def __init__(self, processes: Processes, clock: Clock) -> None:
        self._processes = processes
        self._clock = clock
        self._pending: list[int] = []
        self.by_pid: dict[int, Process] = {}
        self._children: dict[int, list[Process]] = {}
        self.cost = 0.0

    @property
    def unread(self) -> int:
        return len(self._pending)

    def scan(self, thorough: bool = True) -> None:
        """Read what is new or young, and when ``thorough`` everything else again (a parent may
        have gone, a pid been used again); ``cost`` becomes the seconds that it took."""
        began = self._clock.monotonic()
        present = set(self._processes.pids())
        self.by_pid = {pid: one for pid, one in self.by_pid.items() if pid in present}
        if not self._pending:
            # New ones last in the list, so first to be taken off it.
            some = present if thorough else [pid for pid in present if self._may_differ(pid)]
            self._pending = sorted(some, key=lambda pid: (pid not in self.by_pid, pid))
        while self._pending and self._clock.monotonic() - began < _BUDGET:
            self.look(self._pending.pop())
        self._children = {}
        for process in self.by_pid.values():
            self._children.setdefault(process.parent, []).append(process)
        self.cost = self._clock.monotonic() - began

    def _may_differ(self, pid: int) -> bool:
        """Whether a process is not known yet, or so young that it may still run another program."""
        known = self.by_pid.get(pid)
        return known is None or self._clock.time() - known.identity.started_at < _YOUNG

    def look(self, pid: int) -> Process | None:
        """The process with ``pid`` now; None when there is none."""
        stat = self._processes.stat(pid)
        if stat is None:
            self.by_pid.pop(pid, None)
            return None
        old = self.by_pid.get(pid)
        at = self._processes.started_at(stat)
        identity = Identity(pid, stat.start_ticks, at)
        fresh = (
            old is None
            or old.identity.start_ticks != stat.start_ticks
            or old.name != stat.name
            or self._clock.time() - at < _YOUNG
        )
        if old is not None and not fresh:
            old.parent, old.zombie = stat.parent, stat.state in "ZX"
            return old
        command = self._processes.command(pid)
        runtime = runtime_of(self._processes.executable(pid), command) if command else "other"
        process = Process(
            identity=identity,
            name=stat.name,
            parent=stat.parent,
            zombie=stat.state in "ZX",
            owner=self._processes.owner(pid),
            command=command,
            runtime=runtime,
        )
        self.by_pid[pid] = process
        return process

    def descendants(self, pid: int) -> Iterator[Process]:
        """Below ``pid`` as of the last scan, nearest generation first, oldest first within one."""
        children = self._children
        seen, level = {pid}, [pid]
        while level:
            below = [child for parent in level for child in children.get(parent, ())]
            below = [child for child in below if child.pid not in seen]
            below.sort(key=lambda child: child.identity.start_ticks)
            yield from below
            level = [child.pid for child in below]
            seen.update(level)

    def ancestors(self, pid: int) -> set[int]:
        """``pid`` and all above it."""
        found: set[int] = set()
        while pid > 0 and pid not in found:
            found.add(pid)
            process = self.by_pid.get(pid) or self.look(pid)
            pid = process.parent if process else 0
        return found

    def own_line(self) -> set[int]:
        """The agent and the processes that started it."""
        return self.ancestors(os.getpid())
