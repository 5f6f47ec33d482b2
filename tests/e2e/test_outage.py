"""What befalls the way to the Collector, or the agent, costs no log line and no request."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends import Stack
from live import DERIVED, Agent, Entry, fetch, free_port, loki, shop
from running import until
from tickbird.stack import ask

pytestmark = [pytest.mark.e2e, pytest.mark.backends]

WRITER = Path(__file__).parents[1] / "fixtures" / "services" / "writer.py"
OUTAGE = 20.0


@pytest.fixture
def name() -> str:
    return f"writer-{uuid4().hex[:8]}"


class Writer:
    """A service under ``tickbird exec`` that writes numbered lines to stdout and into a file."""

    def __init__(self, folder: Path, stack: Stack, name: str) -> None:
        self.folder, self.name, self.stack = folder, name, stack
        self.port = free_port()
        self.wanted = 0
        self.write(100)
        settings = {
            "instance": name,
            "collector": {"endpoint": stack.collector},
            "targets": [{"name": name, "logs": [f"{folder}/app.log"]}],
        }
        command = [sys.executable, "-u", WRITER, folder, self.port]
        self.exec = Agent(folder, settings, name=name, command=command)
        until(self.serves, "the service to answer")

    def write(self, more: int) -> None:
        """So many lines more, to each of the two."""
        self.wanted += more
        draft = self.folder / "wanted.new"
        draft.write_text(str(self.wanted))
        draft.rename(self.folder / "wanted")

    def serves(self) -> bool:
        assert self.exec.process.poll() is None, self.exec.said
        try:
            return fetch(self.port) == "ok"
        except ask.Unreachable:
            return False

    @property
    def agent(self) -> int:
        """Pid of the agent that holds the state folder."""
        lock = self.folder / "state" / self.name / "lock"
        return int(lock.read_text() or 0) if lock.exists() else 0

    def arrived(self) -> list[Entry]:
        return loki(self.stack, self.name)

    def all_arrived(self) -> bool:
        found = {one.line for one in self.arrived()}
        return len(found) == 2 * self.wanted

    def wait(self) -> None:
        """Until every line is in Loki; it fails with what is missing."""
        try:
            until(self.all_arrived, "every line in Loki", 60)
        except AssertionError:
            found = {one.line for one in self.arrived()}
            wanted = {f"{way} {n}" for way in ("out", "file") for n in range(self.wanted)}
            assert sorted(wanted - found)[:20] == [], f"{len(wanted - found)} are missing"
            raise

    def totals(self) -> dict[str, Any]:
        done = self.exec.command("health", "--instance", self.name, "--format", "json")
        logs: dict[str, Any] = json.loads(done.stdout)["targets"][0]["logs"]
        return logs


@pytest.fixture
def writer(tmp_path: Path, stack: Stack, name: str) -> Iterator[Writer]:
    made = Writer(tmp_path, stack, name)
    yield made
    made.exec.stop(30)


def balanced(totals: dict[str, Any]) -> bool:
    final = totals["delivered"] + sum(totals["refused"].values()) + sum(totals["dropped"].values())
    return bool(totals["read"] == final + totals["queued"])


def in_order(found: list[Entry]) -> bool:
    """Whether the place of a line in its file tells the order in which it was written."""
    for way in ("out", "file"):
        mine = [one for one in found if one.line.startswith(way)]
        mine.sort(key=lambda one: (one.time, one.offset))
        numbers = [int(one.line.split()[1]) for one in mine]
        if list(dict.fromkeys(numbers)) != sorted(set(numbers)):
            return False
    return True


def test_row_40_a_collector_that_was_down_costs_no_line(stack: Stack, writer: Writer) -> None:
    writer.wait()
    stack.kill("collector")
    began = time.monotonic()
    try:
        writer.write(1000)
        until(lambda: any("Collector at" in one for one in health_problems(writer)), "the news")
        assert balanced(writer.totals())
        until(lambda: time.monotonic() - began > OUTAGE, "a while without the Collector")
        writer.write(900)
    finally:
        stack.start("collector")
    writer.wait()
    found = writer.arrived()
    assert in_order(found)
    assert max(Counter(one.line for one in found).values()) == 1
    until(lambda: writer.totals()["queued"] == 0, "the last answer to be noted")
    totals = writer.totals()
    assert balanced(totals)
    assert totals["delivered"] == totals["read"] >= 2 * writer.wanted
    assert "tickbird_log_ledger_unbalanced" in own_metrics(writer)
    assert "tickbird_log_ledger_unbalanced 0\n" in unlabelled(own_metrics(writer))


def health_problems(writer: Writer) -> list[str]:
    done = writer.exec.command("health", "--instance", writer.name, "--format", "json")
    return [str(finding) for finding in json.loads(done.stdout)["findings"]]


def own_metrics(writer: Writer) -> str:
    log = (writer.folder / "state" / writer.name / "agent.log").read_text()
    url = re.findall(r"page (http://\S+),", log)[-1]
    return ask.text(f"{url}/metrics/self")


def unlabelled(metrics: str) -> str:
    return re.sub(r"\{[^}]*\}", "", metrics)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_an_agent_that_is_killed_or_stopped_costs_no_request_and_no_line(
    stack: Stack, writer: Writer, blow: int
) -> None:
    writer.wait()
    agent = writer.agent
    os.kill(agent, blow)
    writer.write(500)
    for _ in range(20):
        assert fetch(writer.port) == "ok"
    if blow == signal.SIGSTOP:
        os.kill(agent, signal.SIGCONT)
    else:
        until(lambda: writer.agent not in (0, agent), "another agent")
    writer.wait()
    assert in_order(writer.arrived())
    until(lambda: writer.totals()["queued"] == 0, "the last answer to be noted")
    totals = writer.totals()
    assert balanced(totals)
    assert totals["delivered"] == totals["read"] >= 2 * writer.wanted


class Silent:
    """Accepts every connection and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def asked(self) -> int:
        return len(self._taken)

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()
        for one in self._taken:
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Agent]]:
    agents: list[Agent] = []

    def begin(settings: dict[str, Any]) -> Agent:
        agents.append(Agent(tmp_path, settings))
        return agents[-1].ready()

    yield begin
    for agent in agents:
        agent.kill()


def test_sigterm_ends_in_time_with_a_silent_collector_and_the_next_run_sends_everything(
    stack: Stack,
    name: str,
    tmp_path: Path,
    silent: Silent,
    start: Callable[[dict[str, Any]], Agent],
) -> None:
    log, intake = tmp_path / "app.log", free_port()
    log.write_text("".join(f"file {number}\n" for number in range(1200)))
    service = shop(
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{intake}",
            "OTEL_SERVICE_NAME": name,
        }
    )
    settings = {
        "intake": {"otlp_http": f"127.0.0.1:{intake}"},
        "targets": [{"name": name, "match": {"pid": service.pid}, "logs": [str(log)]}],
    }
    try:
        agent = start({**settings, "collector": {"endpoint": f"http://127.0.0.1:{silent.port}"}})
        until(lambda: silent.asked >= 2, "requests that nobody answers")
        until(lambda: pushed(agent), "telemetry of the service's own SDK")
        logs = logs_of(agent)
        assert (logs["read"], logs["delivered"], logs["queued"]) == (1200, 0, 1200)
        began = time.monotonic()
        assert agent.stop(12) == 0
        assert time.monotonic() - began < 12
    finally:
        service.end()
    assert list((tmp_path / "state" / "default" / "unsent").glob("metrics-*"))
    log_only = {"targets": [{"name": name, "logs": [str(log)]}]}
    again = start({**log_only, "collector": {"endpoint": stack.collector}})
    until(lambda: len(loki(stack, name)) >= 1200, "every line")
    assert Counter(one.line for one in loki(stack, name)) == Counter(log.read_text().splitlines())
    until(lambda: ever(stack, name, "shop_orders_total"), "what the service had pushed")
    # What was pushed while the agent drained belongs to the service as well as the rest does.
    assert len({one["instance"] for one in ever(stack, name, ".+")}) == 1
    assert list((tmp_path / "state" / "default" / "unsent").glob("metrics-*")) == []
    until(lambda: logs_of(again)["queued"] == 0, "the last answer to be noted")
    assert balanced(logs_of(again))
    assert logs_of(again)["delivered"] == 1200


def logs_of(agent: Agent) -> dict[str, Any]:
    logs: dict[str, Any] = agent.health()["targets"][0]["logs"]
    return logs


def pushed(agent: Agent) -> bool:
    found = re.search(r'intake_requests\S*outcome="received"\S* (\d+)', agent.metrics())
    return found is not None and int(found[1]) > 2


def ever(stack: Stack, name: str, metric: str) -> list[dict[str, str]]:
    """Series of the service with a value in the last ten minutes, ended or not."""
    selector = f'{{service_name="{name}",__name__=~"{metric}",__name__!~"{DERIVED}"}}'
    query = {"query": f"last_over_time({selector}[10m])"}
    answer = ask.document(f"{stack.prometheus}/api/v1/query", query)
    return [one["metric"] for one in answer["data"]["result"]]
