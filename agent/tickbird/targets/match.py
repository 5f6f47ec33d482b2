"""From a ``match`` of the configuration to the processes that it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import re2

from ..commands import is_tickbird, is_worker_of, is_wrapper
from ..config import MatchConfig
from .proc import Processes
from .table import Process, Table

_CONTAINER = re.compile(r"[0-9a-f]{64}")
_RUNTIMES = ("node", "python")
_SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "tmux", "screen")
"""What a shell starts is not a worker of it, a shell in a shell neither."""


class MatchError(Exception):
    """Nothing fits; the message says why and what to do."""


class Matcher:
    """Answers for one scan of the table; sockets are read at most once in it, and only where
    nothing else tells."""

    def __init__(self, table: Table, processes: Processes) -> None:
        self._table = table
        self._processes = processes
        self._sockets: dict[int, frozenset[int] | None] = {}
        self._own = table.own_line()

    @cached_property
    def _listening(self) -> dict[int, int]:
        return self._processes.listening()

    def listens(self, process: Process) -> bool:
        """Whether the process listens on a TCP port."""
        return bool(self._listeners(process))

    def leads(self, match: MatchConfig) -> list[Process]:
        """The masters and lone processes that ``match`` means; raises :class:`MatchError`."""
        finders: list[tuple[object, Callable[[], list[Process]]]] = [
            (match.pid, lambda: [self._by_pid(match.pid or 0)]),
            (match.pidfile, lambda: [self._by_pid(_read_pidfile(match.pidfile or Path()))]),
            (match.command, lambda: self._by_command(match.command or "")),
            (match.port, lambda: self._by_port(match.port or 0)),
            (match.unit, lambda: self._by_unit(match.unit or "")),
            (match.container, lambda: self._by_container(match.container or "")),
        ]
        return next((find() for given, find in finders if given is not None), [])

    def workers(self, lead: Process) -> list[Process]:
        """The workers below a master, oldest first within each generation."""
        return [
            one
            for one in self._table.descendants(lead.pid)
            if one.pid not in self._own
            and not one.zombie
            and not is_tickbird(one.command)
            and self._of_family(lead, one)
        ]

    def heads(self, found: Iterable[Process]) -> list[Process]:
        """Without wrappers where there is something wrapped, and without workers whose master is
        among ``found`` too; oldest first."""
        some = [one for one in found if not one.zombie]
        services = [one for one in some if one.runtime in _RUNTIMES and not is_wrapper(one.command)]
        some = services or some
        pids = {one.pid: one for one in some}
        heads = [one for one in some if not self._has_master(one, pids)]
        return sorted(heads, key=lambda one: (one.identity.start_ticks, one.pid))

    def _has_master(self, process: Process, among: dict[int, Process]) -> bool:
        above = self._table.ancestors(process.parent) & among.keys()
        return any(self._of_family(among[pid], process) for pid in above)

    def _of_family(self, lead: Process, one: Process) -> bool:
        if one.runtime != lead.runtime:
            return False
        if lead.runtime == "other":
            return one.name == lead.name and one.name not in _SHELLS
        if is_worker_of(lead.command, one.command):
            return True
        shared = self._listeners(lead)
        return bool(shared and shared & (self._listeners(one) or frozenset()))

    def _listeners(self, process: Process) -> frozenset[int] | None:
        """Inodes of the listening sockets that a process holds; None where hidden."""
        if process.pid not in self._sockets:
            found = self._processes.sockets(process.pid)
            self._sockets[process.pid] = None if found is None else found & self._listening.keys()
        return self._sockets[process.pid]

    def _by_pid(self, pid: int) -> Process:
        process = self._table.look(pid)
        if process is None:
            raise MatchError(
                f"no process has pid {pid}; start it, or match it by command, port or pidfile "
                "so that it is found whenever it starts"
            )
        if process.zombie:
            raise MatchError(f"pid {pid} has ended (a zombie that its parent has not collected)")
        if not process.command:
            raise MatchError(
                f"pid {pid} ({process.name}) is a thread of the kernel, with no memory and no "
                "event loop; give the pid of a program"
            )
        if not is_wrapper(process.command):
            return process
        below = [one for one in self._table.descendants(pid) if one.runtime in _RUNTIMES]
        inner = [one for one in below if self._may_be_wrapped(one)]
        return inner[0] if inner else process

    def _may_be_wrapped(self, one: Process) -> bool:
        apart = one.zombie or one.pid in self._own or is_tickbird(one.command)
        return not (apart or is_wrapper(one.command))

    def _others(self) -> list[Process]:
        """All but the agent, what started it, and its like: their arguments hold the service's."""
        return [
            one
            for one in self._table.by_pid.values()
            if one.command and one.pid not in self._own and not is_tickbird(one.command)
        ]

    def _by_command(self, pattern: str) -> list[Process]:
        compiled = re2.compile(pattern)
        fits = [one for one in self._others() if compiled.search(" ".join(one.command))]
        if not fits:
            raise MatchError(
                "no process's command fits match.command; start the service, or compare the "
                "pattern with the command lines that `ps -eo pid,args` shows"
            )
        return self.heads(fits)

    def _by_port(self, port: int) -> list[Process]:
        inodes = {inode for inode, at in self._listening.items() if at == port}
        if not inodes:
            raise MatchError(
                f"nothing listens on port {port}; start the service or correct the port"
            )
        candidates = list(self._table.by_pid.values())
        owners = [one for one in candidates if inodes & (self._listeners(one) or frozenset())]
        if not owners:
            raise MatchError(
                f"port {port} is held by a process of another user, which this one may not see; "
                "run the agent as that user or as root"
            )
        return self.heads(owners)

    def _by_unit(self, unit: str) -> list[Process]:
        names = {unit, f"{unit}.service"}
        return self._by_groups(
            lambda text: any(names & set(line.split("/")) for line in text.splitlines()),
            f"no process runs in unit {unit}; start it with systemctl or correct the name",
        )

    def _by_container(self, prefix: str) -> list[Process]:
        return self._by_groups(
            lambda text: any(found.startswith(prefix) for found in _CONTAINER.findall(text)),
            f"no process visible here runs in container {prefix}; start it, and let the agent "
            "share the host's pid namespace",
        )

    def _by_groups(self, fits: Callable[[str], bool], missing: str) -> list[Process]:
        found = [one for one in self._others() if fits(self._processes.groups(one.pid))]
        if not found:
            raise MatchError(missing)
        return self.heads(found)


def _read_pidfile(path: Path) -> int:
    try:
        with path.open("rb") as file:
            words = file.read(64).split()
    except FileNotFoundError:
        raise MatchError(
            f"pidfile {path} is not there; start the service or correct the path"
        ) from None
    except OSError as error:
        raise MatchError(
            f"pidfile {path}: {error.strerror}; let the agent's user read it"
        ) from None
    if not words or not words[0].isdigit() or len(words[0]) > 7:
        raise MatchError(f"pidfile {path} does not begin with a process id; see what writes it")
    return int(words[0])
