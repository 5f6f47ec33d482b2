"""What the benches of the whole agent share: idle services, their log files, an agent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SERVICE = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(5)
asyncio.run(main())
"""


@contextlib.contextmanager
def services(count: int, mark: str) -> Iterator[list[int]]:
    """Pids of ``count`` asyncio services that do nothing; ``mark`` stands in their arguments."""
    command = [sys.executable, "-S", "-c", _SERVICE, mark]
    running = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield [one.pid for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()


def configure(folder: Path, pids: list[int]) -> Path:
    """A configuration with a target and a log file for each pid; the file."""
    logs = folder / "logs"
    logs.mkdir()
    lines = ["instance: bench", "api: {listen: '127.0.0.1:0'}"]
    lines += ["intake: {otlp_http: '127.0.0.1:0'}", "targets:"]
    for pid in pids:
        (logs / f"{pid}.log").write_text('{"level": "info", "msg": "started"}\n' * 100)
        lines.append(f"- name: s{pid}\n  match: {{pid: {pid}}}\n  logs: ['{logs}/{pid}.log']")
    path = folder / "tickbird.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds since its start and resident bytes of a process."""

    cpu: float
    resident: int


def cost(pid: int) -> Cost:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    ticks = int(stat[11]) + int(stat[12])
    return Cost(ticks / os.sysconf("SC_CLK_TCK"), resident)


def environment(folder: Path) -> dict[str, str]:
    """State and sockets of an agent go below ``folder``, and so does compiled code: a checkout
    may have none, or be told to write none, where an installed package has it."""
    places = {
        "TICKBIRD_STATE_DIR": str(folder / "state"),
        "TICKBIRD_RUNTIME_DIR": str(folder),
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
    }
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **places}


@contextlib.contextmanager
def agent(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``tickbird run`` as a user starts it; ended by its pid."""
    command = [sys.executable, "-m", "tickbird", "run", "-c", str(config)]
    with subprocess.Popen(
        command, env=environment(config.parent), stderr=subprocess.DEVNULL
    ) as running:
        try:
            yield running
        finally:
            running.terminate()
