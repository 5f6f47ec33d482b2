"""What ended is gone from the real Prometheus at once, and nothing arrives there twice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends import Stack
from live import EXPORT, SHOP, Agent, Service, fetch, free_port, names, series, shop
from running import until
from tickbird.stack import ask

pytestmark = [pytest.mark.e2e, pytest.mark.backends]

PROCESS = "process_memory_usage_bytes"
CHECK = "httpcheck_status"
SCRAPED = "shop_requests_total"
PUSHED = "shop_orders_total"
PUSHED_HISTOGRAM = "shop_order_duration_seconds_bucket"
LOOP = "tickbird_eventloop_iteration_duration_seconds_bucket"
HTTP = "http_server_request_duration_seconds_bucket"


@pytest.fixture
def name() -> str:
    """A service name of this test alone: all tests share one Prometheus."""
    return f"shop-{uuid4().hex[:8]}"


@pytest.fixture
def start(tmp_path: Path, stack: Stack) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def begin(settings: dict[str, Any], **more: Any) -> Agent:
        settings = {"collector": {"endpoint": stack.collector}, **settings}
        agents.append(Agent(tmp_path, settings, **more))
        return agents[-1].ready() if "command" not in more else agents[-1]

    yield begin
    for agent in agents:
        agent.end()


class Watched:
    """A service that has every kind of telemetry, and the agent that watches it by pid."""

    def __init__(self, name: str, start: Callable[..., Agent]) -> None:
        intake, port = free_port(), free_port()
        self.name = name
        self.service = shop(
            port=port,
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{intake}",
                "OTEL_SERVICE_NAME": name,
            },
        )
        self.agent = start(
            {
                "intake": {"otlp_http": f"127.0.0.1:{intake}"},
                "targets": [
                    {
                        "name": name,
                        "match": {"pid": self.service.pid},
                        "http": {"url": f"http://127.0.0.1:{port}/healthz", "interval": "1s"},
                        "scrape": {"url": f"http://127.0.0.1:{port}/metrics", "interval": "1s"},
                    }
                ],
            }
        )


@pytest.fixture
def watched(name: str, start: Callable[..., Agent]) -> Iterator[Watched]:
    made = Watched(name, start)
    yield made
    made.service.end()


def wait_for(stack: Stack, name: str, wanted: set[str], port: int | None = None) -> None:
    def there() -> bool:
        if port is not None:
            fetch(port)
        return wanted <= names(stack, name)

    try:
        until(there, f"{wanted} in Prometheus")
    except AssertionError:
        assert names(stack, name) >= wanted
        raise


def gone(stack: Stack, name: str, but: Callable[[str], bool] = lambda _: False) -> None:
    """Within two export intervals there is nothing of the service any more."""

    def left() -> set[str]:
        return {metric for metric in names(stack, name) if not but(metric)}

    try:
        until(lambda: not left(), "staleness", 2 * EXPORT)
    except AssertionError:
        assert left() == set()


ALL = {PROCESS, CHECK, SCRAPED, PUSHED, PUSHED_HISTOGRAM, HTTP}


def test_every_kind_of_series_ends_with_its_process(stack: Stack, watched: Watched) -> None:
    wait_for(stack, watched.name, ALL, watched.service.port)
    watched.service.end()
    # The health address and the scrape go on: that nobody answers there is the news.
    gone(stack, watched.name, lambda metric: metric.startswith(("httpcheck_", "scrape_", "up")))
    assert CHECK in names(stack, watched.name)


def test_every_kind_of_series_ends_with_the_agent(stack: Stack, watched: Watched) -> None:
    wait_for(stack, watched.name, ALL, watched.service.port)
    assert watched.agent.stop() == 0
    gone(stack, watched.name)


def test_the_loop_and_the_requests_of_an_exec_service_end_with_it(
    stack: Stack, name: str, start: Callable[..., Agent]
) -> None:
    port = free_port()
    agent = start({}, name=name, command=[sys.executable, SHOP, port, "own-http"])
    wait_for_port(agent, port)
    wait_for(stack, name, {PROCESS, LOOP, HTTP, PUSHED}, port)
    agent.stop()
    gone(stack, name)


def wait_for_port(agent: Agent, port: int) -> None:
    def answers() -> bool:
        assert agent.process.poll() is None, agent.said
        try:
            return bool(fetch(port, "/healthz"))
        except ask.Unreachable:
            return False

    until(answers, "the service to answer")


def test_requests_that_the_probe_and_the_sdk_both_measure_are_there_once(
    stack: Stack, name: str, start: Callable[..., Agent]
) -> None:
    port = free_port()
    agent = start({}, name=name, command=[sys.executable, SHOP, port, "own-http"])
    wait_for_port(agent, port)
    wait_for(stack, name, {LOOP, HTTP, PUSHED}, port)
    counts = [
        one for one in series(stack, name) if one["__name__"] == HTTP.replace("bucket", "count")
    ]
    assert len(counts) == 1, counts
    agent.stop()


def test_no_two_series_differ_only_by_who_measured(stack: Stack, watched: Watched) -> None:
    wait_for(stack, watched.name, ALL, watched.service.port)
    fetch(watched.service.port or 0, "/")
    who = ("tickbird_eventloop_method", "otel_scope_name", "otel_scope_version", "source")
    same = Counter(
        frozenset((key, value) for key, value in one.items() if key not in who)
        for one in series(stack, watched.name)
    )
    assert [dict(key) for key, count in same.items() if count > 1] == []
    assert len({one["instance"] for one in series(stack, watched.name)}) == 1


BURN = """
import time
end = time.process_time() + float({seconds})
while time.process_time() < end: pass
time.sleep(600)
"""


def cpu(stack: Stack, name: str) -> float:
    """Seconds of CPU that the service has used, as Prometheus knows them; 0 while unknown."""
    query = {"query": f'sum(process_cpu_time_seconds_total{{service_name="{name}"}})'}
    found = ask.document(f"{stack.prometheus}/api/v1/query", query)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def test_a_restarted_service_keeps_its_series_and_counts_anew(
    stack: Stack, name: str, start: Callable[..., Agent], tmp_path: Path
) -> None:
    pidfile = tmp_path / "shop.pid"
    first = Service([sys.executable, "-c", BURN.format(seconds=2)])
    pidfile.write_text(str(first.pid))
    start({"targets": [{"name": name, "match": {"pidfile": str(pidfile)}}]})
    until(lambda: cpu(stack, name) >= 1.9, "the first one's CPU time")  # in whole ticks
    before = {tuple(sorted(one.items())) for one in series(stack, name)}
    first.end()
    second = Service([sys.executable, "-c", BURN.format(seconds=0.1)])
    try:
        pidfile.write_text(str(second.pid))
        until(lambda: 0 < cpu(stack, name) < 1, "counting to begin anew")
        until(lambda: len(series(stack, name)) >= len(before), "every series again")
        assert {tuple(sorted(one.items())) for one in series(stack, name)} == before
    finally:
        second.end()
