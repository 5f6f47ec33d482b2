"""Exact loops for an ordinary user: nothing before root ran ``setup trace``, every block after."""

import ctypes.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

import tickbird
import tracing
from conftest import NOT_ON_THIS_HOST
from live import free_port
from running import TICKBIRD
from tickbird.health.render import flat

pytestmark = pytest.mark.e2e
SERVICES = Path(__file__).parents[1] / "fixtures" / "services"
# env: what setpriv itself starts, it starts while it still has root's way into closed folders
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env"]

NEAR = 0.05
"""Seconds between two starts of the same block; blocks are at least 270 ms apart."""
SCRIPTS = {
    "node": "by_node.js",
    "asyncio": "by_asyncio.py",
    "uvloop": "by_uvloop.py",
    "workers": "by_workers.py",
}


class User:
    """Uid 65534, with a copy of the package and of the services that it may read, and a Python
    that it may run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        ignore = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(Path(tickbird.__file__).parent, folder / "lib" / "tickbird", ignore=ignore)
        (folder / "services").mkdir()
        shutil.copy(Path(tracing.__file__), folder)
        for script in SCRIPTS.values():
            shutil.copy(SERVICES / f"blocker{Path(script).suffix}", folder / "services" / script)
        for name in ("home", "run", "tmp"):
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, 65534, 65534)
        for path in (folder, *folder.rglob("*")):
            if path.owner() == "root":
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        self.environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": f"{folder / 'lib'}:{sysconfig.get_path('purelib')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TICKBIRD_RUNTIME_DIR": str(folder / "run"),
            "TICKBIRD_TRACE_DIR": str(self.trace),
        }
        self.forbidding = tracing.FORBIDDING.replace(
            str(Path(tracing.__file__).parent), str(folder)
        )
        self.python = next(filter(self._usable, self._pythons()), "")

    @staticmethod
    def _pythons() -> list[str]:
        version = f"python3.{sys.version_info.minor}"
        return [sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"]

    def _usable(self, python: str) -> bool:
        try:
            return self.run(python, "-c", "import tickbird.agent, tickbird.cli.app").returncode == 0
        except OSError:
            return False

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NOBODY, *command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def tickbird(self, *words: str, under: str = "") -> subprocess.CompletedProcess[str]:
        """``under``: a program that runs the command as one that may less."""
        before = [self.python, "-c", under] if under else []
        return self.run(*before, self.python, "-m", "tickbird", *words)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*NOBODY, *command],
            cwd=self.folder / "services",
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def user():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip(f"{NOT_ON_THIS_HOST} root and setpriv")
    # not below pytest's folder, which other users may not enter
    with tempfile.TemporaryDirectory(prefix="tickbird-test-", dir="/tmp") as folder:
        user = User(Path(folder))
        if not user.python:
            pytest.skip(f"{NOT_ON_THIS_HOST} a Python and its packages that others may read")
        yield user


@pytest.fixture
def set_up(user):
    """As root: ``tickbird setup trace``, undone at the end."""

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TICKBIRD, "setup", "trace", *words],
            env={**os.environ, "TICKBIRD_TRACE_DIR": str(user.trace)},
            capture_output=True,
            text=True,
        )

    done = command("--json")
    if done.returncode != 0:
        pytest.skip(f"{NOT_ON_THIS_HOST} {done.stderr}")
    users = json.loads(done.stdout)["users"]
    if not users["allowed"]:
        command("--undo")
        pytest.skip(f"{NOT_ON_THIS_HOST} {users['problem']}")
    yield
    assert command("--undo").returncode == 0
    assert not user.trace.exists()


@pytest.fixture
def services(user):
    """Services by runtime, all blocking their loops; ended at the end."""
    started = {
        "node": user.start("node", SCRIPTS["node"]),
        "asyncio": user.start(user.python, SCRIPTS["asyncio"]),
        "uvloop": user.start(user.python, SCRIPTS["uvloop"], "uvloop"),
    }
    for service in started.values():
        assert service.stdout
        assert json.loads(service.stdout.readline())
    yield started
    for service in started.values():
        service.kill()
        service.communicate()


@pytest.fixture
def start(user):
    """Starts a service of the user in a session of its own, and ends it with all its workers."""
    started = []

    def begin(*command: str) -> subprocess.Popen[str]:
        started.append(user.start("setsid", *command))
        return started[-1]

    yield begin
    for service in started:
        os.killpg(service.pid, signal.SIGKILL)
        service.communicate()


@pytest.fixture
def helper(user):
    """As root: ``tickbird setup trace --helper``."""
    command = [*TICKBIRD, "setup", "trace", "--helper"]
    environ = {**os.environ, "TICKBIRD_TRACE_DIR": str(user.trace)}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    if process.stderr.readline().startswith("error:"):
        pytest.skip(f"{NOT_ON_THIS_HOST} {process.communicate()[1]}")
    yield process
    process.terminate()
    process.communicate()
    shutil.rmtree(user.trace)


def attach(user, services, seconds: int = 10, under: str = "") -> dict[str, dict]:
    """What ``tickbird attach`` says of each service in ten seconds."""
    pids = [str(service.pid) for service in services.values()]
    done = user.tickbird("attach", *pids, "--for", f"{seconds}s", "--json", under=under)
    assert done.stdout, done.stderr
    entries = {entry["pid"]: entry for entry in flat(json.loads(done.stdout))}
    return {name: entries[service.pid] for name, service in services.items()}


def test_who_is_not_root_gets_one_clear_line_and_changes_nothing(user):
    done = user.tickbird("setup", "trace")
    assert done.returncode == 73
    assert "sudo tickbird setup trace" in done.stderr
    assert not user.trace.exists()


@pytest.mark.node
def test_before_it_no_method_claims_to_be_exact_and_the_reason_names_it(user, services):
    for name, entry in attach(user, services).items():
        loop = entry["loop"]
        assert loop is None or loop["method"] != "trace", name
        assert "tickbird setup trace" in json.dumps(entry["findings"]), name


@pytest.mark.node
def test_after_it_every_planted_block_is_a_stall_as_long_as_it_was(user, set_up, services):
    entries = attach(user, services)
    for name, entry in entries.items():
        loop = entry["loop"]
        assert (loop["method"], loop["exact"]) == ("trace", True), name
        services[name].kill()
        truth = [json.loads(line) for line in services[name].stdout if line.endswith("\n")]
        check_stalls(loop, truth)


def check_stalls(loop, truth) -> None:
    """From the first stall to the last window: every block, none that was not, all as long."""
    stalls = [(s["start"], s["duration_seconds"]) for s in loop["stalls"] if not s["ongoing"]]
    begin, end = stalls[0][0] - NEAR, loop["windows"][-1]["start"]
    planted = [(at, long) for at, long in truth if begin < at and at + long < end]
    assert len(planted) >= 5
    errors = []
    for at, long in planted:
        found = [took for start, took in stalls if abs(start - at) < NEAR]
        assert len(found) == 1, (at, long, stalls)
        errors.append(abs(found[0] - long))
    assert statistics.median(errors) <= 0.002, errors
    for start, took in stalls:  # the first may have begun before it was looked at
        ends = start + took
        assert any(abs(ends - (at + long)) < NEAR for at, long in truth), (start, took)


@pytest.mark.node
def test_where_perf_events_are_forbidden_the_helper_of_root_makes_it_exact(user, helper, services):
    """The kernel refuses this user everything, as at level 4 and in containers."""
    entries = attach(user, services, 5, under=user.forbidding)
    for name, entry in entries.items():
        loop = entry["loop"]
        assert (loop["method"], loop["exact"]) == ("trace", True), name
        assert len([stall for stall in loop["stalls"] if not stall["ongoing"]]) >= 2, name


@pytest.mark.node
def test_an_agent_lives_and_traces_under_the_seccomp_profile_that_is_shipped(
    user, set_up, services
):
    if ctypes.util.find_library("seccomp") is None:
        pytest.skip(f"{NOT_ON_THIS_HOST} libseccomp, to put a profile in force")
    profile = user.folder / "profile.json"
    profile.write_bytes(subprocess.run([*TICKBIRD, "setup", "seccomp"], capture_output=True).stdout)
    profile.chmod(0o644)
    entries = attach(user, services, 5, under=tracing.living_by(profile))
    for name, entry in entries.items():
        assert (entry["loop"]["method"], entry["loop"]["exact"]) == ("trace", True), name


def test_each_of_four_workers_is_traced_for_itself(user, set_up, start):
    module = Path(SCRIPTS["workers"]).stem
    port = str(free_port())
    master = start(user.python, "-m", "uvicorn", f"{module}:app", "--workers", "4", "--port", port)
    assert master.stdout
    while not master.stdout.readline().startswith("["):
        assert master.poll() is None
    done = user.tickbird("attach", str(master.pid), "--for", "6s", "--json")
    (entry,) = json.loads(done.stdout)["targets"]
    assert entry["pid"] == master.pid
    assert len(entry["workers"]) == 4
    for worker in entry["workers"]:
        loop = worker["loop"]
        assert (loop["method"], loop["exact"]) == ("trace", True), worker["key"]
        assert len(loop["stalls"]) >= 5, worker["key"]


@pytest.mark.node
def test_a_process_that_turns_into_another_program_is_traced_from_then_on(user, set_up, start):
    service = start("sh", "-c", f"sleep 3; exec node {SCRIPTS['node']}")
    done = user.tickbird("attach", str(service.pid), "--for", "11s", "--json")
    entries = json.loads(done.stdout)["targets"]
    (entry,) = (one for one in entries if one["runtime"] == "node")
    assert entry["pid"] == service.pid
    assert entry["loop"]["method"] == "trace"
    assert len([stall for stall in entry["loop"]["stalls"] if not stall["ongoing"]]) >= 3
