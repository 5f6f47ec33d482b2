"""Loops from outside, as people ask for them: of workers together, before and during a stall, and
within the agent's budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import Stack
from conftest import NOT_ON_THIS_HOST
from live import Agent, free_port
from running import tickbird, until
from tickbird.linux.tracepoints import IDS_VARIABLE
from tickbird.stack import ask
from tickbird.testing import tracepoint_ids

pytestmark = pytest.mark.e2e
SERVICES = Path(__file__).parents[1] / "fixtures" / "services"
STALL = 3.0

STALLS_ONCE = """
import asyncio, sys, time
async def main():
    end = time.monotonic() + 14
    while time.monotonic() < end:
        await asyncio.sleep(0.01)
        sum(range(20_000))
    print(time.time(), flush=True)
    time.sleep(3.0)
    print("over", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
BUSY = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(0.001)
asyncio.run(main())
"""


@pytest.fixture
def ids() -> dict[str, str]:
    """The environment of an agent that can trace loops."""
    if os.geteuid() != 0 or (known := tracepoint_ids()) is None:
        pytest.skip(f"{NOT_ON_THIS_HOST} root and tracefs, to trace loops")
    return {IDS_VARIABLE: known}


@pytest.fixture
def services() -> Iterator[Any]:
    """Starts a service in a session of its own, and ends it with all its workers."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        words = [sys.executable, *command]
        more: dict[str, Any] = {"cwd": SERVICES, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(words, start_new_session=True, **more)
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def agents(tmp_path: Path, ids: dict[str, str]) -> Iterator[Any]:
    started: list[Agent] = []

    def start(**settings: Any) -> Agent:
        started.append(Agent(tmp_path, settings, environ=ids).ready())
        return started[-1]

    yield start
    for agent in started:
        agent.end()


def test_a_gunicorn_master_with_four_uvicorn_workers_is_four_loops_and_one_roll_up(
    tmp_path: Path, services, ids
) -> None:
    # without the control socket, which is a loop of the master's and a file in the user's home
    worker = ["--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "4"]
    worker.append("--no-control-socket")
    at = f"127.0.0.1:{free_port()}"
    master = services("-m", "gunicorn", *worker, "--bind", at, "blocker:app")
    while not master.stdout.readline().startswith("["):  # a worker has told of its first block
        assert master.poll() is None
    done = tickbird(tmp_path, "attach", str(master.pid), "--for", "6s", "--json", **ids)
    found = json.loads(done.stdout)
    (entry,) = found["targets"]
    assert entry["pid"] == master.pid
    loops = [worker["loop"] for worker in entry["workers"]]
    assert [(loop["method"], loop["exact"]) for loop in loops] == [("trace", True)] * 4
    (service,) = found["services"]
    (together,) = service["loops"]
    assert together["keys"] == [worker["key"] for worker in entry["workers"]]
    assert together["stalls"] == sum(len(loop["stalls"]) for loop in loops) >= 4 * 5
    longest = [loop["delay_seconds"]["max"] for loop in loops]
    assert together["delay_seconds"]["max"] == max(longest)
    assert together["worst"] == entry["workers"][longest.index(max(longest))]["key"]
    blocked = sum(loop["blocked_seconds"] for loop in loops)
    assert together["blocked_seconds"] == pytest.approx(blocked)
    quantiles = [loop["delay_seconds"]["p90"] for loop in loops]
    assert min(quantiles) <= together["delay_seconds"]["p90"] <= max(quantiles)


def test_a_stall_is_shown_while_it_lasts_and_the_ten_seconds_before_it_afterwards(
    services, agents
) -> None:
    service = services("-c", STALLS_ONCE)
    agent = agents(targets=[{"name": "shop", "match": {"pid": service.pid}}])

    def stalls() -> list[dict[str, Any]]:
        (entry,) = agent.health()["targets"]
        return [s for s in (entry["loop"] or {"stalls": []})["stalls"] if s["start"] > began - 1]

    began = float(service.stdout.readline())
    late = 0.0
    while not any(stall["ongoing"] for stall in stalls()):
        asked = time.time()
        assert asked - began < STALL
        time.sleep(0.01)
        late = max(late, time.time() - asked - 0.01)
    seen = time.time() - began
    assert seen <= 0.3 + late, f"shown {seen:.3f} s after it began; sleeps are {late:.3f} s late"
    assert service.stdout.readline() == "over\n"
    until(lambda: stalls() and not stalls()[0]["ongoing"], "the end of the stall")
    (stall,) = stalls()
    assert stall["duration_seconds"] == pytest.approx(STALL, abs=0.3)
    assert (stall["cause"], stall["certainty"]) == ("blocking call", "measured")
    before = stall["before"]
    assert [window["start"] for window in before] == [int(began) - n for n in range(10, -1, -1)]
    for known in ("cpu_utilization", "rss_bytes", "delay_max_seconds", "utilization"):
        seconds = [window[known] for window in before if window[known] is not None]
        assert len(seconds) >= 8, known  # one that a slow machine sampled late is the next one's
        assert all(value > 0 for value in seconds), known
    assert all((window["delay_max_seconds"] or 0) < STALL for window in before[:-1])


def test_an_agent_that_is_starved_of_its_budget_traces_less_and_says_so(services, agents) -> None:
    busy = services("-c", BUSY)
    match = {"pid": busy.pid}
    targets = [{"name": "busy", "match": match}]
    agent = agents(targets=targets, budget={"cpu": "0.02%"})

    def sheds() -> list[dict[str, Any]]:
        findings = agent.health()["findings"]
        return [f for f in findings if f["check"] == "agent_budget" and "traced" in f["title"]]

    until(sheds, "the agent to trace less", 60)
    (finding,) = sheds()
    assert finding["status"] == "warn"
    assert finding["evidence"]["traced_ratio"] <= 0.5
    assert agent.health()["agent"]["traced_ratio"] <= 0.5
    assert "tickbird_agent_traced_ratio" in agent.metrics()
    # what is missed meanwhile is said
    until(lambda: _loop(agent)["error_seconds"] > 0.5, "a window that missed something", 60)
    assert _loop(agent)["method"] == "trace"


@pytest.mark.backends
def test_each_stall_is_a_record_in_loki_with_its_cause(services, agents, stack: Stack) -> None:
    name = f"blocker-{os.getpid()}"
    service = services("blocker.py")
    collector = {"endpoint": stack.collector}
    agents(targets=[{"name": name, "match": {"pid": service.pid}}], collector=collector)

    def records() -> list[tuple[dict[str, str], str]]:
        query = {
            "query": f'{{service_name="{name}"}} | event_name="tickbird.eventloop.stall"',
            "start": str(time.time_ns() - 600 * 10**9),
            "limit": "1000",
        }
        found = ask.document(f"{stack.loki}/loki/api/v1/query_range", query)["data"]["result"]
        return [(one["stream"], line) for one in found for _, line in one["values"]]

    def both_causes() -> bool:
        causes = {stream["tickbird_eventloop_cause"] for stream, _ in records()}
        return "blocking call" in causes and bool(causes & {"cpu", "starved"})

    until(both_causes, "stalls by computing and by sleeping in Loki", 60)
    for stream, line in records():
        assert stream["tickbird_eventloop_method"] == "trace"
        assert stream["severity_text"] == "WARN"
        assert line.startswith("the event loop was blocked for ")
        if stream["tickbird_eventloop_cause"] == "blocking call":
            assert "nanosleep" in stream["tickbird_eventloop_call"]


def _loop(agent: Agent) -> dict[str, Any]:
    """Empty before the first window."""
    loop: dict[str, Any] | None = agent.health()["targets"][0]["loop"]
    return loop or {"error_seconds": 0.0, "windows": []}
