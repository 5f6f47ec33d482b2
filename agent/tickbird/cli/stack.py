"""``tickbird stack``: the backends on this machine."""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import asdict
from typing import Annotated

import typer

from ..errors import TickbirdError, UsageError
from ..stack import build as programs
from ..stack import compose, native
from ..stack.backends import BACKENDS
from ..stack.recipes import RECIPES
from ..stack.site import Ports, Site, current_name, site
from .output import coloured, note, say, say_json

GROUP = typer.Typer(
    no_args_is_help=True,
    help=(
        "Start, stop and look at the backends."
        "\n\n"
        "They are the Collector, Prometheus, Loki, Jaeger and Alertmanager. With a container "
        "engine they run by docker compose (Grafana too); without one, or with --native, as "
        "processes of this machine, on loopback only."
    ),
)


class NoStack(TickbirdError):
    exit_code = 2


Name = Annotated[
    str, typer.Option("--name", help="Which stack: each has its own data, logs and ports.")
]
Native = Annotated[
    bool, typer.Option("--native", help="Processes of this machine, also where an engine is.")
]
Build = Annotated[
    bool, typer.Option("--build", help="Build missing programs from source without asking.")
]


@GROUP.command("up")
def up(
    name: Name = "default",
    as_processes: Native = False,
    ports_from: Annotated[
        int | None,
        typer.Option("--ports-from", metavar="N", help="Listen on N and the ports after it."),
    ] = None,
    build: Build = False,
) -> int:
    """Start the backends and wait until each answers a real query.

    What runs already stays as it is; what has ended is started again. `tickbird verify` then
    proves the whole path. An agent sends here when its configuration says so:
    `collector: {endpoint: http://127.0.0.1:4318}`, or by `tickbird demo --stack`.
    """
    if ports_from is None and not as_processes and compose.engine_answers():
        compose.up(name, note)
        say("the stack is up; prove it with: tickbird verify")
        return 0
    known = native.recorded(name)
    whole = known is not None and all(
        backend.name in known[1] and known[1][backend.name].process.alive() for backend in BACKENDS
    )
    if whole:
        note(f"the stack {name!r} is up already")
    ports = Ports.starting_at(ports_from) if ports_from is not None else None
    place = native.up(name, ports, lambda: programs.obtain(note, _agree(build)), note)
    say(f"the stack is up; OTLP/HTTP on {place.backends().collector}, data in {place.folder}")
    say("prove it with: tickbird verify")
    return 0


@GROUP.command("down")
def down(name: Name = "default", as_processes: Native = False) -> int:
    """Stop every backend; their data stays for the next `up`."""
    if native.recorded(name) is None and not as_processes and compose.engine_answers():
        compose.down(name)
        return 0
    stopped = native.down(name, note)
    say(f"stopped {stopped} backends" if stopped else f"the stack {name!r} is not up")
    return 0


@GROUP.command("status")
def status(
    name: Name = "default",
    as_processes: Native = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Say which backends answer, with version, address, pid and memory; exit 2 unless all do."""
    if native.recorded(name) is None and not as_processes and compose.engine_answers():
        kind, states = "compose", compose.status(name)
    else:
        kind, states = "native", native.status(name)
    whole = bool(states) and all(state.up for state in states)
    if kind == "native" and not as_json:
        _require(site(name, Ports()))
    if as_json:
        say_json(
            {"schema": 1, "name": name, "kind": kind, "up": whole}
            | {"backends": [asdict(state) for state in states]}
        )
        return 0 if whole else 2
    for state in states:
        say(_line(state))
    if not whole:
        note("start what is down with: tickbird stack up")
    return 0 if whole else 2


@GROUP.command("logs")
def logs(
    backend: Annotated[
        str | None, typer.Argument(help="collector, prometheus, alertmanager, loki or jaeger.")
    ] = None,
    name: Name = "default",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines.")] = 20,
) -> int:
    """Print the last lines that the backends wrote about themselves."""
    names = [known.name for known in BACKENDS]
    if backend is not None and backend not in names:
        raise UsageError(f"there is no backend {backend!r}", f"one of: {', '.join(names)}")
    if native.recorded(name) is None and compose.engine_answers():
        compose.logs(name, backend, lines)
        return 0
    place = site(name, Ports())
    _require(place)
    for wanted in [backend] if backend else names:
        log = place.log(wanted)
        say(coloured(f"== {wanted} ({log})", "bold"))
        if log.is_file():
            with log.open(encoding="utf-8", errors="replace") as file:
                for line in deque(file, maxlen=lines):
                    say(line.rstrip("\n"))
    return 0


def _require(place: Site) -> None:
    """Raises ``NoStack`` unless a native stack was started there at some time."""
    if not place.folder.is_dir():
        named = "" if place.name == "default" else f" --name {place.name}"
        start = f"start it with: tickbird stack up --native{named}"
        up = current_name()
        raise NoStack(
            f"there is no stack {place.name!r} here",
            f"add --name {up} for the one that is up, or {start}" if up else start,
        )


@GROUP.command("build")
def build_programs(build: Build = False) -> int:
    """Get the backends' programs: from PATH, else built from source into the cache (about 26
    minutes on two cores the first time, seconds afterwards)."""
    for name, found in programs.obtain(note, _agree(build)).items():
        say(f"{RECIPES[name].title} {found.version} ({found.origin}): {found.program}")
    return 0


def _agree(build: bool) -> programs.Agree:
    """Who says yes to a build: the option, CI, else the person at the terminal."""

    def agree(question: str) -> bool:
        if build or os.environ.get("CI") == "true":
            note(question)
            return True
        return sys.stdin.isatty() and typer.confirm(f"{question}. Build now?", err=True)

    return agree


def _line(state: native.State) -> str:
    mark = coloured("up  ", "ok") if state.up else coloured("down", "fail")
    if not state.up:
        return f"{mark} {state.name:<13} {state.problem} (log: {state.log})"
    memory = f", {state.memory_bytes / 1e6:.0f} MB" if state.memory_bytes else ""
    pid = f", pid {state.pid}" if state.pid else ""
    return f"{mark} {state.name:<13} {state.version}, {state.url}{pid}{memory}"
