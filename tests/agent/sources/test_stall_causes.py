"""Real services that are held up in known ways, seen from outside without a probe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tickbird.errors import SourceError
from tickbird.linux import traceaccess, tracepoints
from tickbird.model import Stall
from tickbird.sources.looptrace import open_source
from tickbird.sources.tracereader import TraceReader
from tickbird.testing import context, read_until, target, tracepoint_ids

ASYNCIO = """
import asyncio, os, sys, threading, time

def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end: pass

def wait_for_lock(seconds):
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(seconds, lock.release).start()
    lock.acquire()

def read_a_pipe(seconds):
    reading, writing = os.pipe()
    threading.Timer(seconds, os.write, (writing, b"x")).start()
    os.read(reading, 1)

KINDS = {"computes": compute, "sleeps": time.sleep, "waits": wait_for_lock, "reads": read_a_pipe}

async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    while line := (await lines.readline()).decode().split():
        KINDS[line[0]](float(line[1]))

asyncio.run(main())
"""
NODE = """
const kinds = {
  computes(s) { const end = process.cpuUsage().user / 1e6 + s;
                while (process.cpuUsage().user / 1e6 < end); },
  sleeps(s) { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, s * 1e3); },
};
process.stdin.on('data', line => { const [kind, s] = String(line).trim().split(' ');
                                   kinds[kind](Number(s)); });
console.log('ready');
"""


class Service:
    """A loop that holds itself up as its test says, and what the tracer tells of it."""

    def __init__(self, runtime: str) -> None:
        command = ["node", "-e", NODE] if runtime == "node" else [sys.executable, "-c", ASYNCIO]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"
        self._stop = threading.Event()
        reader = TraceReader()
        self._thread = threading.Thread(target=reader.run, args=(self._stop,), daemon=True)
        self._thread.start()
        place = replace(context(), tracer=reader)
        source = open_source(target("shop", self.process.pid, runtime), place)
        assert source is not None
        self.source = source

    def stalls(self, kind: str, seconds: float) -> Stall:
        """The end of a stall of this kind."""
        assert self.process.stdin
        self.process.stdin.write(f"{kind} {seconds}\n")
        self.process.stdin.flush()
        return self.ended()

    def ended(self) -> Stall:
        items = read_until(self.source, self._over)
        return self._over(items)[0]

    @staticmethod
    def _over(items) -> list[Stall]:
        return [item for item in items if isinstance(item, Stall) and not item.ongoing]

    def end(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self.source.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def traced() -> Iterator[None]:
    """Ids by the environment, and a perf event that this host lets us open."""
    if (ids := tracepoint_ids()) is None:
        pytest.skip(f"not on this host: root, or {tracepoints.IDS_VARIABLE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tracepoints.IDS_VARIABLE, ids)
        try:
            traceaccess.open_trace(os.getpid(), (), Path()).close()
        except SourceError as error:
            pytest.skip(f"not on this host: {error}")
        yield


@pytest.fixture(scope="module")
def service(traced: None) -> Iterator[Service]:
    one = Service("asyncio")
    yield one
    one.end()


@pytest.mark.parametrize(
    ("kind", "causes", "call"),
    [
        ("computes", {"cpu", "starved"}, None),  # on a host with nothing else to do, the first
        ("sleeps", {"blocking call"}, "clock_nanosleep"),
        ("waits", {"lock"}, "futex"),
        ("reads", {"blocking call"}, "read"),
    ],
)
def test_what_held_an_asyncio_loop_is_told(service, kind, causes, call):
    stall = service.stalls(kind, 0.4)
    assert stall.cause in causes
    assert stall.certainty in ("measured", "likely")
    assert stall.evidence is not None
    if call is not None:
        assert stall.evidence["call"] is not None
        # the kernel function stands for it where only debuggers may see calls
        assert call.split("_")[-1] in stall.evidence["call"]


def test_a_process_that_was_stopped_is_not_blamed(service):
    assert service.process.stdin
    service.process.stdin.write("sleeps 0.2\n")
    service.process.stdin.flush()
    time.sleep(0.05)
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(0.8)
    service.process.send_signal(signal.SIGCONT)
    stall = service.ended()
    assert stall.duration >= 0.7
    assert stall.cause == "stopped"


def test_a_loop_that_the_host_gives_no_processor_is_starved(traced):
    service = Service("asyncio")
    cpu = min(os.sched_getaffinity(0))
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for pid in (burner.pid, service.process.pid):
            os.sched_setaffinity(pid, {cpu})
        os.setpriority(os.PRIO_PROCESS, service.process.pid, 19)
        stall = service.stalls("computes", 0.02)
        assert stall.cause == "starved"
        assert stall.evidence is not None
        assert stall.evidence["runqueue_ratio"] > stall.evidence["cpu_ratio"]
    finally:
        burner.kill()
        burner.wait()
        service.end()


@pytest.mark.node
@pytest.mark.parametrize(
    ("kind", "causes"), [("computes", {"cpu", "starved"}), ("sleeps", {"lock"})]
)
def test_what_held_a_node_loop_is_told(traced, kind, causes):
    if shutil.which("node") is None:
        pytest.skip("not on this host: Node.js")
    service = Service("node")
    try:
        assert service.stalls(kind, 0.2).cause in causes
    finally:
        service.end()
