"""Root's helper, a process of its own, asked by real users who may not open perf events."""

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from running import TICKBIRD, until
from tickbird.errors import CannotCreate, SourceError, TargetGone
from tickbird.linux import perf, proc, tracehelper, tracesetup
from tickbird.linux.traceaccess import REQUEST, SOCKET, open_trace, start_ticks
from tracing import as_user, become

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not on this host: root")
USER, OTHER = 65534, 65533
PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 4, 8
LIBC = ctypes.CDLL(None)


@pytest.fixture(scope="module")
def ids():
    try:
        return tracesetup.read_ids()[0]
    except CannotCreate as error:
        pytest.skip(f"not on this host: {error}")


@pytest.fixture(scope="module")
def folder(ids):
    # not below pytest's folder, which other users may not enter
    with tempfile.TemporaryDirectory(prefix="tickbird-test-", dir="/tmp") as place:
        yield Path(place, "trace")


@pytest.fixture(scope="module")
def helper(folder):
    environ = {**os.environ, "TICKBIRD_TRACE_DIR": str(folder)}
    folder.parent.chmod(0o755)
    process = subprocess.Popen([*TICKBIRD, "setup", "trace", "--helper"], env=environ)
    until((folder / SOCKET).exists, "the helper to listen")
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not (folder / SOCKET).exists()


@pytest.fixture
def sleeper():
    """Starts a process of a user that does nothing; ``change`` is done in it when it has become
    the user's, ``before`` while it is root's."""
    started = []

    def nothing() -> None:
        pass

    def start(uid: int, gid: int | None = None, change=nothing, before=nothing) -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            before()
            become(uid, gid)
            change()
            os.write(writing, b"x")
            time.sleep(600)
            os._exit(0)
        started.append(pid)
        assert os.read(reading, 1) == b"x"
        os.close(reading)
        os.close(writing)
        return pid

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def asked(folder: Path, pid: int, uid: int = USER) -> str:
    """What comes of it when ``uid``, whom the kernel lets open nothing, asks for a trace."""

    def ask() -> str:
        try:
            trace = open_trace(pid, (), folder)
        except TargetGone:
            return "gone"
        except SourceError as error:
            return f"{error}; {error.remedy}"
        mapped = trace.size
        trace.close()
        return f"traced in {mapped} bytes"

    return as_user(uid, ask, forbid=errno.EACCES)


def test_a_user_is_given_the_trace_of_a_process_of_his_own(helper, folder, sleeper):
    assert asked(folder, sleeper(USER)).startswith("traced in ")


def test_what_is_handed_over_measures(helper, folder):
    def measure() -> list[bool]:
        trace = open_trace(os.getpid(), (), folder)
        with select.epoll() as polled:
            for _ in range(3):
                polled.poll(0)
        stretch = trace.read()
        trace.close()
        return [stretch.before[0][0], len(stretch.pairs), stretch.after[0][0]]

    assert as_user(USER, measure, forbid=errno.EPERM) == [False, 4, True]


@pytest.mark.parametrize("uid", [0, OTHER])
def test_the_process_of_somebody_else_is_refused_with_what_to_do(helper, folder, sleeper, uid):
    said = asked(folder, sleeper(uid))
    assert "only processes of the user who asks" in said
    assert "run the agent as that process's user" in said


def test_a_process_of_the_same_user_in_another_group_is_refused(helper, folder, sleeper):
    assert "only processes of the user" in asked(folder, sleeper(USER, OTHER))


def test_a_process_that_is_not_dumpable_as_set_uid_ones_is_refused(helper, folder, sleeper):
    pid = sleeper(USER, change=lambda: LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    assert "only processes of the user" in asked(folder, pid)


def test_a_process_that_has_ended_is_gone(helper, folder, sleeper):
    pid = sleeper(USER)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert asked(folder, pid) == "gone"
    assert asked(folder, 2**22 - 1) == "gone"


def test_root_is_refused_since_a_container_may_have_taken_its_privileges(helper, folder, sleeper):
    code, fds = question(folder, os.getpid())
    assert (code, fds) == (errno.EPERM, [])


def question(folder: Path, thread: int, ticks: int | None = None) -> tuple[int, list[int]]:
    """The bare answer."""
    if ticks is None:
        ticks = start_ticks(proc.read_once(f"/proc/{thread}/stat"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(30)
        asking.connect(str(folder / SOCKET))
        asking.send(REQUEST.pack(thread, ticks))
        said, fds, _, _ = socket.recv_fds(asking, 4, 8)
    perf.close_all(fds)
    return struct.unpack("<i", said)[0], fds


def test_a_number_that_means_another_process_to_the_helper_is_refused(helper, folder, sleeper):
    """Reused meanwhile, or of another pid namespace: it began at another time."""
    pid = sleeper(USER)
    assert as_user(USER, lambda: question(folder, pid, 1))[0] == errno.ENXIO


def test_a_number_that_is_reused_while_the_helper_works_is_refused(sleeper):
    """Its folder was opened first, and stays that of the process that has ended."""
    pid = sleeper(USER)
    ticks = start_ticks(proc.read_once(f"/proc/{pid}/stat"))
    place = os.open(f"/proc/{pid}", os.O_RDONLY)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        tracehelper._check(place, USER, USER, ticks)
    os.close(place)
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.parametrize("request_", [b"", b"x", b"x" * 13, b"x" * 4000])
def test_nonsense_and_silence_keep_nobody_else_waiting_for_long(helper, folder, sleeper, request_):
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.connect(str(folder / SOCKET))
    with contextlib.suppress(OSError), silent:
        silent.send(request_)
        assert asked(folder, sleeper(USER)).startswith("traced in ")
    assert helper.poll() is None


def test_a_second_helper_in_the_same_folder_says_that_there_is_one(helper, folder):
    environ = {**os.environ, "TICKBIRD_TRACE_DIR": str(folder)}
    done = subprocess.run(
        [*TICKBIRD, "setup", "trace", "--helper"], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 73
    assert "listens on" in done.stderr
    assert helper.poll() is None
    assert (folder / SOCKET).exists()


def test_a_socket_that_a_user_could_have_put_there_is_not_asked(folder, ids, tmp_path):
    own = folder.parent / "forged"
    own.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as forged:
        forged.bind(str(own / SOCKET))
        forged.listen()
        own.chmod(0o777)
        said = asked(own, os.getpid())
    assert "setup trace" in said


def test_it_takes_the_socket_that_systemd_hands_over(ids, folder, sleeper):
    place = folder.parent / "passed"
    place.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(place / SOCKET))
        (place / SOCKET).chmod(0o666)
        listening.listen()
        os.set_inheritable(listening.fileno(), True)
        start = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", start, str(listening.fileno()), *TICKBIRD, "setup", "trace", "--helper"],
            env={**os.environ, "TICKBIRD_TRACE_DIR": str(place)},
            pass_fds=[listening.fileno()],
        )
        pid = sleeper(USER)
        end = time.monotonic() + 30
        while not (said := asked(place, pid)).startswith("traced"):  # it is only starting
            assert time.monotonic() < end, said
        process.terminate()
        assert process.wait(30) == 0
    assert (place / SOCKET).exists()  # systemd's


def test_capabilities_of_the_process_keep_its_own_user_out(helper, folder, sleeper):
    """As of a service with AmbientCapabilities: here kept over the change of the user."""
    pid = sleeper(USER, before=lambda: LIBC.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    assert "holds capabilities" in asked(folder, pid)
