"""Finds the processes to watch, and finds them again: after restarts, with their workers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..clock import Clock
from ..commands import service_name
from ..config import Config, TargetConfig
from ..model import Identity, Target
from .automatic import Left, choose
from .match import Matcher, MatchError
from .proc import Proc, Processes
from .table import Process, Table

_INTERVAL = 5.0
_HURRY = 1.0
_CHEAP = 0.02
_SHARE = 200
"""A scan waits at least this many times as long as the last one took: half a percent of a core."""
_SETTLED = 15.0
_THOROUGH = 60.0
"""Seconds between two scans that read every process again, not only new and young ones."""
_RUNTIME_NAMES = {"node": "nodejs", "python": "cpython", "uvloop": "cpython", "asyncio": "cpython"}


@dataclass(frozen=True, slots=True)
class Found:
    """A target that is there now. ``spec`` is None when it was found by itself.

    ``first`` is True for one target of each service: what the configuration gives a service once
    (its logs, its health address, its scrape) belongs to that one, not to every worker.
    """

    target: Target
    spec: TargetConfig | None
    first: bool = True


def _processes(proc: Path) -> Processes:
    if (proc / "stat").exists():
        return Proc(proc)
    # psutil costs megabytes that an agent on Linux never needs.
    from .portable import Portable  # noqa: PLC0415

    return Portable()


class Slots:
    """Ordinals of the processes of one service: kept while they live, the lowest free one for
    the next, so that a worker's replacement takes its place and its series."""

    def __init__(self) -> None:
        self._taken: dict[int | None, Identity] = {}

    def place(
        self, leads: Iterable[Identity], workers: Iterable[Identity]
    ) -> dict[Identity, int | None]:
        """None goes to a lead only: the master or lone process."""
        leads, workers = list(leads), list(workers)
        present = {*leads, *workers}
        self._taken = {slot: one for slot, one in self._taken.items() if one in present}
        known = set(self._taken.values())
        for one in leads:
            if one not in known:
                self._taken[None if None not in self._taken else self._free()] = one
        for one in workers:
            if one not in known and one not in self._taken.values():
                self._taken[self._free()] = one
        return {one: slot for slot, one in self._taken.items()}

    def _free(self) -> int:
        return next(slot for slot in range(len(self._taken) + 1) if slot not in self._taken)


class Finder:
    """``find`` gives what is there; ``problems`` what is not, a line each with what to do;
    ``left`` the Node and Python processes that were not taken, with the reason."""

    def __init__(self, config: Config, clock: Clock, proc: Path = Path("/proc")) -> None:
        self._config = config
        self._clock = clock
        self._processes = _processes(proc)
        self._table = Table(self._processes, clock)
        self._slots: dict[str, Slots] = {}
        self._bound: dict[int, Identity] = {}
        self._found: list[Found] = []
        self._due = self._thorough_due = 0.0
        self._host = os.uname().nodename
        self.problems: list[str] = []
        self.left: list[Left] = []

    def reconfigure(self, config: Config) -> None:
        """Look for the targets of ``config`` from the next call of ``find`` on; what stays a
        target keeps its name and its place among the workers."""
        self._config = config
        self._bound.clear()
        self.left = []
        self._due = self._thorough_due = 0.0

    def find(self, ended: bool = False) -> list[Found]:
        """What is there now. Cheap to call every second: processes are only looked over every 5 s
        (less often where there are very many), or at once when a watched one was seen to have
        ``ended``."""
        now = self._clock.monotonic()
        if ended or now >= self._due:
            thorough = ended or now >= self._thorough_due
            if thorough:
                self._thorough_due = now + _THOROUGH
            self._table.scan(thorough)
            self._search()
            wait = _HURRY if self.problems and self._table.cost < _CHEAP else _INTERVAL
            self._due = now + max(wait, _SHARE * self._table.cost)
        return list(self._found)

    def _search(self) -> None:
        self.problems, found = [], []
        matcher = Matcher(self._table, self._processes)
        services: dict[str, list[tuple[Process, TargetConfig | None]]] = {}
        if self._config.targets:
            for number, spec in enumerate(self._config.targets):
                if spec.match is None:
                    found.append(Found(self._bare(spec), spec))
                    continue
                leads = self._leads(number, spec, matcher)
                for lead in leads:
                    services.setdefault(spec.name or self._named(lead), []).append((lead, spec))
                if not leads and spec.name and (spec.logs or spec.http or spec.scrape):
                    found.append(Found(self._bare(spec), spec))
        else:
            leads, self.left = choose(self._table, matcher)
            for lead in leads:
                services.setdefault(self._named(lead), []).append((lead, None))
        for name, leads_of in services.items():
            found += self._service(name, leads_of, matcher)
        if self._table.unread:
            self.problems.append(
                f"{self._table.unread} processes are not looked at yet; the next scan goes on there"
            )
        self._found = found

    def _leads(self, number: int, spec: TargetConfig, matcher: Matcher) -> list[Process]:
        label = spec.name or f"targets[{number}]"
        assert spec.match is not None
        try:
            if spec.match.pid is not None:
                self._hold(number, spec.match.pid)
            leads = matcher.leads(spec.match)
        except MatchError as missing:
            self.problems.append(f"{label}: {missing}")
            return []
        if len(leads) > 1 and len({one.parent for one in leads}) > 1:
            pids = ", ".join(str(one.pid) for one in leads[:5])
            self.problems.append(
                f"{label}: match fits {len(leads)} separate processes (pid {pids}), all watched as "
                "one service; narrow the pattern, or match by port or pidfile"
            )
        return leads

    def _hold(self, number: int, pid: int) -> None:
        """A configured pid means the process that has it first: a later one is a stranger."""
        process = self._table.look(pid)
        first = self._bound.get(number)
        if first is None:
            if process and not process.zombie:
                self._bound[number] = process.identity
        elif process is None or process.identity.start_ticks != first.start_ticks:
            raise MatchError(
                f"the process with pid {pid} has ended; give its new pid, or match it by command, "
                "port or pidfile so that it is found again"
            )

    def _service(
        self, name: str, leads: list[tuple[Process, TargetConfig | None]], matcher: Matcher
    ) -> list[Found]:
        members = {lead.identity: (lead, spec) for lead, spec in leads}
        for lead, spec in leads:
            for worker in matcher.workers(lead):
                members.setdefault(worker.identity, (worker, spec))
        heads = [lead.identity for lead, _ in leads]
        workers = [identity for identity in members if identity not in set(heads)]
        slots = self._slots.setdefault(name, Slots()).place(heads, workers)
        order = sorted(members, key=lambda one: -1 if (slot := slots[one]) is None else slot)
        return [
            Found(
                self._target(name, members[one][0], slots[one], members[one][1]),
                members[one][1],
                first=one == order[0],
            )
            for one in order
        ]

    def _target(
        self, name: str, process: Process, slot: int | None, spec: TargetConfig | None
    ) -> Target:
        runtime = self._runtime(process)
        attributes = self._attributes(name, slot, spec)
        attributes["process.pid"] = process.pid
        if runtime in _RUNTIME_NAMES:
            attributes["process.runtime.name"] = _RUNTIME_NAMES[runtime]
        return Target(
            key=name if slot is None else f"{name}/{slot + 1}",
            name=name,
            identity=process.identity,
            runtime=runtime,
            ordinal=slot,
            attributes=attributes,
        )

    def _bare(self, spec: TargetConfig) -> Target:
        """Without a process, which may have ended: its logs are still to be read, and that its
        health address is silent is the news."""
        name = spec.name or "logs"
        target = Target(key=name, name=name, identity=None, runtime="other")
        return replace(target, attributes=self._attributes(name, None, spec))

    def _attributes(
        self, name: str, slot: int | None, spec: TargetConfig | None
    ) -> dict[str, str | int]:
        service = self._config.service
        given = {
            "service.namespace": service.namespace,
            "deployment.environment.name": service.environment,
        }
        place = f"{self._host}\0{self._config.instance}\0{name}\0{slot}"
        return {
            **(spec.labels if spec else {}),
            **{key: value for key, value in given.items() if value is not None},
            "service.name": name,
            "service.instance.id": hashlib.sha256(place.encode()).hexdigest()[:32],
            "host.name": self._host,
        }

    def _named(self, lead: Process) -> str:
        return service_name(
            lead.command or (lead.name,), self._processes.folder(lead.pid), lead.runtime
        )

    def _runtime(self, process: Process) -> str:
        """A young process may still be importing its loop, so what was seen first is not final."""
        if process.runtime != "python":
            return process.runtime
        known = self._known_runtime(process.identity)
        if known and self._clock.time() - process.identity.started_at > 2 * _SETTLED:
            return known
        mapped = self._processes.maps(process.pid)
        if b"/uvloop/" in mapped:
            return "uvloop"
        imported = b"/_asyncio." in mapped
        return "asyncio" if imported and self._processes.polls(process.pid) else "python"

    def _known_runtime(self, identity: Identity) -> str | None:
        targets = (one.target for one in self._found)
        return next((one.runtime for one in targets if one.identity == identity), None)
