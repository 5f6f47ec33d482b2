import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from running import until
from tickbird.errors import SourceError, TargetGone
from tickbird.linux import tracepoints
from tickbird.linux.loopthread import Place, loop_thread, place
from tickbird.linux.perf import Stretch
from tickbird.linux.traceaccess import open_trace
from tickbird.model import LoopWindow, Stall
from tickbird.sources.looptrace import open_source
from tickbird.sources.tracereader import TraceReader
from tickbird.sources.turns import Turns
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
import asyncio, json, os, sys, threading, time
blocks = json.loads(sys.argv[1])
async def main():
    loop = asyncio.get_running_loop()
    started = asyncio.Event()
    def wait():
        said = sys.stdin.readline()
        if said.startswith('['):
            command = json.loads(said)
            os.execvp(command[0], command)
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
OFTEN_BLOCKED = "setInterval(() => { const t = Date.now(); while (Date.now() - t < 150); }, 400)"
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
        open_trace(os.getpid(), (), Path("/nowhere")).close()
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

    def become(self, command: list[str]) -> None:
        """Run another program in the same process."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

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


def windows(items) -> list[LoopWindow]:
    return [one for one in items if isinstance(one, LoopWindow)]


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


@pytest.mark.node
def test_the_reader_tells_of_a_stall_while_it_lasts_and_the_source_counts_it_once(traced, services):
    service = services("node", [900])
    told: list[Stall] = []
    settings = replace(context(), tracer=TraceReader())
    settings.tracer.on_stall = lambda pid, stall: told.append(stall)
    source = open_source(target(pid=service.pid, runtime="node"), settings)
    stop = threading.Event()
    thread = threading.Thread(target=settings.tracer.run, args=(stop,))
    thread.start()
    service.start()
    try:
        until(lambda: ended(told), "the end of the stall")
        assert len([one for one in told if one.ongoing]) >= 3
        assert len({one.start for one in told}) == 1
        assert ended(source.read()) == ended(told)
        service.process.kill()
        until(lambda: source.fileno() is None, "the ring of a dead thread to be left alone")
    finally:
        stop.set()
        source.close()
        thread.join()


def test_a_loop_that_hung_before_it_was_looked_at_is_seen_to_hang(traced, services):
    service = services("asyncio", [1500])
    service.start()
    until(lambda: place(service.pid, service.pid) is Place.ELSEWHERE, "the block to begin")
    source = open_source(target(pid=service.pid, runtime="asyncio"), context())
    items = read_until(source, ended)
    source.close()
    assert any(isinstance(one, Stall) and one.ongoing for one in items)
    (stall,) = ended(items)
    assert 0.1 <= stall.duration <= service.truth()[0] + 0.02
    # nobody knows how long it had lasted, so it is no iteration of a length
    assert all(one.max < 0.1 for one in items if isinstance(one, LoopWindow))


@pytest.mark.node
def test_a_loop_that_only_waits_has_windows_from_the_first_second_on(traced, services):
    service = services("node", [])
    until(lambda: place(service.pid, service.pid) is Place.EPOLL, "the loop to wait")
    source = open_source(target(pid=service.pid, runtime="node"), context())
    (window,) = read_until(source, lambda items: items)
    source.close()
    assert window.count == 0
    assert window.idle == pytest.approx(window.duration, abs=0.05)


def test_lost_records_make_the_window_inexact_and_are_counted(traced):
    """This process is the target: it turns too often for its ring and reads too late."""
    source = open_source(target(pid=os.getpid(), runtime="asyncio"), context())
    with select.epoll() as polled:
        for _ in range(12_000):
            polled.poll(0)
        items = read_until(source, windows)
        polled.poll(0)
        items += read_until(source, windows)
    problems = list(source.problems)
    source.close()
    assert max(window.error for window in windows(items)) > 0.001
    assert [word for word in " ".join(problems).split() if word.isdigit()]


@pytest.mark.node
def test_a_rest_costs_the_windows_their_exactness_and_invents_no_stall(traced, services):
    service = services("node", [400])
    tracer = TraceReader()
    source = open_source(target(pid=service.pid, runtime="node"), replace(context(), tracer=tracer))
    tracer.rest(True)
    service.start()
    service.truth()
    tracer.rest(False)
    items = read_until(source, lambda items: any(isinstance(one, LoopWindow) for one in items))
    source.close()
    assert not [one for one in items if isinstance(one, Stall)]
    assert max(one.error for one in items if isinstance(one, LoopWindow)) > 0.1


@pytest.mark.node
def test_a_process_that_becomes_another_program_is_traced_on(traced, services):
    service = services("asyncio", [])
    source = open_source(target(pid=service.pid, runtime="asyncio"), context())
    service.become(["node", "-e", OFTEN_BLOCKED])
    items = read_until(source, lambda items: len(ended(items)) >= 3)
    source.close()
    stalls = ended(items)
    assert not [one for one in items if isinstance(one, Stall) and one.duration > 1]
    assert statistics.median(stall.duration for stall in stalls) == pytest.approx(0.15, abs=0.02)


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


@pytest.mark.parametrize("method", ["probe", "estimated"])
def test_another_configured_method_leaves_the_loop_alone(method):
    text = f"targets: [{{name: x, match: {{pid: 1}}, loop: {{method: {method}}}}}]"
    assert open_source(target(pid=os.getpid()), context(text)) is None


def test_what_has_no_loop_is_not_traced():
    assert open_source(target(), context()) is None
    assert open_source(target(pid=os.getpid(), runtime="other"), context()) is None


# ---- folding, without a kernel -------------------------------------------------------------


def test_a_block_among_many_short_turns_is_found_in_the_sum_of_them():
    folded = turns()
    times = [at * MS for at in (10, 11, 20, 21, 30, 280, 290, 291)]
    (stall,) = folded.feed(Stretch([], times, [(True, 300 * MS)]))
    window = folded.close_window(400 * MS, 0)
    assert stall.duration == 0.25
    assert (window.count, window.min, window.max) == (4, 0.001, 0.25)
    assert window.sum == pytest.approx(0.253)
    assert window.active == pytest.approx(0.353)
    assert window.idle == pytest.approx(9e-3 * 3 + 0.01 - 0.001 + 0.001, abs=0.002)
    assert sum(window.histogram.values()) == 4


def test_a_gap_is_the_error_of_its_window():
    folded = turns()
    folded.feed(Stretch([(True, 10 * MS), (False, 20 * MS), (None, 7), (True, 320 * MS)]))
    assert folded.close_window(1000 * MS, 0).error == pytest.approx(0.3)
    assert folded.lost == 7
    assert folded.close_window(2000 * MS, 0).error == 0.001


def turns(threshold: float = 0.1) -> Turns:
    return Turns(threshold, now=0, offset=1_000_000_000 * MS * 1000)


def test_leaving_and_entering_makes_an_iteration_and_the_rest_is_idle():
    folded = turns()
    folded.feed(Stretch([(True, 10 * MS), (False, 30 * MS), (True, 90 * MS)]))
    window = folded.close_window(100 * MS, 0)
    assert (window.count, window.sum, window.max) == (1, 0.02, 0.02)
    assert window.active == pytest.approx(0.03)
    assert window.idle == pytest.approx(0.06)


def test_an_iteration_over_a_window_edge_counts_where_it_ends_its_time_where_it_passed():
    folded = turns()
    folded.feed(Stretch([(True, 600 * MS)]))
    first = folded.close_window(1000 * MS, 0)
    (stall,) = folded.feed(Stretch([(False, 1100 * MS)]))
    second = folded.close_window(2000 * MS, 0)
    assert (first.count, first.active) == (0, pytest.approx(0.4))
    assert (second.count, second.active) == (1, pytest.approx(0.1))
    assert second.idle == pytest.approx(0.9)
    assert stall.duration == pytest.approx(0.5)


def test_a_gap_in_the_records_makes_no_iteration_of_its_two_ends():
    folded = turns()
    stalls = folded.feed(Stretch([(True, 10 * MS), (None, 0), (False, 900 * MS)]))
    assert stalls == []
    assert folded.close_window(1000 * MS, 0).count == 0
    assert folded.ongoing(2000 * MS) is None


def test_a_loop_that_waits_has_no_stall_however_long():
    folded = turns()
    folded.feed(Stretch([(True, 1 * MS), (False, 2 * MS)]))
    assert folded.ongoing(60_000 * MS) is None


def test_a_stall_keeps_its_start_when_the_wall_clock_steps():
    folded = turns()
    folded.feed(Stretch([(True, 0)]))
    first = folded.ongoing(500 * MS)
    folded.close_window(1000 * MS, offset=5)
    (last,) = folded.feed(Stretch([(False, 1500 * MS)]))
    assert first is not None
    assert last.start == first.start
    assert last.duration == 1.5


def test_a_thread_that_was_never_in_epoll_is_told_from_an_idle_loop():
    folded = turns()
    assert not folded.seen
    folded.feed(Stretch([(False, 1)]))
    assert folded.seen
