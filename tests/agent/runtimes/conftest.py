"""Real services with the real probes in them, and a socket that takes what they send."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tickbird
from tickbird.sources.probe import LiveStall, Report, parse

RUNTIMES = Path(tickbird.__file__).parent / "runtimes"
TOKEN = "a-token-of-this-test"


class Launched:
    """A process that was started as `tickbird exec` starts one."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.reports: list[Report] = []
        self.live: list[tuple[LiveStall, float]] = []
        """What the watchdog said, and when it arrived (Unix seconds)."""
        self.largest = 0
        self.stderr = ""
        address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        probe = {"TICKBIRD_PROBE": address, "TICKBIRD_PROBE_TOKEN": TOKEN}
        self.process = subprocess.Popen(
            command, env={**os.environ, **probe, **env}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def receive(self) -> None:
        """Take what has arrived; wait a moment for the first."""
        try:
            while True:
                datagram = self._socket.recv(65_535)
                report = parse(datagram)
                assert report is not None, datagram
                assert report.token == TOKEN
                if isinstance(report, LiveStall):
                    self.live.append((report, time.time()))
                    continue
                self.reports.append(report)
                self.largest = max(self.largest, len(datagram))
        except TimeoutError:
            return

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            self.receive()

    def finish(self, seconds: float = 30) -> str:
        """Wait for the process to end by itself; returns what it wrote to stdout."""
        self.until(lambda: self.process.poll() is not None, seconds)
        self.receive()
        out, self.stderr = self.process.communicate()
        assert self.process.returncode == 0, self.stderr
        return out

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._socket.close()


@pytest.fixture
def launched() -> Iterator[Callable[..., Launched]]:
    started: list[Launched] = []

    def launch(command: list[str], **env: str) -> Launched:
        started.append(Launched(command, env))
        return started[-1]

    yield launch
    for one in started:
        one.close()


@pytest.fixture
def node(tmp_path: Path, launched: Callable[..., Launched]) -> Callable[..., Launched]:
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs Node.js on PATH")

    def run(source: str, **env: str) -> Launched:
        script = tmp_path / "service.cjs"
        script.write_text(source)
        options = f"--require={RUNTIMES}/node/probe.cjs"
        return launched([program, str(script)], NODE_OPTIONS=options, **env)

    return run


@pytest.fixture
def python(tmp_path: Path, launched: Callable[..., Launched]) -> Callable[..., Launched]:
    def run(source: str, *path: Path, **env: str) -> Launched:
        script = tmp_path / "service.py"
        script.write_text(source)
        folders = os.pathsep.join([f"{RUNTIMES}/python", *map(str, path)])
        return launched([sys.executable, str(script)], PYTHONPATH=folders, **env)

    return run
