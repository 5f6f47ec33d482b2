"""The agent as a process beside the service: started, restarted, ended in time."""

import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickbird.exec.sidecar import Sidecar

STAND_IN = """
import json, os, signal, socket, sys, time
words = sys.argv[1:]
fds = [int(words[words.index(one) + 1]) for one in ("--probe-fd", "--intake-fd")]
names = [socket.socket(fileno=os.dup(fd)).getsockname()[1] for fd in fds]
mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
with open(os.environ["SEEN"], "a") as file:
    seen = {"pid": os.getpid(), "ports": names, "mask": mask, "words": words}
    seen |= {"token": os.environ["TICKBIRD_PROBE_TOKEN"], "session": os.getsid(0)}
    file.write(json.dumps(seen) + "\\n")
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
"""


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, socket.socket() as intake:
        probe.bind(("127.0.0.1", 0))
        intake.bind(("127.0.0.1", 0))
        yield probe, intake


@pytest.fixture
def make(tmp_path: Path, sockets) -> Iterator:
    made: list[Sidecar] = []

    def build(then: str, **document) -> Sidecar:
        sidecar = Sidecar(
            document,
            tmp_path / "state",
            probe=sockets[0],
            intake=sockets[1],
            token="t0ken",
            environ={**os.environ, "SEEN": str(tmp_path / "seen")},
            program=(sys.executable, "-c", STAND_IN + then),
        )
        made.append(sidecar)
        sidecar.start()
        return sidecar

    yield build
    for sidecar in made:
        sidecar.stop(0)


def seen(tmp_path: Path, count: int, poll=lambda: None) -> list[dict]:
    end = time.monotonic() + 10
    lines: list[str] = []
    while len(lines) < count:
        assert time.monotonic() < end, f"only {len(lines)} of {count} started"
        poll()
        time.sleep(0.01)
        if (tmp_path / "seen").exists():
            lines = [one for one in (tmp_path / "seen").read_text().splitlines() if one]
    return [json.loads(line) for line in lines]


def test_the_agent_gets_its_configuration_sockets_and_token(make, tmp_path, sockets) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        sidecar = make("time.sleep(60)", instance="shop")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    (one,) = seen(tmp_path, 1)
    written = tmp_path / "state" / "exec.yaml"
    assert one["words"][:2] == ["-c", str(written)]
    assert one["words"][-2:] == ["--supervisor", str(os.getpid())]
    assert one["ports"] == [sock.getsockname()[1] for sock in sockets]
    assert one["token"] == "t0ken"
    assert one["mask"] == [signal.SIGTERM]  # until it can answer
    assert one["session"] == one["pid"] == sidecar.pid
    assert json.loads(written.read_text()) == {"instance": "shop"}
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(sidecar.log.stat().st_mode) == 0o600


def test_an_agent_that_is_killed_is_started_again_with_the_same_sockets(make, tmp_path) -> None:
    sidecar = make("time.sleep(60)")
    (first,) = seen(tmp_path, 1)
    os.kill(sidecar.pid, signal.SIGKILL)
    told: list[str] = []
    second = seen(tmp_path, 2, lambda: told.extend(filter(None, [sidecar.poll()])))[1]
    assert second["ports"] == first["ports"]
    assert second["pid"] != first["pid"]
    assert len(told) == 1
    assert "signal 9" in told[0]


def test_restarts_slow_down_and_are_told_once(make, tmp_path) -> None:
    sidecar = make("sys.exit('error: no luck')")
    told: list[str] = []
    began = time.monotonic()
    seen(tmp_path, 3, lambda: told.extend(filter(None, [sidecar.poll()])))
    assert time.monotonic() - began >= 1.5
    assert told == ["the agent ended (exit code 1) and is started again: error: no luck"]


def test_a_wrong_configuration_is_not_tried_again(make, tmp_path) -> None:
    sidecar = make("print('  error: bad key'); sys.exit(78)")
    told: list[str] = []
    end = time.monotonic() + 10
    while not told:
        assert time.monotonic() < end
        told.extend(filter(None, [sidecar.poll()]))
        time.sleep(0.01)
    assert "not started again" in told[0]
    assert "error: bad key" in told[0]
    assert sidecar.pid is None


def test_stop_asks_first_also_an_agent_that_is_stopped(make, tmp_path) -> None:
    sidecar = make("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)")
    seen(tmp_path, 1)
    os.kill(sidecar.pid, signal.SIGSTOP)
    began = time.monotonic()
    sidecar.stop(10)
    assert time.monotonic() - began < 8
    assert sidecar.pid is None


def test_stop_ends_an_agent_that_does_not_listen_at_the_deadline(make, tmp_path) -> None:
    sidecar = make(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.environ['SEEN'], 'a').write('{}\\n')\n"
        "time.sleep(60)"
    )
    seen(tmp_path, 2)
    pid = sidecar.pid
    began = time.monotonic()
    sidecar.stop(0.3)
    assert 0.25 < time.monotonic() - began < 5
    assert not Path(f"/proc/{pid}").exists()
