"""``tickbird setup trace`` as root, in a folder of the test's own."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from running import TICKBIRD, environment, tickbird
from tickbird.errors import CannotCreate, SourceError
from tickbird.linux import tracepoints, tracesearch, tracesetup
from tickbird.linux.tracepoints import IDS_VARIABLE
from tracing import FORBIDDING, as_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="not on this host: root")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "trace"


def publish(folder):
    try:
        return tracesetup.publish(folder)
    except CannotCreate as error:
        pytest.skip(f"not on this host: {error}")


@as_root
def test_every_user_can_read_what_is_written_and_only_root_can_write_it(folder):
    old = os.umask(0o077)
    try:
        done = publish(folder)
    finally:
        os.umask(old)
    assert done.file.stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755
    assert tracepoints.tracepoint_ids([folder], ()) == done.ids
    assert len(set(done.ids.values())) == len(done.ids) >= 4


@as_root
def test_a_second_time_changes_nothing_and_a_stale_file_is_replaced(folder):
    first = publish(folder)
    before = first.file.stat()
    assert not publish(folder).changed
    assert first.file.stat().st_mtime_ns == before.st_mtime_ns
    first.file.write_text(first.file.read_text().replace("boot_id", "no_boot"))
    assert publish(folder).changed
    assert tracepoints.tracepoint_ids([folder], ()) == first.ids


@as_root
def test_the_host_sees_no_mount_and_keeps_no_folder_of_it(folder, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    mounts = Path("/proc/self/mounts").read_text()
    publish(folder)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not list(scratch.iterdir())


@as_root
def test_undo_removes_what_was_made_and_only_that(folder):
    publish(folder)
    publish(folder)
    assert tracesetup.remove(folder)
    assert not folder.exists()
    assert not tracesetup.remove(folder)
    folder.mkdir(mode=0o755)
    publish(folder)
    assert tracesetup.remove(folder)
    assert folder.exists()


@as_root
def test_a_folder_that_others_can_write_to_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(CannotCreate) as caught:
        tracesetup.publish(folder)
    assert caught.value.remedy


@as_root
def test_wrong_ids_are_noticed_by_trying_them_as_an_ordinary_user():
    refused = tracesetup.refused_to_users({"sys_enter_epoll_wait": 1, "sys_exit_epoll_wait": 1})
    assert refused is not None
    assert os.geteuid() == 0


@as_root
def test_the_command_says_what_it_did_what_is_possible_now_and_how_to_undo_it(folder, tmp_path):
    publish(folder)
    tracesetup.remove(folder)
    where = {"TICKBIRD_TRACE_DIR": str(folder)}
    done = tickbird(tmp_path, "setup", "trace", **where)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (str(folder), "ExecStartPre=+", "--undo"):
        assert words in done.stdout
    document = json.loads(tickbird(tmp_path, "setup", "trace", "--json", **where).stdout)
    assert document["changed"] is False
    assert document["users"]["allowed"] is (document["users"]["problem"] is None)
    undone = json.loads(tickbird(tmp_path, "setup", "trace", "--undo", "--json", **where).stdout)
    assert undone == {"file": str(folder / tracepoints.IDS_FILE), "changed": True}
    assert not folder.exists()


def test_who_is_not_root_is_told_the_command(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for work in (tracesetup.publish, tracesetup.remove):
        with pytest.raises(CannotCreate) as caught:
            work(folder)
        assert caught.value.exit_code == 73
        assert "sudo tickbird setup trace" in (caught.value.remedy or "")
    assert not folder.exists()


# ---- what this host allows, without root's help --------------------------------------------


@as_root
def test_an_ordinary_user_finds_the_ids_by_trying():
    known = publish_ids()
    middle = min(known.values())
    near = range(middle - middle % 8 - 32, middle + 64)
    assert as_user(65534, lambda: tracesearch.search(near)) == known


@as_root
def test_a_search_that_finds_nothing_or_may_not_try_says_so():
    publish_ids()
    with pytest.raises(SourceError, match="no tracepoint"):
        tracesearch.search(range(20_000, 20_008))

    def forbidden() -> str | None:
        try:
            tracesearch.search()
        except SourceError as error:
            return error.remedy
        return None

    assert "setup seccomp" in as_user(65534, forbidden, forbid=errno.EPERM)


def publish_ids() -> dict[str, int]:
    try:
        return tracesetup.read_ids()[0]
    except CannotCreate as error:
        pytest.skip(f"not on this host: {error}")


@as_root
def test_a_check_says_which_way_is_open_and_else_what_to_do(tmp_path):
    given = ",".join(f"{name}={number}" for name, number in publish_ids().items())
    done = tickbird(tmp_path, "setup", "trace", "--check", "--json", **{IDS_VARIABLE: given})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["way"], found["problem"], found["seccomp"]) == ("itself", None, False)
    assert found["paranoid"] == int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    forbidden = [sys.executable, "-c", FORBIDDING, *TICKBIRD, "setup", "trace", "--check"]
    environ = environment(tmp_path) | {"TICKBIRD_TRACE_DIR": str(tmp_path), IDS_VARIABLE: given}
    refused = subprocess.run(forbidden, env=environ, capture_output=True, text=True)
    assert refused.returncode == 2, refused.stderr
    for words in ("cannot trace", "seccomp profile", "tickbird setup seccomp", "filter yes"):
        assert words in refused.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    "words", [("--check", "--undo"), ("--helper", "--search"), ("4711",), ("--check", "99999999")]
)
def test_ways_that_exclude_each_other_and_pids_out_of_place_are_wrong_usage(words, tmp_path):
    done = tickbird(tmp_path, "setup", "trace", *words)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr


def test_the_seccomp_profile_is_an_allow_list_with_perf_events_and_nothing_of_an_administrator():
    said = subprocess.run([*TICKBIRD, "setup", "seccomp"], capture_output=True, text=True)
    profile = json.loads(said.stdout)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {one["action"] for one in profile["syscalls"]} == {"SCMP_ACT_ALLOW"}
    names = [name for one in profile["syscalls"] for name in one["names"]]
    assert len(names) == len(set(names))
    assert {"perf_event_open", "epoll_wait", "execve", "openat"} <= set(names)
    administrators = {
        "mount",
        "ptrace",
        "bpf",
        "setns",
        "unshare",
        "init_module",
        "reboot",
        "keyctl",
    }
    assert administrators.isdisjoint(names)
