import dataclasses
import json
import subprocess
import sys

import pytest

from tickbird.catalogue import instruments, problems
from tickbird.model import Instrument, Kind
from tickbird.names import prometheus_label, prometheus_name

GOOD = Instrument("a.b", Kind.COUNTER, "s", "Says what it is.", ("c.d",))


def test_everything_that_is_declared_keeps_the_rules():
    found = instruments()
    assert len(found) > 40
    assert [one.name for one in found] == sorted(one.name for one in found)
    for name in ("process.cpu.time", "nodejs.eventloop.delay.max", "up", "tickbird.agent.cpu.time"):
        assert name in {one.name for one in found}


def test_the_same_declaration_twice_is_no_problem():
    assert problems([GOOD, dataclasses.replace(GOOD)]) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"unit": "By"}, "in two ways"),
        ({"kind": Kind.GAUGE}, "in two ways"),
        ({"name": "A.b"}, "lower-case"),
        ({"name": "a..b"}, "lower-case"),
        ({"name": "a.b2", "unit": "ms"}, "base unit"),
        ({"name": "a.b2", "unit": "{Two Words}"}, "base unit"),
        ({"name": "a.b2", "help": ""}, "says nothing"),
        ({"name": "a.b2", "bounds": (1.0,)}, "histogram"),
        ({"name": "a.b2", "kind": Kind.HISTOGRAM}, "histogram"),
        ({"name": "a.b2", "kind": Kind.HISTOGRAM, "bounds": (2.0, 1.0)}, "do not rise"),
        ({"name": "a.b2", "labels": ("x", "x")}, "twice"),
        ({"name": "a_b"}, "same Prometheus name"),
    ],
)
def test_a_wrong_declaration_is_named(wrong, said):
    found = problems([GOOD, dataclasses.replace(GOOD, **wrong)])
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    ("name", "kind", "unit", "expected"),
    [
        ("process.cpu.time", Kind.COUNTER, "s", "process_cpu_time_seconds_total"),
        ("process.cpu.utilization", Kind.GAUGE, "1", "process_cpu_utilization_ratio"),
        ("process.memory.usage", Kind.UPDOWN, "By", "process_memory_usage_bytes"),
        ("process.thread.count", Kind.UPDOWN, "{thread}", "process_thread_count"),
        ("process.context_switches", Kind.COUNTER, "{s}", "process_context_switches_total"),
        ("httpcheck.status", Kind.UPDOWN, "1", "httpcheck_status"),
        ("disk.io", Kind.COUNTER, "By/s", "disk_io_bytes_per_second_total"),
        ("requests.total", Kind.COUNTER, "", "requests_total"),
        ("ratio.of.things", Kind.GAUGE, "1", "of_things_ratio"),
        ("uptime.seconds", Kind.GAUGE, "s", "uptime_seconds"),
        ("9lives", Kind.GAUGE, "", "_9lives"),
        ("up", Kind.GAUGE, "", "up"),
        ("http_requests", Kind.COUNTER, "", "http_requests_total"),
        ("job:rate5m", Kind.GAUGE, "", "job:rate5m"),
        (
            "http.server.request.duration",
            Kind.HISTOGRAM,
            "s",
            "http_server_request_duration_seconds",
        ),
    ],
)
def test_names_arrive_in_prometheus_as_expected(name, kind, unit, expected):
    assert prometheus_name(Instrument(name, kind, unit, "")) == expected


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("http.request.method", "http_request_method"),
        ("a--b", "a_b"),
        ("1st", "key_1st"),
        ("__reserved__", "__reserved__"),
    ],
)
def test_labels_arrive_in_prometheus_as_expected(attribute, expected):
    assert prometheus_label(attribute) == expected


def command(*arguments: str) -> str:
    code = (
        "from tickbird.cli.catalogue import catalogue; import sys; catalogue('--json' in sys.argv)"
    )
    full = [sys.executable, "-c", code, *arguments]
    return subprocess.run(full, capture_output=True, text=True, check=True).stdout


def test_the_command_lists_everything_for_people_and_programs():
    document = json.loads(command("--json"))
    assert document["schema"] == 1
    assert len(document["instruments"]) == len(instruments())
    cpu = next(one for one in document["instruments"] if one["name"] == "process.cpu.time")
    assert cpu["prometheus_name"] == "process_cpu_time_seconds_total"
    assert cpu["labels"] == ["cpu.mode"]
    assert "process_cpu_time_seconds_total{cpu_mode}" in command()
