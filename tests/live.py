"""The agent, services and backends as they are in life, for the end-to-end tests."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tickbird
from backends import Stack
from running import TICKBIRD, environment, until
from tickbird.stack import ask

SHOP = Path(__file__).parent / "fixtures" / "services" / "shop.py"
DERIVED = "target_info|ALERTS.*|.*:.*"
"""Names of series that nobody sent."""
EXPORT = 3.0
"""Seconds between two exports of the agents here."""


def free_port() -> int:
    """Below the range of outgoing connections, one of which could take it meanwhile."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def fetch(port: int, path: str = "/") -> str:
    return ask.text(f"http://127.0.0.1:{port}{path}", timeout=5.0)


class Service:
    """A process of a test; ``end`` kills it. Give ``port`` to wait until it answers there."""

    def __init__(
        self,
        command: Sequence[str | Path],
        port: int | None = None,
        environ: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.port = port
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, env=os.environ | (environ or {}), **more)
        if port is not None:
            until(self.answers, f"{words} to answer on {port}")

    @property
    def pid(self) -> int:
        return self.process.pid

    def answers(self) -> bool:
        assert self.process.poll() is None, "the service ended"
        try:
            return bool(fetch(self.port or 0, "/healthz"))
        except ask.Unreachable:
            return False

    def end(self, number: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)


def shop(*words: str, port: int | None = None, environ: dict[str, str] | None = None) -> Service:
    port = port or free_port()
    return Service([sys.executable, SHOP, str(port), *words], port, environ)


class Agent:
    """``tickbird run`` over ``settings`` (a configuration as plain data) in ``folder``, or, with
    ``command``, ``tickbird exec`` of that as service ``name``. What it says goes into a file."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        *,
        command: Sequence[str | Path] = (),
        name: str = "shop",
        program: Sequence[str] = TICKBIRD,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.config = folder / "tickbird.yaml"
        self.log = folder / f"said-{time.monotonic_ns()}"
        self.settings = {
            "state_dir": str(folder / "state"),
            "api": {"listen": "127.0.0.1:0", "token_file": "none"},
            "intake": {"otlp_http": "127.0.0.1:0"},
            "sampling": {"export_interval": f"{EXPORT}s"},
            **settings,
        }
        self.write(self.settings)
        self._exec = bool(command)
        way: list[str | Path] = ["run", "-c", self.config]
        if command:
            way = ["exec", "-c", self.config, "--name", name, "--", *command]
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                [*program, *(str(word) for word in way)],
                env=environment(self.runtime) | (environ or {}),
                stdout=subprocess.DEVNULL,
                stderr=said,
            )

    def write(self, settings: dict[str, Any]) -> None:
        """JSON is YAML too."""
        self.config.write_text(json.dumps(settings))

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def lines(self) -> list[str]:
        return self.said.splitlines()

    def ready(self) -> Agent:
        until(self._greeted, "the agent to greet")
        return self

    def _greeted(self) -> bool:
        assert self.process.poll() is None, f"the agent ended: {self.said}"
        return "page http" in self.said

    @property
    def url(self) -> str:
        found = re.search(r"page (http://\S+),", self.said)
        assert found, self.said
        return found[1]

    def status(self) -> dict[str, Any]:
        return ask.document(f"{self.url}/api/v1/status")

    def health(self) -> dict[str, Any]:
        return ask.document(f"{self.url}/api/v1/health")

    def metrics(self, path: str = "/metrics/self") -> str:
        return ask.text(self.url + path)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command of a person who asks this agent."""
        return subprocess.run(
            [*TICKBIRD, *words],
            env=environment(self.runtime),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self, seconds: float = 12.0) -> int:
        """SIGTERM; the exit code. ``subprocess.TimeoutExpired`` beyond ``seconds``."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def end(self) -> None:
        """Whatever the test left of it: a service of ``exec`` would outlive a kill."""
        if self._exec and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.kill()


def series(stack: Stack, name: str) -> list[dict[str, str]]:
    """Labels of every series of the service that Prometheus has now. A series that ended is not
    among them from its marker on. What Prometheus derives by itself (of the resource, by rules)
    ends when it next looks."""
    selector = f'{{service_name="{name}",__name__!~"{DERIVED}"}}'
    answer = ask.document(f"{stack.prometheus}/api/v1/query", {"query": selector})
    return [one["metric"] for one in answer["data"]["result"]]


def names(stack: Stack, name: str) -> set[str]:
    return {one["__name__"] for one in series(stack, name)}


class Entry(NamedTuple):
    """A line in Loki: its text, its time in ns, and its first byte's place in its file."""

    line: str
    time: int
    offset: int


def loki(stack: Stack, name: str) -> list[Entry]:
    """Every line of the service's that Loki has, up to its 5,000 a question, by time. Events of the
    agent's own, which have no place in a file, are none."""
    found: list[Entry] = []
    now = time.time_ns()
    start = now - 3600 * 10**9
    while True:
        query = {
            "query": f'{{service_name="{name}"}} | tickbird_log_offset != ""',
            "start": str(start),
            "end": str(now + 60 * 10**9),
            "limit": "5000",
            "direction": "forward",
        }
        answer = ask.document(f"{stack.loki}/loki/api/v1/query_range", query, timeout=20.0)
        page = [
            Entry(line, int(when), int(one["stream"]["tickbird_log_offset"]))
            for one in answer["data"]["result"]
            for when, line in one["values"]
        ]
        found += page
        if len(page) < 5000:
            return sorted(set(found), key=lambda one: one.time)
        start = max(one.time for one in page)


class OtherUser:
    """A folder of a user that has no rights, and the words by which that user runs a program.
    Only root can lend it; the machine's own Python, since ours may lie in root's home."""

    PYTHON = "/usr/bin/python3"

    def __init__(self, folder: Path, uid: int) -> None:
        self.folder = folder
        self._uid = uid
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("not on this host: root and setpriv, to run as another user")
        for place in (folder, folder / "run"):
            place.mkdir(mode=0o700, exist_ok=True)
            os.chown(place, uid, uid)
        modules = [path for path in sys.path if path.endswith(("site-packages", "/agent"))]
        path = ":".join([str(Path(tickbird.__file__).parents[1]), *modules])
        self.environ = {"PYTHONPATH": path, "HOME": str(folder)}
        self.python = [*self.prefix(), self.PYTHON]
        check = "import sys, msgspec, tickbird; print(sys.version_info[:2])"
        said = subprocess.run(
            [*self.python, "-c", check],
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if said.stdout.strip() != str(sys.version_info[:2]):
            pytest.skip("not on this host: a Python and a checkout that another user can read")

    def prefix(self) -> list[str]:
        return ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"]

    def agent(self, settings: dict[str, Any]) -> Agent:
        program = [*self.python, "-m", "tickbird"]
        return Agent(self.folder, settings, program=program, environ=self.environ)
