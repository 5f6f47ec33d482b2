"""The five real backends for tests: started once per session, on ports of their own."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from tickbird.stack import build, native
from tickbird.stack.backends import BACKENDS
from tickbird.stack.recipes import RECIPES
from tickbird.stack.site import LOOPBACK, Ports, Site

NOT_BUILT = "the backends are not built: make backends"


def programs() -> dict[str, build.Found]:
    """Every backend's program; the test is skipped (failed under CI=true) without them."""
    found = {name: build.find(recipe) for name, recipe in RECIPES.items()}
    if missing := [name for name, program in found.items() if program is None]:
        pytest.skip(f"{NOT_BUILT} ({', '.join(missing)})")
    return {name: program for name, program in found.items() if program}


def tool(name: str) -> Path:
    """A program that is built beside a backend, such as promtool."""
    found = build.find_tool(name)
    if found is None:
        pytest.skip(f"{NOT_BUILT} ({name})")
    return found


def free_ports() -> Ports:
    """A row of ports that nobody listens on, below the range of outgoing connections."""
    needed = len(fields(Ports))
    for _ in range(100):
        first = random.randrange(20000, 32000 - needed)
        if all(_is_free(first + offset) for offset in range(needed)):
            return Ports.starting_at(first)
    raise RuntimeError("found no row of free ports")


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until ``condition()`` is true; fail the test when it never is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class Stack:
    """A native stack that is up. The base URLs have no slash at their end."""

    site: Site

    @property
    def collector(self) -> str:
        return f"http://{self.site.address('otlp_http')}"

    @property
    def prometheus(self) -> str:
        return f"http://{self.site.address('prometheus')}"

    @property
    def loki(self) -> str:
        return f"http://{self.site.address('loki')}"

    @property
    def jaeger(self) -> str:
        return f"http://{self.site.address('jaeger')}"

    @property
    def alertmanager(self) -> str:
        return f"http://{self.site.address('alertmanager')}"

    @property
    def collector_metrics(self) -> str:
        return f"http://{self.site.address('collector_metrics')}/metrics"

    def pids(self) -> dict[str, int]:
        known = native.recorded(self.site.name)
        assert known is not None
        return {name: running.process.pid for name, running in known[1].items()}

    def log(self, name: str) -> Path:
        return self.site.log(name)

    def kill(self, name: str) -> None:
        """SIGKILL one backend by its own pid."""
        known = native.recorded(self.site.name)
        assert known is not None
        process = known[1][name].process
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not process.alive())

    def start(self, name: str) -> None:
        """Start it again on the same ports and data, and wait until it answers."""
        assert name in {backend.name for backend in BACKENDS}
        native.up(self.site.name, None, programs, lambda _: None)


def running_stack(home: Path) -> Iterator[Stack]:
    """Body of the session fixture: start, hand out, stop."""
    found = programs()
    before = os.environ.get("TICKBIRD_STACK_HOME")
    os.environ["TICKBIRD_STACK_HOME"] = str(home)
    name = f"tests-{os.getpid()}"
    try:
        yield Stack(native.up(name, free_ports(), lambda: found, lambda _: None))
    finally:
        native.down(name, lambda _: None)
        if before is None:
            del os.environ["TICKBIRD_STACK_HOME"]
        else:
            os.environ["TICKBIRD_STACK_HOME"] = before


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0
