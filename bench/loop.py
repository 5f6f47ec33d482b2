"""P10, P11 and P12: what each way to measure a loop is worth, and what it costs.

Every runtime and load is a cell of its own, kept in the cache until what it measures changes: a
run that is cut short goes on where it was. A cell that has not been run says so. Blocks are
log-uniform from 1 to 500 ms, by chance computing or sleeping; half and full load are requests of
200 µs over eight connections. A service that is traced has no probe in it. Needs root, or
``tickbird setup trace``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tickbird.linux import tracepoints
from tickbird.paths import cache_home
from tickbird.testing import tracepoint_ids

from . import loop_accuracy, loop_cost
from .loop_services import LOADS, NODES, Runtime, runtimes

TAKES = "1 h, resumable; --short 4 min: error, delay and cost of each way to measure a loop"
RESUMABLE = True
BLOCKS, FEW = 520, 60
"""Blocks of a cell, and of one of a short run."""
METHODS = ("trace", "probe")
_MEASURED = (
    "agent/tickbird/linux/perf.py",
    "agent/tickbird/sources/turns.py",
    "agent/tickbird/sources/tracereader.py",
    "agent/tickbird/runtimes/node/loop.cjs",
    "agent/tickbird/runtimes/python/tickbird_measure.py",
    "bench/loop_services.py",
    "bench/loop_accuracy.py",
    "bench/loop_cost.py",
)


class Cell(NamedTuple):
    name: str
    work: Callable[[], dict[str, Any]]


def cells(short: bool) -> Iterator[Cell]:
    """In the order of their worth."""
    blocks = FEW if short else BLOCKS
    known = runtimes()
    loads = LOADS[::2] if short else LOADS
    yield Cell("cost calls", lambda: loop_cost.calls(4 if short else 20))
    for busy in (1, 10):
        yield Cell(f"cost agent {busy}", lambda n=busy: loop_cost.agent(n, 10 if short else 30))
    for method in METHODS:
        for load in loads:
            for name, runtime in known.items():
                if not short or name in ("Node 20", "asyncio", "uvloop"):
                    yield Cell(f"{method} {load} {name}", _accuracy(runtime, load, method, blocks))
    for name, runtime in known.items():
        if not short or name in ("Node 20", "asyncio", "uvloop"):
            yield Cell(f"cost served {name}", _served(runtime, 6 if short else 30))


def _accuracy(
    runtime: Runtime, load: str, method: str, blocks: int
) -> Callable[[], dict[str, Any]]:
    return lambda: loop_accuracy.cell(runtime, load, method, blocks)


def _served(runtime: Runtime, seconds: float) -> Callable[[], dict[str, Any]]:
    return lambda: loop_cost.served(runtime, seconds)


def run(short: bool = False, seconds: float = math.inf) -> list[str]:
    """Run the cells that are not in the cache, for about ``seconds``; the tables."""
    ids = tracepoint_ids()
    if ids is None:
        raise SystemExit("needs root, or: sudo tickbird setup trace")
    os.environ[tracepoints.IDS_VARIABLE] = ids
    end = time.monotonic() + seconds
    found: dict[str, dict[str, Any]] = {}
    for cell in cells(short):
        path = _cached(cell.name, short)
        if not path.exists():
            if time.monotonic() > end:
                continue
            print(f"  {cell.name} ...", flush=True)
            done = {"load": os.getloadavg()[0], **cell.work()}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(done))
        found[cell.name] = json.loads(path.read_text())
    return [*_about(short), *_accuracies(found, short), *_costs(found)]


def _cached(name: str, short: bool) -> Path:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256(b"".join((root / one).read_bytes() for one in _MEASURED))
    folder = cache_home() / "bench" / "loop" / digest.hexdigest()[:16]
    return folder / f"{'short ' if short else ''}{name}.json"


def _about(short: bool) -> list[str]:
    missing = [f"Node {one}" for one in NODES if f"Node {one}" not in runtimes()]
    gone = f" Not to be had here: {', '.join(missing)}." if missing else ""
    return [
        f"{FEW if short else BLOCKS} blocks a cell. Error: of the longest iteration of a window; "
        "in brackets the p99 of windows in which the thread waited less than 1 ms for a CPU, "
        "since that wait is in the tracer's turn and not in the service's own. Seen: from the "
        "block's start until a stall of 100 ms was told, blocks of ≥ 320 ms. Named: blocks of "
        "≥ 200 ms told with the function that held the loop. Late: timers that fired ≥ 5 ms after "
        "their time, at worst; in an idle service the host woke it later than epoll's timeout, "
        "which no time of entering and leaving epoll shows; under load other callbacks are among "
        "it. Machine: the load average when the cell began, on as many CPUs as stand above; beyond "
        f"that number the errors are those of the host too.{gone} Marks: error p50 ≤ 0.5 ms, p99 "
        "≤ 2 ms, none of ≥ 5 ms missed (exact methods); "
        "seen within 300 ms; ≥ 95 % named.",
        "",
    ]


def _accuracies(found: dict[str, dict[str, Any]], short: bool) -> list[str]:
    lines = [
        "| runtime, load | method | states | windows | error p50 | p99 | missed | seen p50 | worst "
        "| named | late | machine |",
        "|---|---|--:|--:|--:|--:|---|--:|--:|--:|---|--:|",
    ]
    absent = []
    for cell in cells(short):
        method, _, rest = cell.name.partition(" ")
        load, _, name = rest.partition(" ")
        one = found.get(cell.name)
        if one is None:
            absent.append(cell.name)
        elif method in METHODS:
            lines.append(f"| {name}, {load} | {method} | {_row(one, method)} |")
    return [*lines, *(["", f"Not run: {', '.join(absent)}."] if absent else [])]


def _row(one: dict[str, Any], method: str) -> str:
    errors, calm = one["errors"], one["unstarved"]
    seen = [delay for delay in one["live"] if delay is not None]
    unseen = len(one["live"]) - len(seen)
    right, named = one["named"]
    least = loop_accuracy.SEEN[method] * 1e3
    cells = [
        f"{one['stated']:g} ms",
        str(len(errors)),
        f"{statistics.median(errors):.2f} ms" if errors else "-",
        f"{_high(errors):.2f} ms" + (f" ({_high(calm):.2f})" if calm else "") if errors else "-",
        f"{one['missed']} of {one['blocks']} ≥ {least:g} ms",
        f"{statistics.median(seen):.0f} ms" if seen else "-",
        (f"{max(seen):.0f} ms" if seen else "-") + (f", {unseen} not" if unseen else ""),
        f"{right / named:.0%}" if method == "probe" and named else "-",
        f"{one['late'][0]}, {one['late'][1]:.0f} ms",
        f"{one['load']:.1f}",
    ]
    return " | ".join(cells)


def _high(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * 0.99) - 1]


def _costs(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["", "| cost of tracing | median | 95 % interval | mark |", "|---|--:|---|---|"]
    for name, one in found.items():
        if name == "cost calls":
            lines += [
                _cost("an empty iteration of the traced loop", one["iteration"], "ns", "≤ 1,500"),
                _cost("a system call of any other process", one["call"], "ns", "published"),
            ]
        elif name.startswith("cost agent"):
            busy = name.rpartition(" ")[2]
            mark = "≤ 1 %" if busy == "1" else "≤ 3 %"
            lines += [
                _cost(f"the agent, {busy} busy, traced", one["with"], "%", mark),
                _cost(f"the same agent, not traced, {busy} busy", one["without"], "%", ""),
            ]
        elif name.startswith("cost served"):
            about = f"{name.removeprefix('cost served ')}, {one['turns']:.0f} iterations a second"
            lines += [
                _cost(f"{about}: requests a second, 200 µs each", one["rate"], "x", "≥ 0.99"),
                _cost(f"{about}: CPU a request", one["cpu"], "x", ""),
            ]
    return lines


def _cost(what: str, values: list[float], unit: str, mark: str) -> str:
    scale, digits = (100, 2) if unit == "%" else (1, 3 if unit == "x" else 0)
    middle, low, high = (one * scale for one in loop_cost.interval(values))
    return (
        f"| {what} | {middle:,.{digits}f} {unit} | {low:,.{digits}f} to {high:,.{digits}f} | "
        f"{mark} |"
    )
