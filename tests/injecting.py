"""Rows of what can go wrong when a probe is put into a running Node: one try of each, with a real
target that tells afterwards how it is. Tests run each row a few times, the bench a hundred times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path

from running import TICKBIRD
from tickbird.inject import gates, journal
from tickbird.inject.injector import Order, Outcome, carry_out
from tickbird.inject.launch import Injection
from tickbird.linux import sockdiag

WAIT = 30.0
TOKEN = "a-token-of-this-try"

SERVICE = """
const channels = require('diagnostics_channel');
const http = require('http');
let signals = 0;
if (process.env.OWN_HANDLER) process.on('SIGUSR1', () => signals++);
function hold(ms) { const end = Date.now() + ms; while (Date.now() < end); }
function sleep(ms) { require('child_process').execSync(`sleep ${ms / 1000}`); }
http.createServer((request, response) => {
  const [, what, value] = request.url.split('/');
  if (what === 'hold') hold(Number(value));
  if (what === 'sleep') { response.end('{}'); setTimeout(sleep, 20, Number(value)); return; }
  if (what === 'exit') setTimeout(() => process.exit(0), Number(value));
  response.end(JSON.stringify({
    pid: process.pid,
    signals,
    inspector: require('inspector').url() || null,
    probe: Boolean(globalThis[Symbol.for('tickbird.probe.v1')]),
    exits: process.listenerCount('exit'),
    watched: channels.channel('http.server.request.start').hasSubscribers,
    resources: process.getActiveResourcesInfo().length,
  }));
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
"""


def until(true: Callable[[], object], what: str, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}"
        time.sleep(0.01)


class Target:
    """A real Node with an HTTP server that says what it finds about itself."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        script = folder / "service.cjs"
        script.write_text(SERVICE)
        self.stderr = folder / "stderr"
        kept = {k: v for k, v in os.environ.items() if k not in ("NODE_OPTIONS", "TICKBIRD_PROBE")}
        with self.stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**kept, **(env or {})},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.stderr.read_text()
        self.port = int(line)
        self.pid = self.process.pid
        until(lambda: self.facts().catches or self.facts().age > 1, "its handlers")

    def facts(self) -> gates.Facts:
        found = gates.look(self.pid)
        assert found is not None
        return found

    def ask(self, what: str = "state", seconds: float = WAIT) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{what}", timeout=seconds) as it:
            return json.load(it)

    def listening(self) -> set[int]:
        """Ports but that of its own server: an inspector's."""
        own = gates.own_sockets(self.pid)
        found = sockdiag.listening() or {}
        return {port for inode, port in found.items() if inode in own} - {self.port}

    def well(self, signals: int = 0) -> None:
        """It lives, answers, and nothing of ours is left in it."""
        ended = self.process.poll()
        assert ended is None, f"it ended: {ended}; {self.stderr.read_text()}"
        until(lambda: not self.listening(), "its inspector to be closed")
        until(lambda: not self.ask()["probe"], "the probe to leave")
        state = self.ask()
        assert state["pid"] == self.pid
        assert state["inspector"] is None
        assert state["signals"] == signals
        assert (state["exits"], state["watched"]) == (0, False)
        assert "rror" not in self.stderr.read_text(), self.stderr.read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@dataclass
class Stand:
    """Where tries are made: a Node and a folder of their own."""

    node: str
    folder: Path
    heard: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.heard.bind(("127.0.0.1", 0))
        self.heard.settimeout(WAIT)
        runtime = self.folder / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        os.environ["TICKBIRD_RUNTIME_DIR"] = str(runtime)

    @contextlib.contextmanager
    def target(self, *options: str, port: int = 0, **env: str) -> Iterator[Target]:
        """``port``: of its inspector; any free one, so that tries beside this one do no harm."""
        one = Target([self.node, f"--inspect-port={port}", *options], self.folder, env)
        try:
            yield one
        finally:
            one.close()

    def order(self, pid: int) -> Order:
        found = gates.look(pid)
        return Order(pid, found.start_ticks if found else 0, self.heard.getsockname()[1])

    def inject(self, pid: int) -> Outcome:
        """By the process that does it for an agent, to its end."""
        return wait(Injection(self.order(pid), TOKEN))

    def report(self) -> tuple[dict, tuple[str, int]]:
        """The next report of a probe, and where it came from."""
        while True:
            datagram, sender = self.heard.recvfrom(65_535)
            found = json.loads(datagram)
            if found["token"] == TOKEN and "seq" in found:
                return found, sender

    def deaf(self) -> None:
        """From now on nobody listens, as when an agent has ended."""
        self.heard.close()

    def entries(self) -> list[str]:
        return [path.name for path in journal.folder().glob("*.json")]

    def close(self) -> None:
        self.heard.close()


def wait(injection: Injection, seconds: float = 120.0) -> Outcome:
    end = time.monotonic() + seconds
    while (outcome := injection.poll()) is None:
        assert time.monotonic() < end, "the injector does not end"
        time.sleep(0.01)
    return outcome


def runs(pid: int) -> bool:
    found = gates.look(pid)
    return found is not None and found.state != "Z"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.problem is not None, outcome
    assert all(word in outcome.problem for word in words), outcome.problem
    assert outcome.remedy


@cache
def options(node: str) -> str:
    return subprocess.check_output([node, "--help"], text=True)


def knows(node: str, option: str) -> bool:
    """Whether this Node has the option."""
    return re.search(rf"{option}\b", options(node)) is not None


def permission(node: str) -> list[str]:
    """What puts this Node under its permission model and lets the service work; empty when it has
    none."""
    model = next(filter(partial(knows, node), ("--permission", "--experimental-permission")), None)
    if model is None:
        return []
    net = [option for option in ("--allow-net",) if knows(node, option)]
    return [model, "--allow-fs-read=*", *net]


def lacks(node: str, row: str) -> str | None:
    """What this Node lacks for a row to mean anything."""
    if row == "disable_sigusr1" and not knows(node, "--disable-sigusr1"):
        return "a Node that has --disable-sigusr1"
    if row == "process_of_another_user" and os.geteuid() != 0:
        return "root, who can be another user"
    if row == "permission_model" and not permission(node):
        return "a Node that has --permission"
    return None


def own_handler_of_sigusr1(stand: Stand) -> None:
    with stand.target(OWN_HANDLER="1") as target:
        refused(stand.inject(target.pid), "handles SIGUSR1 itself")
        target.well(signals=0)


def disable_sigusr1(stand: Stand) -> None:
    with stand.target("--disable-sigusr1") as target:
        refused(stand.inject(target.pid), "--disable-sigusr1")
        target.well()


def permission_model(stand: Stand) -> None:
    with stand.target(*permission(stand.node)) as target:
        refused(stand.inject(target.pid), "--permission")
        target.well()


def open_debugger(stand: Stand) -> None:
    with stand.target(port=free_port()) as target:
        os.kill(target.pid, signal.SIGUSR1)
        until(target.listening, "the inspector that somebody opened")
        before = target.listening()
        refused(stand.inject(target.pid), "open already")
        assert target.listening() == before
        assert target.ask()["inspector"]
        assert not target.ask()["probe"]


def inspector_port_taken(stand: Stand) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with stand.target(port=taken.getsockname()[1]) as target:
            refused(stand.inject(target.pid), "taken by another process")
            target.well()


def not_node(stand: Stand) -> None:
    code = "import time; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            refused(stand.inject(process.pid), "not Node.js")
            assert process.poll() is None
        finally:
            process.kill()


def attach_under_load(stand: Stand) -> None:
    """Nothing goes wrong: the probe comes and goes while the target serves as fast as it can."""
    with stand.target() as target:
        over = threading.Event()
        answers: list[int] = []
        load = threading.Thread(target=_ask_until, args=(target, over, answers))
        load.start()
        try:
            assert stand.inject(target.pid).problem is None
            _, sender = stand.report()
            stand.heard.sendto(b"leave", sender)
            target.well()
        finally:
            over.set()
            load.join()
        assert answers
        assert set(answers) == {target.pid}


def attach_while_the_loop_is_held(stand: Stand) -> None:
    """The inspector opens and takes the probe within one callback, and stays closed after it."""
    with stand.target() as target:
        order = stand.order(target.pid)
        held = threading.Thread(target=target.ask, args=("hold/1200",))
        held.start()
        time.sleep(0.1)
        assert wait(Injection(order, TOKEN)).problem is None
        held.join()
        _, sender = stand.report()
        time.sleep(0.1)
        assert not target.listening()
        stand.heard.sendto(b"leave", sender)
        target.well()


def _ask_until(target: Target, over: threading.Event, answers: list[int]) -> None:
    while not over.is_set():
        try:
            answers.append(target.ask()["pid"])
        except OSError:
            answers.append(0)


def process_of_another_user(stand: Stand) -> None:
    """An agent of uid 65534 looks at a process of root's: only where the tests are run by root."""
    with stand.target() as target:
        order = stand.order(target.pid)
        mine, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                with tempfile.TemporaryDirectory(dir="/tmp") as place:
                    os.environ["TICKBIRD_RUNTIME_DIR"] = place
                    os.write(theirs, json.dumps(asdict(carry_out(order, TOKEN))).encode())
            os._exit(0)
        os.close(theirs)
        os.waitpid(child, 0)
        with os.fdopen(mine, "rb") as said:
            refused(Outcome(**json.loads(said.read())), "another user")
        target.well()


def target_exits_during_attach(stand: Stand) -> None:
    with stand.target() as target:
        order = stand.order(target.pid)
        target.ask(f"exit/{random.uniform(40, 120):.0f}")
        outcome = wait(Injection(order, TOKEN))
        assert outcome.problem is None or "ended" in outcome.problem, outcome
        assert target.process.wait(5) == 0  # it does not wait for us, but for an answer under way
        tidy(stand)


def injector_killed_during_attach(stand: Stand) -> None:
    with stand.target() as target:
        injection = Injection(stand.order(target.pid), TOKEN)
        while not stand.entries() and runs(injection.pid):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.04))
        os.kill(injection.pid, signal.SIGKILL)
        outcome = wait(injection)
        assert outcome.problem is None or outcome.again, outcome
        tidy(stand)
        stand.deaf()
        target.well()


def agent_killed_during_attach(stand: Stand) -> None:
    with stand.target() as target:
        process = start_agent(stand, target.pid)
        while not stand.entries() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.04))
        process.kill()
        process.wait()
        target.well()
        until(lambda: not stand.entries(), "the injector to end by itself")


def everything_killed_while_the_loop_stands_still(stand: Stand) -> None:
    with stand.target() as target:
        target.ask("sleep/1500")
        time.sleep(0.1)
        injection = Injection(stand.order(target.pid), TOKEN)
        until(stand.entries, "the signal to be noted")
        time.sleep(0.1)
        os.kill(injection.pid, signal.SIGKILL)
        wait(injection)
        until(target.listening, "the inspector to open, which nobody closes")
        tidy(stand)
        stand.deaf()
        target.well()


def start_agent(stand: Stand, pid: int, method: str = "attach") -> subprocess.Popen[bytes]:
    document = {
        "instance": "inject",
        "state_dir": str(stand.folder / "state"),
        "api": {"listen": "127.0.0.1:0"},
        "intake": {"otlp_http": "127.0.0.1:0"},
        "targets": [{"name": "shop", "match": {"pid": pid}, "loop": {"method": method}}],
    }
    config = stand.folder / "tickbird.yaml"
    config.write_text(json.dumps(document))
    with (stand.folder / "agent.log").open("ab") as log:
        return subprocess.Popen([*TICKBIRD, "run", "-c", str(config)], stderr=log)


def tidy(stand: Stand) -> None:
    """What the next start of an agent does; afterwards the journal is empty."""
    assert wait(Injection(Order())).problem is None
    assert stand.entries() == []


ROWS: dict[str, Callable[[Stand], None]] = {
    one.__name__: one
    for one in (
        attach_under_load,
        attach_while_the_loop_is_held,
        own_handler_of_sigusr1,
        disable_sigusr1,
        permission_model,
        open_debugger,
        inspector_port_taken,
        not_node,
        process_of_another_user,
        target_exits_during_attach,
        injector_killed_during_attach,
        agent_killed_during_attach,
        everything_killed_while_the_loop_stands_still,
    )
}
