"""The agent's life under signals, as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running import TICKBIRD, environment, until

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an agent on this test's own process; its words are in ``said``."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(more: str = "") -> subprocess.Popen[bytes]:
        write(tmp_path, more)
        with (tmp_path / "said").open("ab") as said:
            command = [*TICKBIRD, "run", "-c", str(tmp_path / "tickbird.yaml")]
            process = subprocess.Popen(command, stderr=said, env=environment(tmp_path))
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def write(folder: Path, more: str) -> None:
    (folder / "tickbird.yaml").write_text(
        f"state_dir: {folder}\napi: {{listen: 127.0.0.1:0}}\nintake: {{otlp_http: 127.0.0.1:0}}\n"
        f"targets: [{{name: shop, match: {{pid: {os.getpid()}}}}}]\n{more}\n"
    )


def said(folder: Path) -> str:
    return (folder / "said").read_text()


def ready(folder: Path) -> None:
    until(lambda: "page http" in said(folder), "the agent to greet")


@pytest.mark.parametrize("after", [0.0, 0.1, 0.2, 0.3, 0.5])
def test_a_signal_at_any_moment_of_the_start_ends_it_without_a_traceback(
    start: Start, tmp_path: Path, after: float
) -> None:
    process = start()
    time.sleep(after)  # not to wait for something: the moment is what is tested
    process.terminate()
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in said(tmp_path)


def test_more_signals_while_it_stops_change_nothing(start: Start, tmp_path: Path) -> None:
    process = start("collector: {endpoint: 'http://127.0.0.1:9'}")
    ready(tmp_path)
    process.terminate()
    until(lambda: "stopping" in said(tmp_path), "the agent to stop")
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
    assert process.wait(15) == 0
    assert "Traceback" not in said(tmp_path)


def test_hangups_in_a_row_are_each_answered_and_stop_nothing(start: Start, tmp_path: Path) -> None:
    process = start()
    ready(tmp_path)
    for times in (1, 2, 3):
        process.send_signal(signal.SIGHUP)
        until(
            lambda times=times: said(tmp_path).count("configuration reloaded") == times,
            "the reload to be told",
        )
    assert process.poll() is None


def test_a_reload_that_would_change_what_is_fixed_is_refused_and_says_so(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    ready(tmp_path)
    write(tmp_path, "redact: {keys: [card_number]}")
    process.send_signal(signal.SIGHUP)
    until(lambda: "redact: takes a restart to change" in said(tmp_path), "the refusal")
    assert "configuration reloaded" not in said(tmp_path)


def test_a_host_that_was_suspended_makes_one_gap_and_no_burst(start: Start, tmp_path: Path) -> None:
    process = start("sampling: {interval: 100ms}")
    ready(tmp_path)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)  # the suspension
    process.send_signal(signal.SIGCONT)
    until(lambda: missed(tmp_path) >= 10, "the missed ticks to be counted")
    assert missed(tmp_path) < 100
    assert "Traceback" not in said(tmp_path)


def missed(folder: Path) -> int:
    found = re.search(r"page http://([\d.]+):(\d+)", said(folder))
    assert found
    connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=5)
    connection.request("GET", "/metrics/self")
    text = connection.getresponse().read().decode()
    connection.close()
    counted = re.search(r"(?m)^tickbird_agent_missed_ticks_total\{.*\} (\d+)", text)
    assert counted, text
    return int(counted[1])
