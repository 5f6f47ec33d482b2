"""A pid that another process has got is another process: row 58 of the fault catalogue, with a pid
that is really reused, in a pid namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live import Agent
from running import TICKBIRD, until

pytestmark = pytest.mark.e2e

REBORN = Path(__file__).parents[1] / "fixtures" / "services" / "reborn.py"


class Reborn:
    """A service that always has the same pid in its own pid namespace."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, str(REBORN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, seconds: float) -> int:
        """A new one that uses ``seconds`` of CPU; its pid."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            pytest.skip("not on this host: root, to have a pid namespace")
        return int(said)

    def inside(self) -> list[str]:
        """The words by which a program runs among its processes."""
        pid = self._process.pid
        first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        return ["nsenter", "--target", first, "--pid", "--mount"]

    def end(self) -> None:
        """With the first process of a namespace all others in it end."""
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self._process.communicate(timeout=30)


@pytest.fixture
def reborn() -> Iterator[Reborn]:
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("not on this host: root and nsenter, to have a pid namespace")
    made = Reborn()
    yield made
    made.end()


def cpu_seconds(agent: Agent, name: str) -> float:
    """CPU time of the service as ``/metrics`` has it now; 0 where it has none."""
    lines = agent.metrics("/metrics").splitlines()
    found = [one for one in lines if one.startswith("process_cpu_time_seconds_total{")]
    return sum(float(one.split()[-1]) for one in found if f'service_name="{name}"' in one)


def test_a_reused_pid_is_a_restart_by_pidfile_and_a_stranger_by_pid(
    tmp_path: Path, reborn: Reborn
) -> None:
    pid = reborn.start(2.0)
    (pidfile := tmp_path / "pid").write_text(str(pid))
    agent = Agent(
        tmp_path,
        {
            "targets": [
                {"name": "by-file", "match": {"pidfile": str(pidfile)}},
                {"name": "by-pid", "match": {"pid": pid}},
            ]
        },
        program=[*reborn.inside(), *TICKBIRD],
    ).ready()
    try:
        until(lambda: cpu_seconds(agent, "by-file") > 1.5, "the first one's CPU time")
        assert cpu_seconds(agent, "by-pid") > 1.5
        first = entry(agent)
        assert reborn.start(0.1) == pid
        until(lambda: 0 < cpu_seconds(agent, "by-file") < 1, "counting to begin anew")
        until(lambda: "by-pid" in agent.said, "what became of the one that was meant by its pid")
        assert f"by-pid: the process with pid {pid} has ended" in agent.said
        assert cpu_seconds(agent, "by-pid") == 0
        again = entry(agent)
        assert again["pid"] == first["pid"] == pid
        assert again["started_at"] > first["started_at"]
        assert again["service_instance_id"] == first["service_instance_id"]
    finally:
        agent.kill()


def entry(agent: Agent) -> dict[str, Any]:
    return next(one for one in agent.health()["targets"] if one["name"] == "by-file")
