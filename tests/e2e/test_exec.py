"""``tickbird exec`` with the real agent: nothing that befalls the agent befalls the service."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fixtures.logs.collector import FakeCollector

pytestmark = pytest.mark.e2e

EXEC = (sys.executable, "-m", "tickbird", "exec")

# Writes numbered lines on both streams until a file appears, then says goodbye.
TALKER = """
import os, sys, time
out, err = open("out.truth", "ab"), open("err.truth", "ab")
n = 0
while not os.path.exists("enough"):
    for fd, truth in ((1, out), (2, err)):
        line = b'{"n": %d, "message": "line %d", "level": "info"}\\n' % (n, n)
        truth.write(line); truth.flush()
        while line: line = line[os.write(fd, line):]
    n += 1
    time.sleep(0.001)
sys.exit(3)
"""

HTTP = """
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass
class Place:
    """A folder to work in, with its state folder and configuration."""

    folder: Path
    runs: list[subprocess.Popen] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state" / "svc"

    def start(self, *command: str, **more) -> subprocess.Popen:
        words = [*EXEC, "-c", str(self.folder / "t.yaml"), "--name", "svc", "--", *command]
        self.runs.append(subprocess.Popen(words, cwd=self.folder, **more))
        return self.runs[-1]

    def agent(self) -> int:
        """Pid of the running agent, once there is one."""
        found: list[int] = []

        def look() -> bool:
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = entry.read_bytes().split(b"\0")
                except OSError:
                    continue
                if str(self.state / "exec.yaml").encode() in words:
                    found.append(int(entry.parent.name))
            return bool(found)

        wait_for(look)
        return found[0]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def started(pid: int) -> int:
    """Clock ticks after boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    config = f"state_dir: {tmp_path}/state\napi: {{listen: 127.0.0.1:0}}\n"
    (tmp_path / "t.yaml").write_text(config + "intake: {otlp_http: 127.0.0.1:0}\n")
    made = Place(tmp_path)
    yield made
    for run in made.runs:
        if run.poll() is None:  # only when the test failed
            run.terminate()
            run.wait(30)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_output_stays_whole_when_the_agent_is_killed_or_stopped(place: Place, blow: int) -> None:
    truth = {"out": place.folder / "out.truth", "err": place.folder / "err.truth"}
    shown = {name: place.folder / f"{name}.shown" for name in truth}
    with shown["out"].open("wb") as out, shown["err"].open("wb") as err:
        run = place.start(sys.executable, "-c", TALKER, stdout=out, stderr=err)
        pid = place.agent()
        os.kill(pid, blow)
        wait_for(truth["out"].exists)
        before = truth["out"].stat().st_size
        wait_for(lambda: truth["out"].stat().st_size > before + 50_000)
        (place.folder / "enough").touch()
        assert run.wait(30) == 3
    assert shown["out"].read_bytes() == truth["out"].read_bytes()
    said = [one for one in shown["err"].read_bytes().splitlines(True) if b"tickbird:" not in one]
    assert b"".join(said) == truth["err"].read_bytes()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_killed_agent_is_replaced_and_the_service_goes_on_serving(place: Place) -> None:
    run = place.start(sys.executable, "-uc", HTTP, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    port = int(run.stdout.readline())
    pid = place.agent()
    os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.0 200"
    wait_for(lambda: place.agent() != pid)
    run.send_signal(signal.SIGTERM)
    assert run.wait(20) == 128 + signal.SIGTERM


def test_the_lines_of_a_service_that_ends_at_once_are_kept(place: Place) -> None:
    lines = 50
    code = f'for n in range({lines}): print(\'{{"message": "m%d"}}\' % n)'
    run = place.start(sys.executable, "-c", code, stdout=subprocess.PIPE)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 0
    assert len(out.splitlines()) == lines
    spooled = b"".join(p.read_bytes() for p in place.state.glob("spool/svc/stdout-*.log"))
    assert spooled == out


def test_row_60_what_a_service_says_that_ends_at_once_is_delivered(place: Place) -> None:
    collector = FakeCollector()
    with (place.folder / "t.yaml").open("a") as config:
        config.write(f"collector: {{endpoint: '{collector.url}'}}\n")
    run = place.start(sys.executable, "-c", "print('last words')", stdout=subprocess.DEVNULL)
    assert run.wait(60) == 0
    collector.close()
    assert collector.accepted == ["last words"]


def test_an_agent_whose_supervisor_went_while_it_started_ends_too(place: Place) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with (place.folder / "t.yaml").open("a") as config:
        config.write(f"instance: orphan-{gone.pid}\n")
    command = [sys.executable, "-m", "tickbird", "run", "-c", str(place.folder / "t.yaml")]
    assert subprocess.run([*command, "--supervisor", str(gone.pid)], timeout=60).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_service_once(place: Place, number: int) -> None:
    code = (
        "import signal, sys, time\n"
        "got = []\n"
        f"signal.signal({int(number)}, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not got and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "sys.exit(40 + len(got))\n"
    )
    run = place.start(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    run.send_signal(number)
    assert run.wait(30) == 41


def on_a_terminal(place: Place, code: str) -> tuple[int, int]:
    """Pid of an exec of Python ``code`` that has said ``ready``, and the master of its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.folder)
        words = [*EXEC, "-c", "t.yaml", "--name", "svc", "--", sys.executable, "-c", code]
        os.execv(words[0], words)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1024)
    return pid, terminal


def test_ctrl_c_reaches_the_service_once(place: Place) -> None:
    code = (
        "import signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not got and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "sys.exit(40 + len(got))\n"
    )
    pid, terminal = on_a_terminal(place, code)
    os.write(terminal, b"\x03")
    end = time.monotonic() + 30
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(found[1]) == 41


def test_a_terminal_that_goes_away_hangs_the_service_up_once(place: Place) -> None:
    code = (
        "import pathlib, signal, time\n"
        "got = []\n"
        "signal.signal(signal.SIGHUP, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 20\n"
        "while not got and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "pathlib.Path('hangups').write_text(str(len(got)))\n"
    )
    pid, terminal = on_a_terminal(place, code)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (place.folder / "hangups").read_text() == "1"


def test_the_service_starts_before_its_agent(place: Place) -> None:
    run = place.start("sleep", "60")
    agent = started(place.agent())
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    service = next(int(pid) for pid in children if int(pid) != place.agent())
    assert started(service) <= agent
    run.send_signal(signal.SIGTERM)
    run.wait(20)


def test_orphans_do_not_pile_up_where_exec_is_the_first_process(place: Place) -> None:
    """As in a container, by the same rule of the kernel for a subreaper."""
    code = (
        "import subprocess, time\n"
        "print(subprocess.getoutput('sleep 1 >/dev/null 2>&1 & echo $!'), flush=True)\n"
        "time.sleep(60)\n"
    )
    inherits = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "
    words = [*EXEC, "-c", "t.yaml", "--name", "svc", "--", sys.executable, "-c", code]
    run = subprocess.Popen(
        [sys.executable, "-c", inherits + "os.execv(sys.argv[1], sys.argv[1:])", *words],
        cwd=place.folder,
        stdout=subprocess.PIPE,
    )
    place.runs.append(run)
    assert run.stdout is not None
    orphan = int(run.stdout.readline())
    assert f"PPid:\t{run.pid}\n" in Path(f"/proc/{orphan}/status").read_text()
    wait_for(lambda: not Path(f"/proc/{orphan}").exists())
    run.terminate()
    assert run.wait(30) == 128 + signal.SIGTERM


def test_standard_input_is_the_services(place: Place) -> None:
    run = place.start("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.communicate(b"through", timeout=30)[0] == b"through"


def test_a_command_that_is_not_there_is_127_and_one_line(place: Place) -> None:
    run = place.start("no-such-program-here", stderr=subprocess.PIPE)
    said = run.communicate(timeout=30)[1].decode()
    assert run.returncode == 127
    assert "no-such-program-here: command not found" in said
    assert "Traceback" not in said
    assert list((place.folder / "state").iterdir()) == [], "nothing ran, so nothing is kept"


@pytest.mark.parametrize("words", [[], ["--"], ["--nmae", "x", "--", "true"], ["--name"]])
def test_wrong_usage_is_64(words: list[str]) -> None:
    run = subprocess.run([*EXEC, *words], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 64
    assert "tickbird exec [-c FILE]" in run.stderr


def test_a_wrong_configuration_stops_it_before_the_service_runs(place: Place) -> None:
    (place.folder / "t.yaml").write_text("colector: {}")
    run = place.start("touch", "ran", stderr=subprocess.PIPE)
    assert 'did you mean "collector"' in run.communicate(timeout=30)[1].decode()
    assert run.returncode == 78
    assert not (place.folder / "ran").exists()


def test_a_state_folder_that_cannot_be_made_costs_the_agent_not_the_service(place: Place) -> None:
    (place.folder / "state").write_text("a file")
    run = place.start("echo", "serving", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, b"serving\n")
    assert b"runs without its agent" in err


def test_two_services_of_one_name_have_an_agent_each(place: Place) -> None:
    first = place.start("cat", stdin=subprocess.PIPE)
    wait_for((place.state / "exec.yaml").exists)
    second = place.start("cat", stdin=subprocess.PIPE)
    other = place.folder / "state" / "svc-2" / "exec.yaml"
    wait_for(other.exists)
    assert json.loads(other.read_text())["instance"] == "svc-2"
    for run in (first, second):
        assert run.stdin is not None
        run.stdin.close()
        assert run.wait(30) == 0
