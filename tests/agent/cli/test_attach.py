"""``tickbird attach`` on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from running import TICKBIRD, environment, service, tickbird, until
from tickbird.health.render import flat

pytestmark = pytest.mark.e2e


def test_json_tells_of_the_process_and_nothing_is_left_behind(
    runtime: Path, tmp_path: Path
) -> None:
    with service() as process:
        done = tickbird(
            runtime, "attach", str(process.pid), "--for", "3s", "--json", TMPDIR=str(tmp_path)
        )
    document = json.loads(done.stdout)
    (entry,) = document["targets"]
    assert entry["pid"] == process.pid
    assert entry["cpu"]["utilization"] > 0
    assert entry["memory"]["rss_bytes"] > 1e6
    assert done.returncode == {"ok": 0, "warn": 1, "fail": 2, "unknown": 3}[document["status"]]
    assert done.stderr == ""
    assert list(runtime.iterdir()) == []
    assert list(tmp_path.glob("tickbird-*")) == []


def test_text_shows_lines_while_it_watches_and_ends_with_the_report(runtime: Path) -> None:
    with service() as process:
        done = tickbird(runtime, "attach", str(process.pid), "--for", "3s")
    assert "rss " in done.stderr
    assert f"pid {process.pid}" in done.stdout
    assert done.stdout.rstrip().endswith("kept in memory (no Collector)")


def test_several_processes_are_watched_together(runtime: Path) -> None:
    with service() as one, service() as two:
        pids = [str(one.pid), str(two.pid)]
        done = tickbird(runtime, "attach", *pids, "--for", "2s", "--json")
    entries = flat(json.loads(done.stdout))
    assert {str(entry["pid"]) for entry in entries} == set(pids)


def test_a_file_of_the_folder_it_is_called_in_does_not_pass_for_a_module(
    runtime: Path, tmp_path: Path
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('not me')")
    with service() as process:
        done = subprocess.run(
            [Path(sys.executable).with_name("tickbird"), "attach", str(process.pid), "--for", "1s"],
            env=environment(runtime),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"pid {process.pid}" in done.stdout, done.stderr


def test_its_agent_does_not_outlive_an_attach_that_is_killed(runtime: Path) -> None:
    with service() as process:
        attach = subprocess.Popen(
            [*TICKBIRD, "attach", str(process.pid), "--for", "100s"],
            env=environment(runtime),
            stderr=subprocess.DEVNULL,
        )
        until(lambda: list(runtime.glob("attach-*.sock")), "the agent's socket")
        attach.kill()
        attach.wait()
        until(lambda: not list(runtime.glob("attach-*.sock")), "the end of the agent")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["4194304"], "there is no process 4194304"),
        (["0"], "0 is no process"),
        (["1", "--for", "soon"], "not a duration"),
        (["one"], "valid integer"),
    ],
)
def test_what_cannot_be_watched_is_one_clear_line(
    runtime: Path, arguments: list[str], says: str
) -> None:
    done = tickbird(runtime, "attach", *arguments)
    assert done.returncode == 64
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_process_that_ends_meanwhile_ends_the_watch(runtime: Path) -> None:
    with service() as process:
        threading.Timer(2.0, process.kill).start()
        done = tickbird(runtime, "attach", str(process.pid), "--for", "100s")
    assert done.returncode == 2
    assert "ended" in done.stdout
