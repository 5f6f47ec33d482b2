"""The life of ``tickbird exec``: sockets, service, agent, signals, end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import signal
import socket
import sys
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..commands import runtime_of, service_name
from ..errors import CannotCreate, TickbirdError
from ..net import address, datagrams, listen
from ..paths import private_folder, state_home
from .child import Child
from .environment import instrumented
from .spool import Spool

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
_SPOOL_SIZE = 1024**3
_MOST_OF_A_NAME = 100
_INTAKE_PORT = 8426
_LOCK = "exec.lock"


@dataclass(frozen=True, slots=True)
class Options:
    """The words after ``tickbird exec``."""

    command: tuple[str, ...]
    config: Path | None = None
    name: str | None = None
    offline: bool = False


class Place(NamedTuple):
    """Where a service's things lie: the instance's state folder, and the spool in it if any."""

    name: str
    folder: Path
    spool: Spool | None


class Link(NamedTuple):
    """What joins the service's probe and SDK to whichever agent runs."""

    probe: socket.socket
    intake: socket.socket
    token: str


def run(options: Options, say: Callable[[str], None]) -> int:
    """Run the service to its end; return its exit code. ``say`` tells a person one line."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    base = _load(options.config)
    name = options.name or _only_target(base) or _name_of(options.command)
    place = _place(base, name, say)
    intake = listen(*(base.intake.otlp_http if base else ("127.0.0.1", _INTAKE_PORT)))
    link = Link(datagrams(), intake, secrets.token_urlsafe(16))
    env = instrumented(
        os.environ,
        name=name,
        probe=address(link.probe),
        token=link.token,
        intake=address(intake),
        stall=_stall(base, name),
    )
    child = Child(options.command, env, place.spool, (1, 2), mask=set(map(signal.Signals, mask)))
    try:
        child.start()
    except TickbirdError:
        _leave(place)
        raise
    sidecar = _start_agent(options, place, child.pid, link, say) if place.spool else None
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


def _start_agent(
    options: Options, place: Place, pid: int, link: Link, say: Callable[[str], None]
) -> Sidecar | None:
    """The service runs by now, so whatever is wrong here costs one line and nothing else."""
    try:
        # Costs more time than all before it, which the service has not waited for.
        from .document import document_for  # noqa: PLC0415
        from .sidecar import Sidecar  # noqa: PLC0415

        document = document_for(
            options.config, place.name, place.folder, pid, offline=options.offline
        )
        sidecar = Sidecar(
            document, place.folder, probe=link.probe, intake=link.intake, token=link.token
        )
        sidecar.start()
    except (TickbirdError, OSError) as error:
        say(f"the service runs without its agent: {error}")
        return None
    return sidecar


def _load(path: Path | None) -> Config | None:
    """Only a file that was asked for is read before the service starts: if it is wrong, the
    service does not start at all."""
    if path is None:
        return None
    from .. import config  # noqa: PLC0415 - see above

    return config.load(path)


def _only_target(base: Config | None) -> str | None:
    return base.targets[0].name if base and len(base.targets) == 1 else None


def _name_of(command: tuple[str, ...]) -> str:
    runtime = runtime_of("", command)
    return service_name(command, Path.cwd(), runtime)


def _instance(base: Config | None, name: str) -> str:
    """Each service of ``exec`` has an agent, so an instance, of its own."""
    return name if base is None or base.instance == "default" else base.instance


def _place(base: Config | None, name: str, say: Callable[[str], None]) -> Place:
    """The instance's state folder and the service's spool. Two services of one name run beside
    each other, so a folder in use makes the next number the instance."""
    home = base.state_dir if base else state_home()
    size = base.spool.size if base else _SPOOL_SIZE
    instance = _instance(base, name)
    try:
        for number in range(1, _MOST_OF_A_NAME):
            folder = home / (instance if number == 1 else f"{instance}-{number}")
            if _claim(private_folder(folder)):
                private_folder(folder / "spool")
                return Place(name, folder, Spool(folder / "spool" / name, size))
        why = f"{number} services named {name} run already; give another --name"
    except CannotCreate as error:
        why = str(error)
    say(f"the service runs without its agent, and its output is not kept: {why}")
    return Place(name, home / instance, None)


def _leave(place: Place) -> None:
    """Nothing ran: no folder stays, unless an earlier run has left something in it."""
    if place.spool is None:
        return
    with contextlib.suppress(OSError):
        place.spool.folder.rmdir()
        place.spool.folder.parent.rmdir()
        if os.listdir(place.folder) == [_LOCK]:  # noqa: PTH208 - names only
            (place.folder / _LOCK).unlink()
            place.folder.rmdir()


def _claim(folder: Path) -> bool:
    """Whether the folder is ours now. The lock ends with this process, so the file stays open."""
    try:
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreate(f"cannot write in {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


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
