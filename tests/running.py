"""Real agents and services as processes of their own, and the command line to ask them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TICKBIRD = [sys.executable, "-m", "tickbird"]
WAIT = 30.0


def environment(runtime: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKBIRD_")}
    kept.pop("DISPLAY", None)
    kept.pop("WAYLAND_DISPLAY", None)
    return kept | {"TICKBIRD_RUNTIME_DIR": str(runtime), "COLUMNS": "80"}


def tickbird(runtime: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*TICKBIRD, *arguments],
        env=environment(runtime) | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until(true: Callable[[], object], what: str, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}"
        time.sleep(0.05)


@contextmanager
def service() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does a little now and then."""
    code = "import time\nwhile True: sum(range(200_000)); time.sleep(0.05)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def agent(runtime: Path, state: Path, instance: str, pid: int) -> Iterator[str]:
    """An agent on one pid; gives the line with which it greets, once it answers."""
    config = state / f"{instance}.yaml"
    config.write_text(
        f"instance: {instance}\nstate_dir: {state}\n"
        "api: {listen: 127.0.0.1:0}\nintake: {otlp_http: 127.0.0.1:0}\n"
        f"targets: [{{name: shop, match: {{pid: {pid}}}}}]\n"
    )
    log = state / f"{instance}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*TICKBIRD, "run", "-c", str(config)], stderr=said, env=environment(runtime)
        )
    try:
        until(lambda: "page http" in log.read_text(), f"agent {instance} to greet")
        yield log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT)
