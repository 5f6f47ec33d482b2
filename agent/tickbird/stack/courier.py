"""A short-lived agent that carries a canary: its log file is tailed, its intake takes the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import yaml

from ..config import CollectorConfig
from ..errors import Unreachable
from .canary import SERVICE, Canary, Door, Signal, send
from .site import LOOPBACK

_STOP_WITHIN = 15.0


class Courier:
    """Context manager: the agent runs inside it, and is gone, with its folder, after it.

    Entering raises Unreachable when the agent does not come up within ``timeout`` seconds.
    """

    def __init__(self, collector: CollectorConfig, instance: str, timeout: float) -> None:
        self._collector = collector
        self._instance = instance
        self._timeout = timeout
        self.folder = Path(tempfile.mkdtemp(prefix="tickbird-verify-"))
        self._log = self.folder / "service.log"
        self._intake = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Courier:
        self._log.touch(mode=0o600)
        config, secrets = self._configuration()
        path = self.folder / "tickbird.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        with (self.folder / "agent.log").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "tickbird",
                    "run",
                    "--config",
                    str(path),
                    "--supervisor",
                    str(os.getpid()),
                ],
                env={**os.environ, **secrets},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def carry(self, canary: Canary, what: Signal) -> None:
        """Hand one signal to the agent the way a service would."""
        if what != "log":
            send(canary, what, Door(f"http://{LOOPBACK}:{self._intake}"))
            return
        line = {
            "time": datetime.now(UTC).isoformat(),
            "level": "info",
            "message": canary.text,
            "trace_id": canary.trace_id,
            "span_id": canary.span_id,
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def last_words(self) -> str:
        """The end of what the agent wrote about itself."""
        text = (self.folder / "agent.log").read_text(encoding="utf-8", errors="replace")
        return " | ".join(text.strip().splitlines()[-2:])[-400:]

    def _configuration(self) -> tuple[dict[str, object], Mapping[str, str]]:
        """The agent's configuration, and the secrets that it takes from its environment."""
        collector: dict[str, object] = {"endpoint": self._collector.endpoint}
        secrets = {
            f"TICKBIRD_VERIFY_HEADER_{number}": value.reveal()
            for number, value in enumerate(self._collector.headers.values())
        }
        if secrets:
            collector["headers"] = {
                name: f"${{env:{variable}}}"
                for name, variable in zip(self._collector.headers, secrets, strict=True)
            }
        if tls := self._collector.tls:
            files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
            collector["tls"] = {name: str(path) for name, path in files.items() if path}
        return {
            "instance": self._instance,
            "collector": collector,
            "state_dir": str(self.folder / "state"),
            "api": {"listen": f"{LOOPBACK}:{_free_port()}"},
            "intake": {"otlp_http": f"{LOOPBACK}:{self._intake}"},
            "targets": [{"name": SERVICE, "logs": [str(self._log)]}],
        }, secrets

    def _wait_until_up(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self._timeout
        while time.monotonic() < end:
            if (code := self._process.poll()) is not None:
                raise Unreachable(f"the agent ended with code {code}: {self.last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, self._intake)) == 0:
                    return
            time.sleep(0.05)
        raise Unreachable(
            f"the agent's intake did not open in {self._timeout:.0f} s: {self.last_words()}"
        )

    def _stop(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
