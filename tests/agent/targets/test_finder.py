"""Which processes are found, what they are called, and that they are found again."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tickbird import config
from tickbird.clock import SystemClock
from tickbird.targets import Finder


class StepClock:
    """Monotonic time that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_800_000_000.0 + self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def finder(proc, clock: StepClock):
    return lambda text="": Finder(config.parse(text), clock, proc.root)


def keys(finder: Finder, ended: bool = False) -> dict[str, int | None]:
    return {one.target.key: one.target.pid for one in finder.find(ended)}


def by(match: str) -> str:
    return f"targets: [{{name: shop, match: {{{match}}}}}]"


def test_services_of_this_user_that_listen_are_found_by_themselves(proc, finder) -> None:
    proc.node(10, "/srv/checkout/index.js", listens=(3000,))
    proc.python(11, "-m uvicorn billing:app", listens=(8000,))
    proc.node(12, "batch.js")
    proc.node(13, "/usr/lib/node_modules/npm/bin/npm-cli.js start", listens=(9000,))
    proc.add(14, "nginx", exe="/usr/sbin/nginx", listens=(80,))
    found = finder()
    assert keys(found) == {"checkout": 10, "billing": 11}
    assert {one.pid: one.why for one in found.left} == {
        12: "listens on no TCP port",
        13: "a package manager; the service is its child",
    }
    (first, second) = found.find()
    assert (first.target.runtime, first.spec) == ("node", None)
    assert second.target.runtime == "python"


def test_a_service_that_exec_started_is_left_to_its_own_agent(proc, finder) -> None:
    proc.python(20, "/venv/bin/tickbird exec -- node a.js")
    proc.node(21, "a.js", parent=20, listens=(3000,))
    found = finder()
    assert keys(found) == {}
    assert "already watched by the tickbird that started it (pid 20)" in found.left[-1].why


def test_workers_of_a_cluster_stand_under_their_master(proc, finder) -> None:
    proc.node(30, "app/shop.js", listens=(3000,))
    proc.node(31, "app/shop.js", parent=30, start=101)
    proc.node(32, "app/shop.js", parent=30, start=102)
    proc.node(33, "mailer.js", parent=30, start=103)
    found = finder()
    assert keys(found) == {"shop": 30, "shop/1": 31, "shop/2": 32}
    assert [one.target.ordinal for one in found.find()] == [None, 0, 1]
    assert [one.first for one in found.find()] == [True, False, False]


def test_workers_that_share_the_listening_socket_are_one_service(proc, finder) -> None:
    proc.python(40, "/v/bin/gunicorn -w 2 shop:app", listens=(8000,))
    proc.python(41, "/v/bin/gunicorn -w 2 shop:app", parent=40, start=101, listens=(8000,))
    proc.python(42, "-c from multiprocessing.spawn import spawn_main", parent=40, start=102)
    assert keys(finder()) == {"shop": 40, "shop/1": 41, "shop/2": 42}


def test_a_workers_replacement_takes_its_place_and_its_instance_id(proc, finder) -> None:
    for pid in (31, 32, 33):
        proc.node(pid, "app/shop.js", parent=30, start=pid)
    proc.node(30, "app/shop.js", listens=(3000,), start=1)
    found = finder()
    before = {one.target.key: one.target for one in found.find()}
    assert len({one.attributes["service.instance.id"] for one in before.values()}) == 4
    proc.end(32)
    proc.node(50, "app/shop.js", parent=30, start=900)
    after = {one.target.key: one.target for one in found.find(ended=True)}
    assert {key: one.pid for key, one in after.items()} == {
        "shop": 30,
        "shop/1": 31,
        "shop/2": 50,
        "shop/3": 33,
    }
    for key in before:
        name = "service.instance.id"
        assert after[key].attributes[name] == before[key].attributes[name]


def test_a_restarted_service_keeps_key_and_instance_id_and_gets_another_identity(
    proc, finder
) -> None:
    proc.node(60, "shop.js", start=100)
    found = finder(by('command: "shop\\\\.js"'))
    (before,) = found.find()
    proc.end(60)
    assert found.find(ended=True) == []
    assert "no process's command fits" in found.problems[0]
    proc.node(61, "shop.js", start=500)
    found._clock.now += 1.1
    (after,) = found.find()
    assert before.target.key == after.target.key == "shop"
    assert before.target.identity != after.target.identity
    name = "service.instance.id"
    assert before.target.attributes[name] == after.target.attributes[name]


def test_a_reused_pid_is_another_identity(proc, finder) -> None:
    proc.node(70, "shop.js", start=100)
    found = finder(by("command: shop"))
    (before,) = found.find()
    proc.end(70)
    proc.node(70, "shop.js", start=101)
    (after,) = found.find(ended=True)
    assert after.target.pid == 70
    assert after.target.identity != before.target.identity


def test_a_configured_pid_never_means_the_stranger_that_got_it_later(proc, finder) -> None:
    proc.node(70, "shop.js", start=100)
    found = finder(by("pid: 70"))
    assert keys(found) == {"shop": 70}
    proc.end(70)
    proc.add(70, "vim", exe="/usr/bin/vim", start=101)
    assert keys(found, ended=True) == {}
    assert "has ended; give its new pid" in found.problems[0]


def test_start_time_is_counted_from_boot(proc, finder) -> None:
    proc.node(10, "a.js", start=12_345, listens=(3000,))
    (one,) = finder().find()
    assert one.target.identity.started_at == pytest.approx(1_700_000_123.45)


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("pid: 99", "no process has pid 99; start it, or match it by command"),
        ("pidfile: /nowhere/x.pid", "pidfile /nowhere/x.pid is not there"),
        ("port: 4444", "nothing listens on port 4444"),
        ("command: nothing-like-it", "no process's command fits match.command"),
        ("unit: shop.service", "no process runs in unit shop.service"),
        ("container: 3f2a9c81d0e4", "no process visible here runs in container 3f2a9c81d0e4"),
    ],
)
def test_what_is_not_there_is_one_line_that_says_what_to_do(finder, match: str, said: str) -> None:
    found = finder(by(match))
    assert found.find() == []
    (problem,) = found.problems
    assert problem.startswith("shop: ")
    assert said in problem


def test_a_zombie_is_told_and_not_fatal(proc, finder) -> None:
    proc.node(80, "shop.js", state="Z")
    found = finder(by("pid: 80"))
    assert found.find() == []
    assert "zombie" in found.problems[0]
    assert finder().find() == []


def test_a_pidfile_is_followed_to_a_new_process(proc, finder, tmp_path: Path) -> None:
    pidfile = tmp_path / "app.pid"
    proc.node(90, "shop.js")
    pidfile.write_text("90\n")
    found = finder(by(f"pidfile: {pidfile}"))
    assert keys(found) == {"shop": 90}
    proc.end(90)
    proc.node(91, "shop.js", start=300)
    pidfile.write_text("91")
    assert keys(found, ended=True) == {"shop": 91}
    pidfile.write_text("garbage")
    proc.end(91)
    assert keys(found, ended=True) == {}
    assert "does not begin with a process id" in found.problems[0]


def test_by_port_the_master_is_found_with_its_workers(proc, finder) -> None:
    proc.python(40, "/v/bin/gunicorn shop:app", listens=(8000,))
    proc.python(41, "/v/bin/gunicorn shop:app", parent=40, start=101, listens=(8000,))
    assert keys(finder(by("port: 8000"))) == {"shop": 40, "shop/1": 41}


def test_by_unit_and_by_container_the_services_in_the_group_are_found(proc, finder) -> None:
    cid = "3f2a9c81d0e4" + "0" * 52
    proc.add(50, "sh -c node", exe="/bin/dash", cgroup="0::/system.slice/shop.service\n")
    proc.node(51, "shop.js", parent=50, cgroup="0::/system.slice/shop.service\n")
    proc.node(52, "box.js", cgroup=f"0::/kubepods/cri-containerd-{cid}.scope\n")
    assert keys(finder(by("unit: shop"))) == {"shop": 51}
    assert keys(finder(by("container: 3f2a9c81d0e4"))) == {"shop": 52}


def test_behind_a_wrapper_the_service_itself_is_watched(proc, finder) -> None:
    proc.node(60, "/usr/lib/node_modules/npm/bin/npm-cli.js start")
    found = finder(by("pid: 60"))
    assert keys(found) == {"shop": 60}
    proc.add(61, "sh -c node", exe="/bin/dash", parent=60, start=101)
    proc.node(62, "server.js", parent=61, start=102)
    found._clock.now += 5.1
    assert keys(found) == {"shop": 62}


def test_a_shell_that_is_named_is_watched_itself_and_not_what_it_started(proc, finder) -> None:
    proc.add(60, "bash", exe="/bin/bash")
    proc.python(61, "/venv/bin/tickbird attach 60", parent=60, start=101)
    proc.node(62, "server.js", parent=60, start=102)
    proc.add(63, "bash", exe="/bin/bash", parent=60, start=103)
    found = finder(by("pid: 60"))
    ((key, pid),) = keys(found).items()
    assert (key, pid) == ("shop", 60)
    assert found.find()[0].target.runtime == "other"


def test_a_thread_of_the_kernel_is_told_and_not_watched(proc, finder) -> None:
    proc.add(2, "kthreadd")
    (proc.root / "2" / "cmdline").write_text("")
    found = finder(by("pid: 2"))
    assert found.find() == []
    assert "a thread of the kernel" in found.problems[0]


def test_two_separate_matches_are_both_watched_and_told(proc, finder) -> None:
    proc.node(70, "shop.js", parent=1, start=100)
    proc.node(71, "shop.js", parent=2, start=101)
    found = finder(by("command: shop"))
    assert keys(found) == {"shop": 70, "shop/1": 71}
    assert "fits 2 separate processes (pid 70, 71)" in found.problems[0]


def test_two_services_of_one_name_get_keys_of_their_own(proc, finder, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "shop"}')
    proc.node(80, "a.js", listens=(3000,), start=1, cwd=tmp_path)
    proc.node(81, "b.js", listens=(3001,), start=2, cwd=tmp_path)
    assert keys(finder()) == {"shop": 80, "shop/1": 81}


def test_a_target_of_logs_only_has_no_process(finder) -> None:
    (one,) = finder("targets: [{name: web, logs: [/var/log/web.log]}]").find()
    assert (one.target.key, one.target.identity, one.target.runtime) == ("web", None, "other")


def test_logs_are_still_read_when_the_process_has_ended(proc, finder) -> None:
    proc.node(90, "shop.js")
    found = finder("targets: [{name: shop, match: {pid: 90}, logs: [/l]}]")
    assert keys(found) == {"shop": 90}
    proc.end(90)
    assert keys(found, ended=True) == {"shop": None}


def test_attributes_follow_the_configuration(proc, finder) -> None:
    proc.node(10, "a.js", listens=(3000,))
    (one,) = finder(
        "service: {namespace: shop, environment: test}\n"
        "targets: [{name: a, match: {port: 3000}, labels: {team: x, service.name: never}}]"
    ).find()
    said = one.target.attributes
    assert said["service.name"] == "a"
    assert said["service.namespace"] == "shop"
    assert said["deployment.environment.name"] == "test"
    assert said["team"] == "x"
    assert said["process.pid"] == 10
    assert said["process.runtime.name"] == "nodejs"
    assert said["host.name"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_watched_with_what_may_be_seen_of_it() -> None:
    reader, writer = os.pipe()
    text = f"targets: [{{name: other, match: {{pid: {os.getpid()}}}}}]"
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        found = Finder(config.parse(text), SystemClock())
        pids = [one.target.pid for one in found.find()]
        os.write(writer, json.dumps([pids, found.problems]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        pids, problems = json.load(file)
    assert pids == [os.getpid()]
    assert problems == []  # what cannot be read of it is for its source to tell


def test_uvloop_is_known_by_its_mapped_library(proc, finder) -> None:
    proc.python(10, "app.py", listens=(3000,))
    (proc.root / "10" / "maps").write_text("7f00-7f01 r-xp 0 0:0 1 /v/uvloop/loop.cpython-311.so\n")
    (one,) = finder().find()
    assert one.target.runtime == "uvloop"


def test_asyncio_is_known_by_its_library_together_with_an_epoll_descriptor(proc, finder) -> None:
    for pid, port in ((10, 3000), (11, 3001)):
        proc.python(pid, f"app{pid}.py", listens=(port,))
        (proc.root / str(pid) / "maps").write_text("7f00-7f01 r-xp 0 0:0 1 /v/_asyncio.cp311.so\n")
    (proc.root / "11" / "fd" / "3").symlink_to("anon_inode:[eventpoll]")
    runtimes = {one.target.pid: one.target.runtime for one in finder().find()}
    assert runtimes == {10: "python", 11: "asyncio"}


def test_processes_that_vanish_between_two_reads_are_no_fault(proc, finder) -> None:
    proc.node(10, "a.js", listens=(3000,))
    (proc.root / "11").mkdir()
    proc.add(12, "x")
    (proc.root / "12" / "cmdline").unlink()
    (proc.root / "12" / "stat").write_text("12 (x")
    assert keys(finder()) == {"a": 10}


def test_a_scan_of_very_many_processes_is_bounded_and_goes_on_later(proc) -> None:
    class SlowClock(StepClock):
        def monotonic(self) -> float:
            self.now += 0.001
            return self.now

    for pid in range(1000, 2000):
        folder = proc.root / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (x) S 1 {'0 ' * 17}5 0")
    proc.node(10, "a.js", listens=(3000,))
    clock = SlowClock()
    found = Finder(config.default(), clock, proc.root)
    found.find()
    assert "processes are not looked at yet" in found.problems[0]
    for _ in range(10):
        clock.now += 100
        found.find()
        if not found.problems:
            break
    assert keys(found) == {"a": 10}


def test_between_scans_only_the_watched_are_looked_at(proc, finder, clock) -> None:
    proc.node(10, "a.js", listens=(3000,))
    found = finder()
    assert keys(found) == {"a": 10}
    proc.node(11, "b.js", listens=(3001,))
    clock.now += 1
    assert keys(found) == {"a": 10}
    clock.now += 5
    assert keys(found) == {"a": 10, "b": 11}


def test_ten_thousand_processes_are_scanned_within_the_bound(proc) -> None:
    line = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0"
    for pid in range(100_000, 110_000):
        folder = proc.root / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (x) S {line}")
    found = Finder(config.default(), SystemClock(), proc.root)
    began = time.monotonic()
    found.find()
    assert time.monotonic() - began < 2.0
