"""A probe put into a running Node: every row of what can go wrong, and what a user gets of it."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import injecting
from conftest import NOT_ON_THIS_HOST
from injecting import Stand, start_agent, until
from running import TICKBIRD
from tickbird.health.render import flat

pytestmark = [pytest.mark.e2e, pytest.mark.node]
TRIES = 3
"""`python -m bench inject` makes a hundred of each."""


@pytest.fixture
def stand(tmp_path, monkeypatch):
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs Node.js on PATH")
    monkeypatch.setenv("TICKBIRD_RUNTIME_DIR", str(tmp_path / "run"))
    one = Stand(program, tmp_path)
    yield one
    one.close()


@pytest.mark.parametrize("attempt", range(TRIES))
@pytest.mark.parametrize("row", injecting.ROWS)
def test_the_target_stays_alive_and_well(stand, row, attempt):
    if lack := injecting.lacks(stand.node, row):
        pytest.skip(f"{NOT_ON_THIS_HOST} needs {lack}")
    injecting.ROWS[row](stand)


def attach(*arguments: object) -> dict:
    done = subprocess.run(
        [*TICKBIRD, "attach", *map(str, arguments), "--json"], capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_attach_names_the_function_counts_the_requests_and_takes_everything_back(stand):
    with stand.target() as target:
        with subprocess.Popen(
            [*TICKBIRD, "attach", str(target.pid), "--inject", "--for", "6s", "--json"],
            stdout=subprocess.PIPE,
        ) as command:
            until(lambda: target.ask()["watched"], "the probe")
            time.sleep(0.5)  # its watchdog has to load before the loop stands still
            for _ in range(5):
                target.ask("hold/300")
            assert command.stdout is not None
            entry = next(iter(flat(json.loads(command.stdout.read()))))
        target.well()
    assert entry["loop"]["method"] in ("trace", "attach")
    assert entry["http"]["requests"] >= 5
    assert entry["memory"]["heap_used_bytes"] > 1e6
    named = [one["culprit"]["function"] for one in entry["loop"]["stalls"] if one["culprit"]]
    assert "hold" in named


def test_why_nothing_was_put_in_is_said_with_what_to_do(stand):
    with stand.target(OWN_HANDLER="1") as target:
        entry = next(iter(flat(attach(target.pid, "--inject", "--for", "3s"))))
        target.well()
    said = next(one for one in entry["findings"] if one["check"] == "sources")
    assert "handles SIGUSR1 itself" in said["title"]
    assert "tickbird exec" in said["title"]


def test_what_stayed_open_is_closed_at_the_next_start(stand):
    with stand.target() as target:
        target.ask("sleep/2500")
        time.sleep(0.1)
        agent = start_agent(stand, target.pid)
        until(stand.entries, "the signal to be noted")
        for pid in (agent.pid, *injectors(stand)):
            os.kill(pid, signal.SIGKILL)
        agent.wait()
        until(target.listening, "the inspector to open, which nobody closes")
        agent = start_agent(stand, target.pid, "auto")
        try:
            target.well()
            until(lambda: not stand.entries(), "the journal to be empty")
        finally:
            agent.terminate()
            agent.wait()


def injectors(stand) -> list[int]:
    """Those of this try: they have its folder in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"inject.injector" in command and str(stand.folder).encode() in environ:
            found.append(int(folder.name))
    assert found
    return found


CLUSTER = """
const cluster = require('cluster');
const http = require('http');
if (cluster.isPrimary) {
  let up = 0;
  cluster.on('listening', () => { if (++up === 2) console.log(process.pid); });
  cluster.fork();
  cluster.fork();
} else {
  http.createServer((request, response) => response.end('x')).listen(0, '127.0.0.1');
}
"""


def test_the_workers_of_a_cluster_are_attached_to_one_by_one(stand, tmp_path):
    script = tmp_path / "cluster.cjs"
    script.write_text(CLUSTER)
    with subprocess.Popen([stand.node, str(script)], stdout=subprocess.PIPE) as primary:
        assert primary.stdout is not None
        try:
            primary.stdout.readline()
            children = Path(f"/proc/{primary.pid}/task/{primary.pid}/children").read_text().split()
            report = attach(primary.pid, *children, "--inject", "--for", "5s")
            entries = {entry["pid"]: entry for entry in flat(report)}
            assert set(entries) == {primary.pid, *map(int, children)}
            for entry in entries.values():
                assert entry["memory"]["heap_used_bytes"], entry["findings"]
                assert entry["loop"]["method"] in ("trace", "attach")
            assert primary.poll() is None
        finally:
            primary.kill()
