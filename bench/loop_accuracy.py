"""P11 and P12, one cell: what a method says of a service that blocks its loop, against what the
service noted itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tickbird.exec.environment import instrumented
from tickbird.model import LoopWindow, Stall
from tickbird.sources import Source
from tickbird.sources.looptrace import open_source
from tickbird.sources.probe import ProbeReceiver, ProbeSource
from tickbird.sources.tracereader import TraceReader
from tickbird.testing import context, target

from .loop_services import Block, Load, Runtime, plan, service

EDGE = 0.01
SEEN = {"trace": 0.005, "probe": 0.1}
"""Seconds; the shortest block that must be told as a stall. The probe's is its default."""
THRESHOLD = 0.1
"""Seconds; of a stall, in what P12 asks."""
LIVE, NAMED = 0.32, 0.2
"""Seconds; blocks so long must be seen while they last, and with the function that holds them."""
LATE, WAITED = 0.005, 0.001
"""Seconds; of a wake-up after its time, and of waiting for a CPU in a second."""


@dataclass(slots=True)
class Told:
    """What came of a method: windows with the time that the thread waited for a CPU meanwhile, and
    stalls with the time (Unix seconds) at which each was told."""

    windows: list[tuple[LoopWindow, float]] = field(default_factory=list)
    stalls: list[tuple[Stall, float]] = field(default_factory=list)


def cell(runtime: Runtime, load: str, method: str, blocks: int) -> dict[str, Any]:
    """Milliseconds and counts, fit for JSON."""
    told = Told()
    stop = threading.Event()
    opened = traced if method == "trace" else probed
    with opened(runtime, plan(blocks), told, stop) as (process, port, source):
        loads = [] if load == "idle" else [Load(port, load)]
        for one in loads:
            one.start()
        began = time.monotonic()
        truth = follow(process, source, told)
        for one in loads:
            one.stop()
        rate = sum(one.answers for one in loads) / (time.monotonic() - began)
        stop.set()
    return {"rate": rate, **judge(told, truth, method, runtime.knows_turns or load == "idle")}


def follow(process: Any, source: Source, told: Told) -> dict[str, Any]:
    """Read the source once a second until the service says what it did."""
    waited = before = waits(process.pid)
    while not select.select([process.stdout], [], [], 0.2)[0]:
        for item in source.read():
            if isinstance(item, LoopWindow):
                before, waited = waited, waits(process.pid)
                told.windows.append((item, waited - before))
            elif isinstance(item, Stall):
                told.stalls.append((item, time.time()))
    truth: dict[str, Any] = json.loads(process.stdout.readline())
    return truth


def waits(pid: int) -> float:
    """Seconds that the main thread was ready and had no CPU, since its start."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


@contextlib.contextmanager
def traced(
    runtime: Runtime, blocks: list[Block], told: Told, stop: threading.Event
) -> Iterator[tuple[Any, int, Source]]:
    reader = TraceReader()
    reader.on_stall = lambda _, stall: told.stalls.append((stall, time.time()))
    with service(runtime, blocks, os.environ) as (process, port):
        text = f"targets: [{{match: {{pid: {process.pid}}}, loop: {{stall_threshold: 5ms}}}}]"
        settings = replace(context(text), tracer=reader)
        source = open_source(target(pid=process.pid, runtime=runtime.kind), settings)
        assert source is not None
        thread = threading.Thread(target=reader.run, args=(stop,), daemon=True)
        thread.start()
        yield process, port, source
        source.close()


@contextlib.contextmanager
def probed(
    runtime: Runtime, blocks: list[Block], told: Told, stop: threading.Event
) -> Iterator[tuple[Any, int, Source]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        receiver = ProbeReceiver(bound, "bench")
        receiver.on_stall = lambda _, stall: told.stalls.append((stall, time.time()))
        thread = threading.Thread(target=receiver.run, args=(stop,), daemon=True)
        thread.start()
        environ = instrumented(
            os.environ, name="bench", probe=address, token="bench", intake=address, stall=THRESHOLD
        )
        with service(runtime, blocks, environ) as (process, port):
            while not receiver.knows(process.pid):
                assert process.poll() is None
                time.sleep(0.01)
            yield process, port, ProbeSource(receiver, process.pid)
        stop.set()
        thread.join()


def judge(told: Told, truth: dict[str, Any], method: str, knows_turns: bool) -> dict[str, Any]:
    """Errors of the windows' maxima, all and those of windows without a wait for a CPU; blocks
    that no stall tells of; delays until a stall was told; culprits that were right."""
    blocks = [(end - length, end, length, late) for end, length, late, _ in truth["blocks"]]
    errors = window_errors(told, truth["turns"]) if knows_turns else []
    ended = [(one.start, one.start + one.duration) for one, _ in told.stalls if not one.ongoing]
    due = [(start + end) / 2 for start, end, length, _ in blocks if length >= SEEN[method]]
    missed = sum(not any(s - EDGE <= middle <= e + EDGE for s, e in ended) for middle in due)
    live = [told_after(told, start, end) for start, end, length, _ in blocks if length >= LIVE]
    long = [(start, end) for start, end, length, _ in blocks if length >= NAMED]
    lates = [late for *_, late in blocks]
    return {
        "stated": max((window.error for window, _ in told.windows), default=0.0) * 1e3,
        "errors": [error for error, _ in errors],
        "unstarved": [error for error, waited in errors if waited < WAITED],
        "blocks": len(due),
        "missed": missed,
        "live": live,
        "named": [sum(names(told, *one) for one in long), len(long)],
        "late": [sum(late >= LATE for late in lates), max(lates, default=0.0) * 1e3],
    }


def window_errors(told: Told, turns: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of each window whose longest turn ended well inside it (in which window one at the edge
    belongs is not the question here): milliseconds, and the seconds waited for a CPU."""
    found = []
    for window, waited in told.windows:
        end = window.start + window.duration
        near = [(s, t) for t, s in turns if window.start - EDGE < t < end + EDGE]
        if near:
            longest, at = max(near)
            if window.start + EDGE < at < end - EDGE:
                found.append((abs(window.max - longest) * 1e3, waited))
    return sorted(found)


def told_after(told: Told, start: float, end: float) -> float | None:
    """Milliseconds from the block's start until it was told of; None where it was not, while it
    lasted."""
    for stall, at in told.stalls:
        if stall.ongoing and stall.duration >= THRESHOLD and start + 0.05 < at < end:
            return (at - start) * 1e3
    return None


def names(told: Told, start: float, end: float) -> bool:
    """Whether a stall of that block names the function that held the loop."""
    for stall, _ in told.stalls:
        middle = stall.start + stall.duration / 2
        if stall.culprit and start - EDGE < middle < end + EDGE:
            words = f"{stall.culprit.get('function')} {stall.culprit.get('stack')}"
            return "compute" in words or "rest" in words
    return False
