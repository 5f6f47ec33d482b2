"""What goes wrong costs one clear line that says what to do; the rest goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live import Agent, OtherUser, Service, free_port, shop
from running import until

pytestmark = pytest.mark.e2e

IDLE = "import time; time.sleep(600)"
NOBODY, SOMEBODY = 65534, 65533


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Agent]]:
    agents: list[Agent] = []

    def begin(settings: dict[str, Any]) -> Agent:
        agents.append(Agent(tmp_path, settings))
        return agents[-1].ready()

    yield begin
    for agent in agents:
        agent.kill()


@pytest.fixture
def services() -> Iterator[Callable[..., Service]]:
    """Starts idle processes; the words given are on their command line."""
    started: list[Service] = []

    def begin(*words: str) -> Service:
        started.append(Service([sys.executable, "-c", IDLE, *words]))
        return started[-1]

    yield begin
    for one in started:
        one.end()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="tickbird-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def target(name: str, **match: Any) -> dict[str, Any]:
    return {"name": name, "match": match}


def pids(agent: Agent) -> dict[str, int | None]:
    """Pid by key of what is watched now."""
    return {one["key"]: one["pid"] for one in agent.status()["targets"]}


def told_once(agent: Agent, *words: str) -> str:
    """The one line the agent has said with all of ``words``; it stays the only one while the
    agent goes on for some rounds."""

    def found() -> list[str]:
        return [line for line in agent.lines if all(word in line for word in words)]

    until(found, f"a line with {words}")
    rounds = reads(agent)
    until(lambda: reads(agent) >= rounds + 3, "three more rounds")
    assert len(found()) == 1, agent.said
    assert "Traceback" not in agent.said
    return found()[0]


def reads(agent: Agent) -> int:
    """Seconds of life, as a count of looks at targets."""
    return int(agent.health()["generated_at"])


def test_a_killed_target_is_one_line_and_the_other_is_watched_on(
    start: Callable[..., Agent], services: Callable[..., Service]
) -> None:
    doomed, other = services(), services()
    agent = start({"targets": [target("doomed", pid=doomed.pid), target("other", pid=other.pid)]})
    doomed.end()
    line = told_once(agent, "doomed", f"the process with pid {doomed.pid} has ended")
    assert "match it by command, port or pidfile" in line
    assert pids(agent) == {"other": other.pid}
    done = agent.command("health")
    assert done.returncode == 2
    assert f"pid {doomed.pid} ended" in done.stdout


def test_a_restarted_target_is_found_again_by_command_pidfile_and_port(
    start: Callable[..., Agent], services: Callable[..., Service], tmp_path: Path
) -> None:
    port, pidfile = free_port(), tmp_path / "pid"
    by_command, by_file = services("one-of-a-kind"), services()
    pidfile.write_text(str(by_file.pid))
    by_port = shop(port=port)
    agent = start(
        {
            "targets": [
                target("by-command", command="one-of-a-kind$"),
                target("by-file", pidfile=str(pidfile)),
                target("by-port", port=port),
            ]
        }
    )
    first = {"by-command": by_command.pid, "by-file": by_file.pid, "by-port": by_port.pid}
    assert pids(agent) == first
    identities = instances(agent)
    for one in (by_command, by_file, by_port):
        one.end()
    told_once(agent, "by-command", "no process's command fits", "start the service")
    told_once(agent, "by-port", f"nothing listens on port {port}", "start the service")
    assert pids(agent) == {}
    by_command, by_file = services("one-of-a-kind"), services()
    pidfile.write_text(str(by_file.pid))
    by_port = shop(port=port)
    second = {"by-command": by_command.pid, "by-file": by_file.pid, "by-port": by_port.pid}
    try:
        until(lambda: pids(agent) == second, "the new processes")
        until(lambda: instances(agent) == identities, "the same instances")
        assert agent.status()["problems"] == []
    finally:
        by_port.end()


def test_forked_workers_are_grouped_under_their_master_and_a_new_one_takes_the_place(
    start: Callable[..., Agent],
) -> None:
    port = free_port()
    master = shop("fork", port=port)
    try:
        agent = start({"targets": [target("shop", port=port)]})
        until(lambda: len(pids(agent)) == 3, "master and workers")
        (entry,) = agent.health()["targets"]
        assert entry["pid"] == master.pid
        before = {one["pid"]: one["service_instance_id"] for one in entry["workers"]}
        assert len(set(before.values()) | {entry["service_instance_id"]}) == 3
        doomed = next(iter(before))
        os.kill(doomed, signal.SIGKILL)
        until(lambda: doomed not in workers(agent) and len(workers(agent)) == 2, "a new worker")
        assert set(workers(agent).values()) == set(before.values())
    finally:
        master.end(signal.SIGTERM)


def workers(agent: Agent) -> dict[int, str]:
    """Instance by pid of the workers that are watched now."""
    now = set(pids(agent).values())
    (entry,) = agent.health()["targets"]
    found = {one["pid"]: one["service_instance_id"] for one in entry["workers"]}
    return {pid: instance for pid, instance in found.items() if pid in now}


def instances(agent: Agent) -> dict[str, str]:
    return {one["name"]: one["service_instance_id"] for one in agent.health()["targets"]}


def test_a_wrong_pid_is_one_line_and_the_rest_is_watched(
    start: Callable[..., Agent], services: Callable[..., Service]
) -> None:
    other = services()
    agent = start({"targets": [target("typo", pid=4194304), target("other", pid=other.pid)]})
    line = told_once(agent, "typo: no process has pid 4194304")
    assert "match it by command, port or pidfile" in line
    assert pids(agent) == {"other": other.pid}
    assert any("4194304" in str(one) for one in agent.health()["findings"])


def test_log_files_that_may_not_be_read_are_one_line_each_and_the_others_are_read(
    public: Path,
) -> None:
    user = OtherUser(public / "agent", SOMEBODY)
    closed, good = public / "closed", public / "good.log"
    closed.mkdir(mode=0o700)
    (closed / "a.log").write_text("hidden\n")
    (secret := public / "secret.log").write_text("hidden\n")
    secret.chmod(0o600)
    good.write_text("one\ntwo\n")
    good.chmod(0o644)
    logs = [f"{closed}/*.log", str(secret), str(good)]
    agent = user.agent({"targets": [{"name": "shop", "logs": logs}]}).ready()
    try:
        for what in (f"{closed}", str(secret)):
            line = told_once(agent, "cannot read", what)
            assert "permission" in line
            assert "give this user read permission" in line
        until(lambda: agent.health()["targets"][0]["logs"]["delivered"] == 2, "the other file")
        secret.chmod(0o644)
        until(lambda: agent.health()["targets"][0]["logs"]["delivered"] == 3, "the mended file")
        assert not any(str(secret) in one for one in agent.status()["problems"])
    finally:
        agent.stop()


def test_another_users_process_is_watched_as_far_as_it_goes_with_one_line(public: Path) -> None:
    user = OtherUser(public / "agent", SOMEBODY)
    owner = OtherUser(public / "service", NOBODY)
    foreign = Service([*owner.python, "-c", IDLE], environ=owner.environ)
    until(lambda: Path(f"/proc/{foreign.pid}").stat().st_uid == NOBODY, "another user's process")
    own = Service([*user.python, "-c", IDLE], environ=user.environ)
    until(lambda: Path(f"/proc/{own.pid}").stat().st_uid == SOMEBODY, "a process of ours")
    targets = [target("foreign", pid=foreign.pid), target("own", pid=own.pid)]
    agent = user.agent({"targets": targets}).ready()
    try:
        until(lambda: all(cpu(agent).values()), "CPU of both")
        line = told_once(agent, f"process {foreign.pid} belongs to another user")
        assert "run the agent as that user" in line
        assert len([one for one in agent.lines if "foreign" in one]) == 1
        measured = {one["name"]: one for one in agent.health()["targets"]}
        assert measured["foreign"]["memory"]["rss_bytes"] > 1e6
        known = {one["name"]: set(one["metrics_from"]) for one in agent.status()["targets"]}
        assert known["own"] - known["foreign"] == {"process.disk.io"}
    finally:
        agent.stop()
        foreign.end()
        own.end()


def cpu(agent: Agent) -> dict[str, bool]:
    targets = agent.health()["targets"]
    return {one["name"]: one["cpu"]["utilization"] is not None for one in targets}


def test_taken_ports_give_way_to_the_next_ones_which_are_told(start: Callable[..., Agent]) -> None:
    with row_of_ports(1) as api, row_of_ports(1) as intake:
        agent = start(
            {
                "api": {"listen": f"127.0.0.1:{api.first}", "token_file": "none"},
                "intake": {"otlp_http": f"127.0.0.1:{intake.first}"},
            }
        )
        assert f"page http://127.0.0.1:{api.first + 1}," in agent.said
        assert f"intake 127.0.0.1:{intake.first + 1}," in agent.said
        assert agent.health()["instance"] == "default"


@pytest.mark.parametrize("key", ["api", "intake"])
def test_with_no_port_left_it_ends_with_73_and_says_what_to_set(tmp_path: Path, key: str) -> None:
    with row_of_ports(20) as row:
        place = {"api": "listen", "intake": "otlp_http"}[key]
        agent = Agent(tmp_path, {key: {place: f"127.0.0.1:{row.first}"}})
        assert agent.process.wait(20) == 73
    assert f"cannot listen on 127.0.0.1:{row.first}" in agent.said
    assert "set another port in the configuration" in agent.said
    assert "Traceback" not in agent.said


class row_of_ports:  # noqa: N801 - used as a context manager
    """``count`` ports in a row, all taken."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: list[socket.socket] = []
        self.first = 0

    def __enter__(self) -> row_of_ports:
        while len(self._taken) < self._count:
            self.__exit__()
            self.first = free_port()
            try:
                for port in range(self.first, self.first + self._count):
                    self._taken.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._taken:
            one.close()
        self._taken.clear()


def test_an_unreachable_collector_is_told_and_costs_nothing_else(
    start: Callable[..., Agent], services: Callable[..., Service], tmp_path: Path
) -> None:
    (log := tmp_path / "app.log").write_text("one\ntwo\n")
    port, service = free_port(), services()
    agent = start(
        {
            "collector": {"endpoint": f"http://127.0.0.1:{port}"},
            "targets": [target("shop", pid=service.pid) | {"logs": [str(log)]}],
        }
    )
    for what in ("logs", "metrics"):
        line = told_once(
            agent, f"the Collector at http://127.0.0.1:{port}", f"does not take {what}"
        )
        assert "nothing is lost: it is tried again" in line
    entry = agent.health()["targets"][0]
    assert (entry["logs"]["read"], entry["logs"]["queued"]) == (2, 2)
    assert entry["memory"]["rss_bytes"] > 1e6
    assert agent.stop() == 0
    assert "Traceback" not in agent.said


def test_a_second_agent_on_the_same_state_is_refused_with_the_pid_of_the_first(
    start: Callable[..., Agent], tmp_path: Path
) -> None:
    first = start({})
    second = Agent(tmp_path, {})
    assert second.process.wait(20) == 73
    assert f"in use by another agent (pid {first.process.pid})" in second.said
    assert "another instance name" in second.said
    assert first.health()["instance"] == "default"
    first.kill()
    assert start({}).health()["instance"] == "default"


def test_row_56_a_bad_configuration_on_sighup_is_told_and_the_old_one_stays(
    start: Callable[..., Agent], services: Callable[..., Service]
) -> None:
    old, new = services(), services()
    agent = start({"targets": [target("old", pid=old.pid)]})
    good = agent.settings | {"targets": [target("new", pid=new.pid)]}
    for bad, words in (
        (agent.settings | {"colector": {}}, 'did you mean "collector"'),
        (good | {"instance": "other"}, "instance: takes a restart to change"),
        (good | {"redact": {"keys": ["pin"]}}, "redact: takes a restart to change"),
    ):
        agent.write(bad)
        agent.process.send_signal(signal.SIGHUP)
        until(lambda words=words: words in agent.said, words)
        assert "configuration not reloaded, the old one stays" in agent.said
        assert pids(agent) == {"old": old.pid}
    agent.write(good)
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in agent.said, "the good one")
    until(lambda: pids(agent) == {"new": new.pid}, "the new target")


def test_attach_watches_a_running_service_beside_an_agent(
    start: Callable[..., Agent], services: Callable[..., Service]
) -> None:
    service = services()
    agent = start({"targets": [target("shop", pid=service.pid)]})
    done = agent.command("attach", str(service.pid), "--for", "2s")
    assert f"pid {service.pid}" in done.stdout, done.stderr
    assert done.returncode in (0, 3)
    assert agent.command("health").returncode in (0, 3), "attach has left an agent behind"
