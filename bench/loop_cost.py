"""P10: what tracing costs the traced thread, every other process of the machine, and the agent."""

from __future__ import annotations

import contextlib
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tickbird.linux import perf, tracepoints

from . import stage
from .loop_services import Load, Runtime, service

FLIP = 0.25
"""Seconds that tracing is on, or off, before it changes."""
WARM_UP = 20.0
"""Seconds; on a machine that ten loops keep busy an agent takes long to start."""
BUSY = """
import asyncio, sys, time
async def main():
    while True:
        end = time.perf_counter() + 200e-6
        while time.perf_counter() < end: pass
        await asyncio.sleep(0)
asyncio.run(main())
"""


def calls(seconds: float) -> dict[str, Any]:
    """Nanoseconds that tracing adds to an empty iteration of the traced thread, and to a system
    call of a process that is not traced."""
    with select.epoll() as polled:
        iteration = _added(threading.get_native_id(), lambda: polled.poll(0), seconds / 2)
    with stage.services(1, "bench-loop-cost") as (other,):
        call = _added(other, os.getppid, seconds / 2)
    return {"iteration": iteration, "call": call}


def _added(thread: int, call: Callable[[], object], seconds: float) -> list[float]:
    """Of each pair of runs, one with ``thread`` traced and one not. The trace is opened and closed:
    one that only rests still has the kernel look for tracepoints at every system call."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        took = {}
        for traced in random.sample((True, False), 2):
            with _trace(thread) if traced else contextlib.nullcontext():
                began = time.thread_time_ns()
                for _ in range(5000):  # fewer than fill a ring
                    call()
                took[traced] = (time.thread_time_ns() - began) / 5000
        found.append(took[True] - took[False])
    return sorted(found)


def served(runtime: Runtime, seconds: float) -> dict[str, Any]:
    """A saturated service of 200 µs a request: ratios traced / not of requests a second and of CPU
    a request, a pair of flips each; and iterations a second."""
    rates, costs, turns = [], [], []
    with service(runtime, [], os.environ) as (process, port):
        load = Load(port, "saturated")
        load.start()
        time.sleep(1.0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with _trace(process.pid) as trace:
                on = _flip(process.pid, load)
                turns.append(len(trace.read().pairs) / 2 / FLIP)
            off = _flip(process.pid, load)
            rates.append(on[0] / off[0])
            costs.append((on[1] / on[0]) / (off[1] / off[0]))
        load.stop()
    return {"rate": sorted(rates), "cpu": sorted(costs), "turns": statistics.median(turns)}


def _flip(pid: int, load: Load) -> tuple[float, float]:
    """Answers a second, and CPU seconds a second, of one flip."""
    books = Path(f"/proc/{pid}/task/{pid}/schedstat")
    began, answers, ran = time.monotonic(), load.answers, int(books.read_text().split()[0])
    time.sleep(FLIP)
    took = time.monotonic() - began
    return (load.answers - answers) / took, (int(books.read_text().split()[0]) - ran) / 1e9 / took


def agent(busy: int, seconds: float) -> dict[str, Any]:
    """Shares of a core that an agent uses for ``busy`` loops at full speed, traced and not, in
    windows of two agents that run side by side."""
    with _busy(busy) as pids, tempfile.TemporaryDirectory() as folder:
        found: dict[str, list[float]] = {"trace": [], "probe": []}
        with contextlib.ExitStack() as opened:
            running = {}
            for method in found:
                place = Path(folder, method)
                place.mkdir()
                config = _config(place, pids, method)
                running[method] = opened.enter_context(stage.agent(config)).pid
            time.sleep(WARM_UP)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                before = {method: stage.cost(pid).cpu for method, pid in running.items()}
                began = time.monotonic()
                time.sleep(10.0)
                for method, pid in running.items():
                    used = stage.cost(pid).cpu - before[method]
                    found[method].append(used / (time.monotonic() - began))
    return {"with": sorted(found["trace"]), "without": sorted(found["probe"])}


def _config(folder: Path, pids: Sequence[int], method: str) -> Path:
    """``probe`` is a method that these services do not have: nothing measures their loops."""
    lines = [f"instance: bench-{method}", "api: {listen: '127.0.0.1:0'}"]
    lines += ["intake: {otlp_http: '127.0.0.1:0'}", "targets:"]
    for pid in pids:
        lines.append(f"- {{name: s{pid}, match: {{pid: {pid}}}, loop: {{method: {method}}}}}")
    path = folder / "tickbird.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextlib.contextmanager
def _busy(count: int) -> Iterator[list[int]]:
    running = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(count)]
    try:
        yield [one.pid for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()


@contextlib.contextmanager
def _trace(thread: int) -> Iterator[perf.EpollTrace]:
    trace = perf.EpollTrace(perf.open_events(thread, tracepoints.tracepoint_ids(())))
    try:
        yield trace
    finally:
        trace.close()


def interval(values: Sequence[float], draws: int = 500) -> tuple[float, float, float]:
    """Median, and its 95 % interval by bootstrap."""
    medians = sorted(statistics.median(random.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(draws * 0.025)], medians[int(draws * 0.975)]
