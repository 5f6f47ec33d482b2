"""The life of ``tickbird exec``: sockets, service, agent, signals, end."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..commands import runtime_of, service_name
from ..errors import TickbirdError
from ..net import address
from .beside import link, start_agent
from .child import Child
from .environment import instrumented
from .place import claim, leave, load, only_target

if TYPE_CHECKING:
    from ..config import Config
    from .sidecar import Sidecar

_FORWARDED = {
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
}
_IMPATIENT = {signal.SIGINT, signal.SIGTERM}
_FROM_TERMINAL = 0x80
"""SI_KERNEL."""
_ROUND = 0.5
_DRAIN = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """The words after ``tickbird exec``."""

    command: tuple[str, ...]
    config: Path | None = None
    name: str | None = None
    offline: bool = False


def run(options: Options, say: Callable[[str], None]) -> int:
    """Run the service to its end; return its exit code. ``say`` tells a person one line."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    base = load(options.config)
    name = options.name or only_target(base) or _name_of(options.command)
    place = claim(base, name, say)
    joined = link(base)
    env = instrumented(
        os.environ,
        name=name,
        probe=address(joined.probe),
        token=joined.token,
        intake=address(joined.intake),
        stall=_stall(base, name),
    )
    child = Child(options.command, env, place.spool, (1, 2), mask=set(map(signal.Signals, mask)))
    try:
        child.start()
    except TickbirdError:
        leave(place)
        raise
    sidecar = None
    if place.spool:
        sidecar = start_agent(
            options.config, place, child.pid, joined, say, offline=options.offline
        )
    try:
        code = _follow(child, sidecar, say)
    finally:
        child.close()
        if sidecar:
            while signal.sigtimedwait(_FORWARDED, 0):
                pass  # what ended the service is not meant for the draining agent
            sidecar.stop(_DRAIN, lambda: bool(signal.sigpending() & _IMPATIENT))
    _account(child, say)
    return code


def _follow(child: Child, sidecar: Sidecar | None, say: Callable[[str], None]) -> int:
    """Hand on signals and look after the agent until the service has ended."""
    while (code := child.poll()) is None:
        found = signal.sigtimedwait(_FORWARDED | {signal.SIGCHLD}, _ROUND)
        if found and found.si_signo != signal.SIGCHLD and not _has_it_already(found):
            child.send_signal(found.si_signo)
        if sidecar and (line := sidecar.poll()):
            say(line)
        _bury_strays({child.pid, sidecar.pid if sidecar else None})
    return code


def _bury_strays(own: Container[int | None]) -> None:
    """The first process of a container inherits every orphan in it; one that has ended keeps its
    place in the process table until its parent asks for its exit code."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid not in own:
        os.waitpid(ended.si_pid, 0)


def _has_it_already(found: signal.struct_siginfo) -> bool:
    """The terminal sends its signals to the whole process group, the service included. Only when
    it hangs up, the leader of its session alone is told."""
    led = found.si_signo == signal.SIGHUP and os.getsid(0) == os.getpid()
    return found.si_code == _FROM_TERMINAL and not led


def _name_of(command: tuple[str, ...]) -> str:
    runtime = runtime_of("", command)
    return service_name(command, Path.cwd(), runtime)


def _stall(base: Config | None, name: str) -> float:
    targets = base.targets if base else ()
    return next((one.loop.stall_threshold for one in targets if one.name == name), 0.1)


def _account(child: Child, say: Callable[[str], None]) -> None:
    if child.not_spooled:
        say(f"{child.not_spooled} lines of output were not kept: the spool was full")
    if child.not_shown:
        say(f"{child.not_shown} bytes of output were not shown: nobody read them in time")


def stderr_line(text: str) -> None:
    """To our own stderr, unless a reader that does not read would make us wait."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        if poll.poll(0):
            os.write(2, f"tickbird: {text}\n".encode(errors="replace"))
    except OSError:
        return


def exit_as(code: int) -> None:
    """Leave at once: a thread that hangs on a blocked terminal must not keep us."""
    sys.stdout.flush()
    os._exit(code)
