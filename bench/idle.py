"""P7: what the idle agent costs, ten services at 1 Hz and ten log files; recorder and API on.

CPU is that of the whole process as the kernel counts it, in windows after a warm-up. Where
process-exporter is installed it watches the same services, asked once a second.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import stage, start
from .sampling import EXPORTER, exporter

TAKES = "3 min: CPU and memory of the idle agent (P7)"
MARK = "tickbird-bench-idle"
WARM_UP = 45.0
"""Seconds; services younger than this are looked at more often, on purpose."""
WINDOWS = 6
WINDOW = 10.0


def run() -> list[str]:
    with tempfile.TemporaryDirectory() as folder, stage.services(10, MARK) as pids:
        found = {"tickbird run": tickbird(Path(folder), pids)}
        if shutil.which(EXPORTER):
            found["process-exporter, scraped at 1 Hz"] = other()
    lines = [
        f"| 10 targets, {WINDOWS} windows of {WINDOW:.0f} s | share of a core | spread | RSS |",
        "|---|--:|---|--:|",
    ]
    for name, (shares, resident) in found.items():
        spread = f"{min(shares):.2%} to {max(shares):.2%}"
        cells = f"{statistics.mean(shares):.2%} | {spread} | {resident / 2**20:.1f} MiB"
        lines.append(f"| {name} | {cells} |")
    lines.append("| mark | ≤ 0.20% | | ≤ 40 MB |")
    return lines


def tickbird(folder: Path, pids: list[int]) -> tuple[list[float], int]:
    config = stage.configure(folder, pids)
    start.first_sample(config)  # an agent that compiles its own code needs more memory ever after
    with stage.agent(config) as running:
        return observe(running.pid, lambda: None)


def other() -> tuple[list[float], int]:
    """process-exporter keeps no series by itself: it works when it is asked."""
    with exporter(MARK) as (pid, ask):
        return observe(pid, ask)


def observe(pid: int, every_second: Callable[[], object]) -> tuple[list[float], int]:
    """Share of a core in each window, and resident bytes at the end."""
    seconds = _seconds(every_second)
    _until(seconds, time.monotonic() + WARM_UP)
    shares = []
    for _ in range(WINDOWS):
        began, before = time.monotonic(), stage.cost(pid)
        _until(seconds, began + WINDOW)
        spent = stage.cost(pid).cpu - before.cpu
        shares.append(spent / (time.monotonic() - began))
    return shares, stage.cost(pid).resident


def _seconds(work: Callable[[], object]) -> Iterator[float]:
    due = time.monotonic()
    while True:
        work()
        due += 1.0
        with contextlib.suppress(ValueError):
            time.sleep(due - time.monotonic())
        yield time.monotonic()


def _until(seconds: Iterator[float], end: float) -> None:
    for now in seconds:
        if now >= end:
            return
