"""Sets the scene: the services, one agent beside them, and load on them, until it is cleared."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TickbirdError, Unreachable
from ..exec.child import Child
from ..exec.environment import instrumented
from ..exec.sidecar import Sidecar
from ..exec.spool import Spool
from ..net import address, datagrams, listen
from ..paths import bundle, private_folder
from .samples import Service

START_SECONDS = 30.0
STOP_SECONDS = 5.0
LOAD_ENDS = 15.0
"""Seconds that requests under way may take after the last one was sent."""
SPOOL_BYTES = 64 * 1024 * 1024
STALL_SECONDS = 0.1
REQUESTS_PER_SECOND = 40.0
PAGES = ("{}/cart", "POST {}/checkout", "{}/search?q=bird", "{}/items/17", "POST {}/login")

Truth = dict[str, Any]

_BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):  # it may have ended before it was promised
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def bound(command: Sequence[str]) -> list[str]:
    """``command`` so that it ends with this process, however that ends; where the kernel can
    promise it. It stays a process of its own: the first program gives way to it."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command]


class Stage:
    """Use as a context manager: whatever it started has ended when it is left.

    ``folder`` keeps the truth files; ``collector`` is an OTLP/HTTP endpoint, or None for the
    embedded default.
    """

    def __init__(
        self, services: Sequence[Service], seed: int, folder: Path, collector: str | None
    ) -> None:
        self._services = services
        self._seed = seed
        self._folder = private_folder(folder)
        self._collector = collector
        self._token = secrets.token_hex(16)
        self._probe = datagrams()
        self._intake = listen("127.0.0.1", 8426)
        self._children: dict[str, Child] = {}
        self._sidecar: Sidecar | None = None
        self._load: subprocess.Popen[bytes] | None = None
        self.instance = f"demo-{os.getpid()}"

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for service in self._services:
            self._truth_file(service.name).unlink(missing_ok=True)
            self._children[service.name] = self._start_service(service)
        for name, child in self._children.items():
            self._wait_for_port(name, child)
        self._sidecar = Sidecar(
            self._document(),
            self._state / self.instance,
            probe=self._probe,
            intake=self._intake,
            token=self._token,
        )
        self._sidecar.start()

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    def _truth_file(self, name: str) -> Path:
        return self._folder / f"{name}.truth.json"

    def _spool(self, name: str) -> Path:
        return self._state / self.instance / "spool" / name

    def _start_service(self, service: Service) -> Child:
        environment = instrumented(
            {**os.environ, **service.environment},
            name=service.name,
            probe=address(self._probe),
            token=self._token,
            intake=address(self._intake),
            stall=STALL_SECONDS,
        )
        options = ["--seed", str(self._seed), "--port", "0"]
        truth = ["--truth", str(self._truth_file(service.name))]
        spool = Spool(self._spool(service.name), SPOOL_BYTES)
        command = bound([*service.command, *options, *truth])
        child = Child(command, environment, spool)
        child.start()
        return child

    def _wait_for_port(self, name: str, child: Child) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._truth_file(name).is_file() and self.truth(name).get("port"):
                return
            if (code := child.poll()) is not None:
                raise TickbirdError(
                    f"{name} ended at its start (exit code {code})",
                    f"its words are in {self._spool(name)}",
                )
            time.sleep(0.05)
        raise Unreachable(f"{name} did not open its port in {START_SECONDS:g} s")

    def _document(self) -> dict[str, Any]:
        targets = [
            {
                "name": name,
                "match": {"pid": child.pid},
                "logs": [str(self._spool(name) / "*.log")],
                "http": {"url": f"{self._url(name)}/healthz", "interval": "5s"},
                "loop": {"stall_threshold": STALL_SECONDS},
            }
            for name, child in self._children.items()
        ]
        document: dict[str, Any] = {
            "instance": self.instance,
            "service": {"namespace": "demo", "environment": "demo"},
            "state_dir": str(self._state),
            "sampling": {"interval": "1s", "export_interval": "5s"},
            "targets": targets,
        }
        if self._collector:
            document["collector"] = {"endpoint": self._collector}
        return document

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.truth(name)['port']}"

    def truth(self, name: str) -> Truth:
        """What the service itself says that it did, as of half a second ago at most."""
        truth: Truth = json.loads(self._truth_file(name).read_text())
        return truth

    def truths(self) -> Mapping[str, Truth]:
        return {name: self.truth(name) for name in self._children}

    def start_load(self, seconds: float) -> None:
        """Ask every service for its pages, at a fixed rate, for ``seconds``; by a process of its
        own, so that nothing here can hold it up."""
        pages = [page.format(self._url(name)) for name in self._children for page in PAGES]
        rate = REQUESTS_PER_SECOND * len(self._children)
        command = [sys.executable, str(bundle() / "examples" / "load.py")]
        command += ["--rps", str(rate), "--for", str(seconds), *pages]
        self._load = subprocess.Popen(
            bound(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def poll(self) -> str | None:
        """Look after the agent and the services; one line when something ended that should not."""
        for name, child in self._children.items():
            if (code := child.poll()) is not None:
                return f"{name} has ended (exit code {code}); its words are in {self._spool(name)}"
        return self._sidecar.poll() if self._sidecar else None

    def end_load(self) -> None:
        """Wait for the load to end by itself; it is ended when it does not."""
        if self._load is None:
            return
        try:
            self._load.wait(LOAD_ENDS)
        except subprocess.TimeoutExpired:
            self._load.kill()
            self._load.wait()

    def __exit__(self, *_: object) -> None:
        if self._load is not None:
            self._load.kill()
            self._load.wait()
        for child in self._children.values():
            child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            if child.wait(STOP_SECONDS) is None:
                child.send_signal(signal.SIGKILL)
                child.wait()
            child.close()
        if self._sidecar is not None:
            self._sidecar.stop()
        self._probe.close()
        self._intake.close()
        shutil.rmtree(self._state, ignore_errors=True)
