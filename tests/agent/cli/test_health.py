"""``tickbird health`` against real agents."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from running import TICKBIRD, agent, environment, service, tickbird, until

pytestmark = pytest.mark.e2e


def test_without_an_agent_it_says_how_to_start_one(runtime: Path) -> None:
    done = tickbird(runtime, "health")
    assert done.returncode == 69
    assert "no agent is running" in done.stderr
    assert "tickbird run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_socket_that_was_left_behind_is_no_agent(runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(runtime / "old.sock"))
    assert "no agent is running" in tickbird(runtime, "health").stderr


def test_text_names_the_target_and_fits_the_terminal(shop: Path) -> None:
    done = tickbird(shop, "health")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("shop  python, pid ")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_json_is_the_document_and_nothing_else(shop: Path) -> None:
    until(lambda: _entry(shop)["cpu"]["utilization"], "a second CPU sample")
    entry = _entry(shop)
    assert entry["name"] == "shop"
    assert entry["memory"]["rss_bytes"] > 1e6
    assert entry["fds"]["open"] > 2


def _entry(runtime: Path) -> dict:
    document = json.loads(tickbird(runtime, "health", "--format", "json").stdout)
    assert (document["schema"], document["instance"], document["sink"]) == (1, "one", "recorder")
    return document["targets"][0]


@pytest.mark.parametrize(("form", "begins"), [("md", "# Health"), ("html", "<!doctype html>")])
def test_other_forms(shop: Path, form: str, begins: str) -> None:
    assert tickbird(shop, "report", "--format", form).stdout.startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "soon"], "not a duration"),
        (["--target", "nope"], "choose one of: shop"),
        (["--format", "pdf"], "pdf"),
        (["--api", "ftp://x"], "not the address of an agent"),
    ],
)
def test_wrong_usage_is_one_clear_message(shop: Path, arguments: list[str], says: str) -> None:
    done = tickbird(shop, "health", *arguments)
    assert done.returncode == 64
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_no_agent_has_lists_those_there_are(shop: Path) -> None:
    done = tickbird(shop, "health", "--instance", "two")
    assert (done.returncode, "--instance one" in done.stderr) == (69, True)


def test_several_agents_are_listed_and_one_is_asked_for(tmp_path: Path, runtime: Path) -> None:
    with (
        service() as process,
        agent(runtime, tmp_path, "one", process.pid),
        agent(runtime, tmp_path, "two", process.pid),
    ):
        done = tickbird(runtime, "health")
        assert done.returncode == 64
        assert "--instance one, --instance two" in done.stderr
        chosen = tickbird(runtime, "health", "--instance", "two", "--format", "json")
        assert json.loads(chosen.stdout)["instance"] == "two"


def test_over_tcp_the_token_is_needed(shop: Path, runtime: Path) -> None:
    url, _, token = tickbird(shop, "page").stdout.strip().partition("/?token=")
    refused = tickbird(runtime, "health", "--api", url)
    assert (refused.returncode, "TICKBIRD_TOKEN" in refused.stderr) == (64, True)
    assert tickbird(runtime, "health", TICKBIRD_API=f"{url}?token={token}").returncode == 0
    assert tickbird(runtime, "health", "--api", url, TICKBIRD_TOKEN=token).returncode == 0
    assert tickbird(runtime, "health", "--api", "http://127.0.0.1:9").returncode == 69


def test_an_ended_target_fails_and_fail_on_forgives_what_is_milder(
    tmp_path: Path, runtime: Path
) -> None:
    with service() as process, agent(runtime, tmp_path, "one", process.pid):
        process.kill()
        process.wait()
        until(lambda: tickbird(runtime, "health").returncode == 2, "the end to be seen")
        done = tickbird(runtime, "health")
        assert f"shop: pid {process.pid} ended" in done.stdout
        assert tickbird(runtime, "health", "--fail-on", "warn").returncode == 2


def test_watch_shows_it_again_until_it_is_interrupted(shop: Path) -> None:
    process = subprocess.Popen(
        [*TICKBIRD, "health", "--watch"],
        env=environment(shop),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    rounds = 0
    while rounds < 2:
        rounds += process.stdout.readline().startswith("shop ")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


def test_watched_as_json_it_is_one_document_a_line(shop: Path) -> None:
    process = subprocess.Popen(
        [*TICKBIRD, "health", "--watch", "--format", "json"],
        env=environment(shop),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
    assert [json.loads(line)["schema"] for line in lines] == [1, 1]
