"""What must hold before anything is sent to a process: each gate that is closed has its reason and
its remedy. Looking (``look``) and judging (``refusal``) are two functions; the second is pure."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field, replace

from ..commands import script_of
from ..linux import proc, sockdiag
from . import libuv

YOUNG = 5.0
"""Seconds after its start within which a Node may still be making itself ready."""
_PORT = 9229
_HOST = "127.0.0.1"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PORT_OPTIONS = ("--inspect-port", "--debug-port")
_INSPECT = ("--inspect", "--inspect-brk", "--inspect-wait")
_PERMISSION = ("--permission", "--experimental-permission")


@dataclass(frozen=True, slots=True)
class Refusal:
    """``again``: it may be otherwise later."""

    reason: str
    remedy: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What /proc and libuv's memory tell of one process. ``None`` is not known."""

    pid: int
    start_ticks: int
    age: float
    """Seconds."""
    state: str
    """Letter of /proc/PID/stat."""
    tracer: int = 0
    inner_pid: int = 0
    """Its pid as it sees it itself."""
    readable: bool = True
    """Whether this user may see its files and options."""
    node: bool = True
    same_network: bool = True
    catches: bool = True
    """Whether SIGUSR1 has a handler, Node's or its own."""
    own_handler: bool | None = False
    unseen: str = ""
    """Why ``own_handler`` is not known."""
    options: tuple[str, ...] = ()
    """Those of its command line before the script, and NODE_OPTIONS."""
    listening: dict[int, int] = field(default_factory=dict)
    """Port by socket inode of every listener here."""
    own: frozenset[int] = frozenset()
    """Inodes of its own sockets."""

    @property
    def debug_port(self) -> int:
        """Where its inspector will listen; 0 is any free port."""
        return _address(self.options)[1]


def look(pid: int) -> Facts | None:
    """None when there is no such process (any more)."""
    try:
        stat = proc.parse_stat(proc.read_once(f"/proc/{pid}/stat"))
        status = _status(proc.read_once(f"/proc/{pid}/status"))
    except (proc.GoneError, ValueError):
        return None
    bare = Facts(
        pid=pid,
        start_ticks=stat.start_ticks,
        age=time.clock_gettime(time.CLOCK_BOOTTIME) - stat.start_ticks / proc.TICKS,
        state=stat.state,
        tracer=int(status.get("TracerPid", "0")),
        inner_pid=int(status.get("NSpid", str(pid)).split()[-1]),
        catches=_has(status, "SigCgt") and not _has(status, "SigBlk"),
    )
    try:
        return _closely(bare)
    except (PermissionError, proc.DeniedError):
        return replace(bare, readable=False)
    except (FileNotFoundError, ProcessLookupError, proc.GoneError):
        return None


def _closely(bare: Facts) -> Facts:
    folder = f"/proc/{bare.pid}"
    if not libuv.is_node(bare.pid):
        return replace(bare, node=False)
    own_handler, unseen = None, ""
    try:
        own_handler = signal.SIGUSR1 in libuv.handled_signals(bare.pid)
    except libuv.Unseen as error:
        unseen = str(error)
    return replace(
        bare,
        same_network=os.readlink(f"{folder}/ns/net") == os.readlink("/proc/self/ns/net"),  # noqa: PTH115
        own_handler=own_handler,
        unseen=unseen,
        options=options(bare.pid),
        listening=sockdiag.listening() or {},
        own=own_sockets(bare.pid),
    )


def _status(data: bytes) -> dict[str, str]:
    lines = data.decode("utf-8", "replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _has(status: dict[str, str], mask: str) -> bool:
    return bool(int(status.get(mask, "0"), 16) >> (signal.SIGUSR1 - 1) & 1)


def own_sockets(pid: int) -> frozenset[int]:
    """Inodes of the open sockets of a process; empty when it has ended."""
    found = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    link = os.readlink(entry.path)  # noqa: PTH115 - many
                except OSError:
                    continue
                if link.startswith("socket:["):
                    found.add(int(link[8:-1]))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return frozenset(found)


def options(pid: int) -> tuple[str, ...]:
    """Of the command line before the script, and of NODE_OPTIONS."""
    words = tuple(
        proc.read_once(f"/proc/{pid}/cmdline", 65_536).decode(errors="replace").split("\0")
    )
    script = script_of(words)
    own = words[1 : words.index(script)] if script in words[1:] else words[1:]
    environ = proc.read_once(f"/proc/{pid}/environ", 1 << 20).decode(errors="replace").split("\0")
    given = next((v for v in environ if v.startswith("NODE_OPTIONS=")), "")
    return (*given.removeprefix("NODE_OPTIONS=").split(), *own)


def _address(options: tuple[str, ...]) -> tuple[str, int]:
    """Host and port of the inspector, the last that was asked for."""
    host, port = _HOST, _PORT
    for number, word in enumerate(options):
        name, _, value = word.partition("=")
        if name in _PORT_OPTIONS:
            value = value or next(iter(options[number + 1 :]), "")
            before, _, last = value.rpartition(":")
            host = before.strip("[]") or host
            port = int(last) if last.isdigit() else port
    return host, port


def refusal(facts: Facts) -> Refusal | None:
    """Why nothing may be sent to this process; None when every gate is open."""
    for gate in (_alive, _permitted, _is_node, _reachable, _configured, _debugged, _signal, _port):
        if (found := gate(facts)) is not None:
            return found
    return None


def _alive(facts: Facts) -> Refusal | None:
    if facts.state in "ZX":
        return Refusal("it has ended", "watch the process that took its place")
    if facts.state in "Tt":
        return Refusal("it is stopped", f"let it go on: kill -CONT {facts.pid}", again=True)
    if facts.tracer:
        return Refusal(
            f"process {facts.tracer} debugs or traces it",
            "end that first (gdb, strace)",
            again=True,
        )
    return None


def _permitted(facts: Facts) -> Refusal | None:
    if facts.readable:
        return None
    return Refusal(
        "it belongs to another user, or has more rights than this one",
        "run the agent as that user, or as root",
    )


def _is_node(facts: Facts) -> Refusal | None:
    if facts.node:
        return None
    return Refusal("it is not Node.js", "leave out --inject (loop.method: auto) for other programs")


def _reachable(facts: Facts) -> Refusal | None:
    if facts.same_network:
        return None
    return Refusal(
        "it lives in another network namespace, as in a container",
        "run the agent in the same one: as a sidecar of its pod, or with --network container:NAME",
    )


def _configured(facts: Facts) -> Refusal | None:
    given = {word.partition("=")[0] for word in facts.options}
    if "--disable-sigusr1" in given:
        return Refusal(
            "it was started with --disable-sigusr1", "start it without, or by tickbird exec"
        )
    if given.intersection(_PERMISSION) and "--allow-inspector" not in given:
        return Refusal(
            "it was started with --permission, which keeps its inspector shut",
            "start it by tickbird exec",
        )
    if given.intersection(_INSPECT):
        return Refusal(
            "it was started with --inspect: its inspector is its owner's",
            "start it without, or by tickbird exec",
        )
    if "--inspect-publish-uid" in given:
        return Refusal(
            "it was started with --inspect-publish-uid, which may hide where its inspector answers",
            "start it without, or by tickbird exec",
        )
    if (host := _address(facts.options)[0]) not in _LOOPBACK:
        return Refusal(
            f"its inspector would listen on {host}, where other machines reach it",
            "start it without a host in --inspect-port, or by tickbird exec",
        )
    return None


def _debugged(facts: Facts) -> Refusal | None:
    port = facts.debug_port
    if not port or all(facts.listening[inode] != port for inode in facts.own & {*facts.listening}):
        return None
    return Refusal(
        f"its inspector is open already, on port {port}: somebody debugs it",
        "end that first",
        again=True,
    )


def _signal(facts: Facts) -> Refusal | None:
    if not facts.catches:
        return Refusal(
            "SIGUSR1, by which Node opens its inspector, is blocked or would end it",
            "try again when it has started" if facts.age < YOUNG else "start it by tickbird exec",
            again=facts.age < YOUNG,
        )
    if facts.own_handler is None:
        return Refusal(
            "whether it handles SIGUSR1 itself cannot be told: " + facts.unseen,
            "run the agent as root, or start the service by tickbird exec",
        )
    if facts.own_handler:
        return Refusal(
            "it handles SIGUSR1 itself, so the signal would not open its inspector",
            "start it by tickbird exec",
        )
    return None


def _port(facts: Facts) -> Refusal | None:
    port = facts.debug_port
    if not port or port not in facts.listening.values():
        return None
    return Refusal(
        f"port {port}, on which its inspector would listen, is taken by another process",
        f"see who has it: ss -ltnp 'sport = :{port}'; end a debugger that is left over",
        again=True,
    )
