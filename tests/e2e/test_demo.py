"""The demo is the main job, end to end: what it says must be what the services did."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

SEEDS = (1, 2, 3, 4, 5)


def demo(tmp_path, *options, seconds=20, environ=None):
    command = [sys.executable, "-m", "tickbird", "demo", "--for", f"{seconds}s", *options]
    home = {"TICKBIRD_STATE_DIR": str(tmp_path)}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=170,
        env=os.environ | home | (environ or {}),
    )


@pytest.fixture(scope="module", params=SEEDS)
def run(request, tmp_path_factory):
    done = demo(tmp_path_factory.mktemp("demo"), "--json", "--seed", str(request.param))
    return done, json.loads(done.stdout)


def test_everything_the_agent_says_is_what_the_services_noted(run):
    done, document = run
    wrong = [claim for claim in document["demo"]["claims"] if not claim["holds"]]
    assert wrong == []
    assert done.returncode == 0
    assert len(document["demo"]["claims"]) == 11 * len(document["targets"])


def test_nothing_that_was_measured_is_null_or_zero(run):
    _, document = run
    assert document["schema"] == 1
    assert document["sink"] == "recorder"
    expected = {"demo-python"} | ({"demo-node"} if shutil.which("npm") else set())
    assert {entry["name"] for entry in document["targets"]} == expected
    for entry in document["targets"]:
        assert entry["cpu"]["utilization"] > 0
        assert entry["memory"]["rss_bytes"] > 1_000_000
        assert entry["loop"]["delay_seconds"]["max"] >= 0.15
        assert entry["loop"]["utilization"] > 0
        assert entry["loop"]["windows"]
        assert entry["http"]["requests"] > 100
        assert len(entry["http"]["routes"]) >= 5
        assert all(route["p99_seconds"] > 0 for route in entry["http"]["routes"])
        assert entry["logs"]["delivered"] > 100


def test_the_books_of_the_logs_add_up(run):
    _, document = run
    for entry in document["targets"]:
        logs = entry["logs"]
        final = logs["delivered"] + sum(logs["refused"].values()) + sum(logs["dropped"].values())
        assert logs["read"] == final + logs["queued"]


def test_without_node_the_python_service_is_shown_alone(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env"):
        (folder / name).symlink_to(shutil.which(name))
    done = demo(tmp_path, "--json", "--seed", "1", seconds=20, environ={"PATH": str(folder)})
    document = json.loads(done.stdout)
    assert [entry["name"] for entry in document["targets"]] == ["demo-python"]
    assert "Node.js is not installed" in done.stderr


@pytest.mark.parametrize("how_long", ["never", "1s", "15s", "-5s"])
def test_a_time_that_makes_no_sense_is_a_usage_error(tmp_path, how_long):
    done = subprocess.run(
        [sys.executable, "-m", "tickbird", "demo", f"--for={how_long}"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 64
    assert "--for" in done.stderr
    assert "Traceback" not in done.stderr
