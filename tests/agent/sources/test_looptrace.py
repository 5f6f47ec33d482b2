import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest

from tickbird.errors import SourceError, TargetGone
from tickbird.linux import perf, tracepoints
from tickbird.model import LoopWindow, Stall
from tickbird.sources.looptrace import Turns, loop_thread, open_source
from tickbird.testing import context, read_until, target, tracepoint_ids

MS = 1_000_000

NODE = """
const blocks = JSON.parse(process.argv[1]);
const now = () => Number(process.hrtime.bigint());
let next = 0;
function turn() {
  if (next === blocks.length) { console.log('done'); return setInterval(() => {}, 1e6); }
  const began = now();
  const end = began + blocks[next++] * 1e6;
  while (now() < end);
  console.log(JSON.stringify((now() - began) / 1e9));
  setTimeout(turn, 60);
}
console.log('ready');
process.stdin.once('data', () => setTimeout(turn, 60));
"""
PYTHON = """
import asyncio, json, sys, threading, time
blocks = json.loads(sys.argv[1])
async def main():
    loop = asyncio.get_running_loop()
    started = asyncio.Event()
    def wait():
        sys.stdin.readline()
        loop.call_soon_threadsafe(started.set)
    threading.Thread(target=wait, daemon=True).start()
    print('ready', flush=True)
    await started.wait()
    for milliseconds in blocks:
        await asyncio.sleep(.06)
        began = time.monotonic()
        time.sleep(milliseconds / 1e3)
        print(json.dumps(time.monotonic() - began), flush=True)
    await asyncio.sleep(.06)
    print('done', flush=True)
    await asyncio.sleep(1e6)
"""
IN_A_THREAD = "import threading\nt=threading.Thread(target=lambda: asyncio.run(main()))\nt.start()"


def unavailable(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def traced(monkeypatch):
    """Ids by the environment, and a perf event that this host lets us open."""
    if (ids := tracepoint_ids()) is None:
        unavailable(f"needs root, or {tracepoints.IDS_VARIABLE}")
    monkeypatch.setenv(tracepoints.IDS_VARIABLE, ids)
    try:
        perf.EpollTrace(os.getpid(), tracepoints.tracepoint_ids(())).close()
    except SourceError as error:
        unavailable(str(error))


class Service:
    """A real process that blocks its loop for given times, and says how long it really did."""

    def __init__(self, runtime: str, blocks: list[int], in_a_thread: bool = False) -> None:
        arguments = [json.dumps(blocks)]
        if runtime == "node":
            if shutil.which("node") is None:
                unavailable("needs Node.js")
            command = ["node", "-e", NODE, *arguments]
        else:
            start = IN_A_THREAD if in_a_thread else "asyncio.run(main())"
            command = [sys.executable, "-c", PYTHON + start, *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.line() == "ready"

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def start(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def truth(self) -> list[float]:
        return [float(line) for line in iter(self.line, "done")]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def services():
    started: list[Service] = []

    def start(*arguments, **named) -> Service:
        started.append(Service(*arguments, **named))
        return started[-1]

    yield start
    for service in started:
        service.end()


def ended(items) -> list[Stall]:
    return [one for one in items if isinstance(one, Stall) and not one.ongoing]


@pytest.mark.node
def test_every_block_of_a_node_loop_is_measured_as_long_as_it_was(traced, services):
    check_blocks(services("node", [120, 150, 110, 230, 170, 30, 300]), "node")


def test_every_block_of_an_asyncio_loop_is_measured_as_long_as_it_was(traced, services):
    check_blocks(services("asyncio", [120, 150, 110, 230, 170, 30, 300]), "asyncio")


def check_blocks(service: Service, runtime: str) -> None:
    source = open_source(target(pid=service.pid, runtime=runtime), context())
    began = time.time()
    service.start()
    stalls = ended(read_until(source, lambda items: len(ended(items)) >= 6))
    truth = [seconds for seconds in service.truth() if seconds >= 0.1]
    source.close()
    assert len(stalls) == len(truth) == 6
    errors = [abs(s.duration - t) for s, t in zip(stalls, truth, strict=True)]
    assert statistics.median(errors) <= 0.002
    assert [s.start for s in stalls] == sorted(s.start for s in stalls)
    assert all(began <= s.start <= time.time() for s in stalls)


@pytest.mark.node
def test_a_stall_is_seen_while_it_lasts_and_ends_as_the_same_one(traced, services):
    service = services("node", [900])
    source = open_source(target(pid=service.pid, runtime="node"), context())
    service.start()
    items = read_until(source, ended)
    source.close()
    ongoing = [one for one in items if isinstance(one, Stall) and one.ongoing]
    assert len(ongoing) >= 5
    assert ongoing[0].duration < 0.3
    lengths = [one.duration for one in ongoing]
    assert lengths == sorted(lengths)
    (stall,) = ended(items)
    assert {one.start for one in ongoing} == {stall.start}
    assert stall.duration == pytest.approx(service.truth()[0], abs=0.02)


def test_windows_tell_blocked_and_waiting_time(traced, services):
    service = services("asyncio", [400, 400])
    source = open_source(target(pid=service.pid, runtime="asyncio"), context())
    service.start()

    def windows(items):
        return [one for one in items if isinstance(one, LoopWindow)]

    found = windows(read_until(source, lambda items: len(windows(items)) >= 2))
    source.close()
    assert found[1].start == pytest.approx(found[0].start + found[0].duration, abs=0.01)
    for window in found:
        assert window.active + window.idle <= window.duration + 0.001
        assert sum(window.histogram.values()) == window.count
    # Beside a busy neighbour the service wakes late from its own sleep, and that counts.
    assert 0.395 <= max(window.max for window in found) <= 0.6
    assert sum(window.active for window in found) >= 0.79


def test_the_loop_is_found_in_another_thread_than_the_main_one(traced, services):
    service = services("asyncio", [200], in_a_thread=True)
    end = time.monotonic() + 10
    while loop_thread(service.pid, "asyncio") == service.pid:  # it is on its way into epoll
        assert time.monotonic() < end
    source = open_source(target(pid=service.pid, runtime="asyncio"), context())
    service.start()
    (stall,) = ended(read_until(source, ended))
    source.close()
    assert stall.duration == pytest.approx(service.truth()[0], abs=0.02)


def test_a_killed_process_is_gone(traced, services):
    service = services("asyncio", [])
    source = open_source(target(pid=service.pid, runtime="asyncio"), context())
    os.kill(service.pid, signal.SIGKILL)
    service.process.wait()
    with pytest.raises(TargetGone):
        read_until(source, lambda items: False)
    source.close()
    source.close()
    assert source.read() == []


@pytest.mark.parametrize("method", ["probe", "attach", "estimated"])
def test_another_configured_method_leaves_the_loop_alone(method):
    text = f"targets: [{{name: x, match: {{pid: 1}}, loop: {{method: {method}}}}}]"
    assert open_source(target(pid=os.getpid()), context(text)) is None


def test_what_has_no_loop_is_not_traced():
    assert open_source(target(), context()) is None
    assert open_source(target(pid=os.getpid(), runtime="other"), context()) is None


# ---- folding, without a kernel -------------------------------------------------------------


def turns(threshold: float = 0.1) -> Turns:
    return Turns(threshold, now=0, offset=1_000_000_000 * MS * 1000)


def test_leaving_and_entering_makes_an_iteration_and_the_rest_is_idle():
    folded = turns()
    folded.feed([(True, 10 * MS), (False, 30 * MS), (True, 90 * MS)])
    window = folded.close_window(100 * MS, 0)
    assert (window.count, window.sum, window.max) == (1, 0.02, 0.02)
    assert window.active == pytest.approx(0.03)
    assert window.idle == pytest.approx(0.06)


def test_an_iteration_over_a_window_edge_counts_where_it_ends_its_time_where_it_passed():
    folded = turns()
    folded.feed([(True, 600 * MS)])
    first = folded.close_window(1000 * MS, 0)
    (stall,) = folded.feed([(False, 1100 * MS)])
    second = folded.close_window(2000 * MS, 0)
    assert (first.count, first.active) == (0, pytest.approx(0.4))
    assert (second.count, second.active) == (1, pytest.approx(0.1))
    assert second.idle == pytest.approx(0.9)
    assert stall.duration == pytest.approx(0.5)


def test_a_gap_in_the_records_makes_no_iteration_of_its_two_ends():
    folded = turns()
    stalls = folded.feed([(True, 10 * MS), (None, 0), (False, 900 * MS)])
    assert stalls == []
    assert folded.close_window(1000 * MS, 0).count == 0
    assert folded.ongoing(2000 * MS) is None


def test_a_loop_that_waits_has_no_stall_however_long():
    folded = turns()
    folded.feed([(True, 1 * MS), (False, 2 * MS)])
    assert folded.ongoing(60_000 * MS) is None


def test_a_stall_keeps_its_start_when_the_wall_clock_steps():
    folded = turns()
    folded.feed([(True, 0)])
    first = folded.ongoing(500 * MS)
    folded.close_window(1000 * MS, offset=5)
    (last,) = folded.feed([(False, 1500 * MS)])
    assert first is not None
    assert last.start == first.start
    assert last.duration == 1.5


def test_a_thread_that_was_never_in_epoll_is_told_from_an_idle_loop():
    folded = turns()
    assert not folded.seen
    folded.feed([(False, 1)])
    assert folded.seen
