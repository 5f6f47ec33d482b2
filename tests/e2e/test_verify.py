"""`tickbird verify` against the real backends, whole and broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from backends import Stack, until
from tickbird.histogram import HTTP_BOUNDS
from tickbird.stack import ask
from tickbird.stack.canary import Canary, Door, find, send

pytestmark = pytest.mark.backends


def _verify(*arguments: str, home: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if home is not None:
        environment["TICKBIRD_STACK_HOME"] = home
    return subprocess.run(
        [sys.executable, "-m", "tickbird", "verify", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _results(stack_says: str) -> dict[tuple[str, str], dict]:
    signals = json.loads(stack_says)["signals"]
    return {(row["way"], row["signal"]): row for row in signals}


def test_each_signal_is_found_by_both_ways_and_its_time_is_told(stack: Stack) -> None:
    done = _verify("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = _results(done.stdout)
    assert set(results) == {(w, s) for w in ("direct", "agent") for s in ("metric", "log", "span")}
    assert all(row["ok"] and 0 < row["seconds"] < 30 for row in results.values())
    assert json.loads(done.stdout)["proven"] is True


def test_a_person_reads_a_line_per_signal_and_way(stack: Stack) -> None:
    done = _verify()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("ok ")]) == 6
    assert lines[-1].startswith("proven: 6 of 6")


def test_nothing_is_left_of_the_agent_that_carried_the_canary(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = _verify()
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in part for part in process.info["cmdline"] or [])
    ]
    assert left == []


def test_a_killed_loki_is_named_at_once_with_what_to_do(stack: Stack) -> None:
    stack.kill("loki")
    try:
        began = time.monotonic()
        done = _verify()
        assert done.returncode == 2
        assert "Loki: " in done.stderr
        assert "does not answer" in done.stderr
        assert "tickbird stack up --native" in done.stderr
        assert str(stack.log("loki")) in done.stderr
        assert "not proven: no answer from loki" in done.stdout
        assert done.stdout.count("ok ") == 4, "metric and span still arrive by both ways"
        assert time.monotonic() - began < 20
    finally:
        stack.start("loki")
    assert _verify().returncode == 0


def test_a_dead_collector_is_named_as_the_cause_of_everything(stack: Stack) -> None:
    stack.kill("collector")
    try:
        done = _verify("--json")
        assert done.returncode == 2
        results = _results(done.stdout)
        assert all("Collector does not answer" in row["problem"] for row in results.values())
    finally:
        stack.start("collector")


def test_what_the_collector_keeps_for_a_dead_backend_arrives_when_it_is_back(
    stack: Stack,
) -> None:
    canary = Canary()
    stack.kill("jaeger")
    try:
        send(canary, "span", Door(stack.collector))
    finally:
        stack.start("jaeger")
    until(lambda: find(canary, "span", stack.jaeger))


def test_spans_become_metrics_in_seconds_with_the_bounds_of_the_conventions(stack: Stack) -> None:
    send(Canary(), "span", Door(stack.collector))
    query = {"query": 'traces_span_metrics_duration_seconds_bucket{service_name="tickbird-verify"}'}

    def bounds() -> set[float]:
        rows = ask.document(f"{stack.prometheus}/api/v1/query", query)["data"]["result"]
        return {float(row["metric"]["le"]) for row in rows}

    until(lambda: bounds() == {*HTTP_BOUNDS, float("inf")})


def test_a_log_line_is_indexed_by_few_labels_and_carries_the_rest_beside(stack: Stack) -> None:
    canary = Canary()
    send(canary, "log", Door(stack.collector))
    until(lambda: find(canary, "log", stack.loki))
    answer = ask.document(f"{stack.loki}/loki/api/v1/labels")
    allowed = {"service_name", "service_namespace", "deployment_environment_name", "host_name"}
    assert "service_name" in answer["data"]
    # Loki adds its own where it splits a stream.
    assert set(answer["data"]) - {"__stream_shard__", "__time_shard__"} <= allowed


def test_a_configuration_says_where_to_look(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "tickbird.yaml"
    file.write_text(
        f"collector: {{endpoint: '{stack.collector}'}}\n"
        f"backends: {{prometheus: '{stack.prometheus}', loki: '{stack.loki}'}}\n"
    )
    done = _verify("--config", str(file), "--json", home=str(tmp_path))
    results = _results(done.stdout)
    assert results["direct", "metric"]["ok"]
    assert results["direct", "log"]["ok"]
    assert "backends.jaeger" in results["direct", "span"]["remedy"]
    assert done.returncode == 2


def test_a_collector_alone_is_looked_for_among_the_stack_that_is_up_or_asked_for(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "tickbird.yaml"
    file.write_text(f"collector: {{endpoint: '{stack.collector}'}}\n")
    done = _verify("--config", str(file), home=str(tmp_path))
    assert (done.returncode, "set backends.prometheus" in done.stderr) == (64, True)
    names = ("collector", "prometheus", "loki", "jaeger", "alertmanager")
    backends = {name: getattr(stack, name) for name in names}
    (tmp_path / "current.json").write_text(json.dumps({"name": "it", "backends": backends}))
    done = _verify("--config", str(file), home=str(tmp_path))
    assert (done.returncode, "6 of 6" in done.stdout) == (0, True), done.stdout + done.stderr


def test_with_no_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    file = tmp_path / "tickbird.yaml"
    file.write_text(
        "collector: {endpoint: 'http://127.0.0.1:1'}\nbackends: {loki: 'http://127.0.0.1:1'}\n"
    )
    done = _verify("--config", str(file), home=str(tmp_path))
    assert done.returncode == 69
    assert "tickbird stack up --native" in done.stderr
