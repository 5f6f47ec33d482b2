"""`tickbird stack` by its command line, with the real backends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from backends import Stack, free_ports, programs, until
from tickbird.stack import ask
from tickbird.stack.backends import BACKENDS

NAMES = {backend.name for backend in BACKENDS}


def _cli(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tickbird", "stack", *arguments],
        env={**os.environ, "TICKBIRD_STACK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _status(home: Path, name: str) -> dict:
    return json.loads(_cli(home, "status", "--native", "--json", "--name", name).stdout)


@pytest.mark.backends
def test_a_stack_comes_up_heals_and_goes_without_leaving_a_process(tmp_path: Path) -> None:
    programs()
    ports = ("--native", "--ports-from", str(free_ports().otlp_grpc))
    try:
        up = _cli(tmp_path, "up", "--name", "own", *ports)
        assert up.returncode == 0, up.stderr
        for backend in BACKENDS:
            assert f"{backend.title} " in up.stderr, "progress names each backend"
        first = {row["name"]: row for row in _status(tmp_path, "own")["backends"]}
        assert set(first) == NAMES
        assert all(row["up"] and row["version"] and row["memory_bytes"] for row in first.values())
        assert stat.S_IMODE((tmp_path / "own" / "stack.json").stat().st_mode) == 0o600

        psutil.Process(first["jaeger"]["pid"]).kill()
        psutil.wait_procs([psutil.Process(first["jaeger"]["pid"])], timeout=10)
        broken = _cli(tmp_path, "status", "--native", "--name", "own")
        assert broken.returncode == 2
        assert "down jaeger" in broken.stdout

        again = _cli(tmp_path, "up", "--name", "own", "--native")
        assert again.returncode == 0, again.stderr
        second = {row["name"]: row for row in _status(tmp_path, "own")["backends"]}
        kept = {name for name in NAMES if first[name]["pid"] == second[name]["pid"]}
        assert kept == NAMES - {"jaeger"}
        assert first["jaeger"]["url"] == second["jaeger"]["url"]

        third = _cli(tmp_path, "up", "--name", "own", "--native")
        assert "up already" in third.stderr
        assert "caller" in _cli(tmp_path, "logs", "loki", "--name", "own").stdout
    finally:
        pids = [row["pid"] for row in _status(tmp_path, "own")["backends"] if row["pid"]]
        down = _cli(tmp_path, "down", "--name", "own", "--native")
    assert down.returncode == 0, down.stderr
    assert len(pids) == 5
    assert not [pid for pid in pids if _runs(pid)]
    assert not (tmp_path / "current.json").exists()
    assert _cli(tmp_path, "status", "--native", "--name", "own").returncode == 2
    assert "is not up" in _cli(tmp_path, "down", "--native", "--name", "own").stdout


@pytest.mark.backends
def test_a_start_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    programs()
    record = tmp_path / "default" / "stack.json"
    first = str(free_ports().otlp_grpc)
    starting = subprocess.Popen(
        [sys.executable, "-m", "tickbird", "stack", "up", "--native", "--ports-from", first],
        env={**os.environ, "TICKBIRD_STACK_HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    until(lambda: record.exists() and len(json.loads(record.read_text())["processes"]) == 5)
    pids = [row["pid"] for row in json.loads(record.read_text())["processes"].values()]
    starting.send_signal(signal.SIGINT)
    assert starting.wait(60) == 130
    assert not [pid for pid in pids if _runs(pid)]
    assert not record.exists()


@pytest.mark.backends
def test_what_is_built_is_named_and_not_built_again(tmp_path: Path) -> None:
    programs()
    done = _cli(tmp_path, "build")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(BACKENDS)
    assert "building" not in done.stderr


@pytest.mark.e2e
def test_a_taken_port_exits_73_names_the_holder_and_says_how_to_move(tmp_path: Path) -> None:
    ports = free_ports()
    with socket.create_server(("127.0.0.1", ports.loki)):
        done = _cli(tmp_path, "up", "--native", "--ports-from", str(ports.otlp_grpc))
    assert done.returncode == 73
    assert f"{ports.loki} (Loki" in done.stderr
    assert "--ports-from" in done.stderr
    assert not (tmp_path / "default" / "stack.json").exists()


@pytest.mark.e2e
def test_wrong_use_is_told_as_such(tmp_path: Path) -> None:
    assert _cli(tmp_path, "up", "--native", "--ports-from", "80").returncode == 64
    assert _cli(tmp_path, "down", "--native", "--name", "../x").returncode == 64
    assert _cli(tmp_path, "logs", "graphite").returncode == 64


@pytest.mark.backends
def test_only_loopback_is_listened_on(stack: Stack) -> None:
    addresses = {
        connection.laddr.ip
        for pid in stack.pids().values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


@pytest.mark.backends
def test_prometheus_scrapes_every_backend_and_has_loaded_every_rule(stack: Stack) -> None:
    wanted = {"prometheus", "collector", "loki", "jaeger", "alertmanager"}

    def jobs() -> set[str]:
        answer = ask.document(f"{stack.prometheus}/api/v1/query", {"query": "up == 1"})
        return {row["metric"]["job"] for row in answer["data"]["result"]}

    until(lambda: wanted <= jobs())
    groups = ask.document(f"{stack.prometheus}/api/v1/rules")["data"]["groups"]
    assert {group["name"] for group in groups} == {"loop", "requests", "agent", "stack"}
    names = ask.document(f"{stack.prometheus}/api/v1/label/__name__/values")["data"]
    assert {"otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity"} <= set(names)


@pytest.mark.backends
def test_the_watchdog_reaches_alertmanager(stack: Stack) -> None:
    def alerts() -> list[str]:
        said = json.loads(ask.text(f"{stack.alertmanager}/api/v2/alerts"))
        return [alert["labels"]["alertname"] for alert in said]

    until(lambda: "Watchdog" in alerts())
    assert alerts().count("Watchdog") == 1


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
