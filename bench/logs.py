"""P1 to P5: log lines per CPU second, ours beside rsyslog, syslog-ng, the Collector, Scalyr's agent
and the OpenTelemetry SDK.

All read the same file of JSON lines and send it over loopback to one sink that counts. A shipper
is started on the first lines and measured over the rest, so its start is left out; CPU is that of
its whole process tree, user and system; memory is the sum of the highest resident set of each.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import corpus, shippers
from .shippers import NotToBeHad, Shipper

TAKES = "5 min: log lines per CPU second, beside five peers (P1 to P5)"
ROUNDS = 5
FIRST = 2_000
LINES = 100_000
PATIENCE = 180.0
"""Seconds for one shipper to deliver everything."""

OURS = "tickbird"
WITHOUT_RULES = "tickbird, no redaction"
SHIPPERS = (
    shippers.tickbird(OURS, "parse, redact, correlate, OTLP, gzip"),
    shippers.tickbird(WITHOUT_RULES, "the same without rules", "redact: {patterns: none}"),
    Shipper("rsyslog", "imfile, mmjsonparse, omfwd", shippers.rsyslog),
    Shipper("syslog-ng", "json-parser, format-json, network", shippers.syslog_ng),
    Shipper("Collector", "file_log, json_parser, otlp_http, gzip", shippers.collector),
    Shipper("opentelemetry-sdk", "json, BatchLogRecordProcessor, OTLP, gzip", shippers.sdk),
    Shipper("scalyr-agent-2", "no parsing, the same rules, deflate", shippers.scalyr(rules=True)),
    Shipper("scalyr-agent-2, no rules", "no parsing, deflate", shippers.scalyr(rules=False)),
)
MARKS = (
    ("P1", "lines per CPU second", "rsyslog", 1.0),
    ("P2", "lines per CPU second", "Collector", 1.0),
    ("P3", "lines per CPU second", "opentelemetry-sdk", 6.0),
    ("P4", "lines per CPU second", "scalyr-agent-2", 4.0),
)


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds and the highest resident bytes."""

    cpu: float
    resident: int

    @property
    def rate(self) -> float:
        return (LINES - FIRST) / self.cpu


def run(names: Sequence[str] = (), rounds: int = ROUNDS) -> list[str]:
    taking_part = [one for one in SHIPPERS if not names or one.name in names]
    runs: dict[str, list[Run]] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        lines = Path(name, "corpus")
        corpus.write(lines, LINES)
        for number in range(rounds):
            for shipper in taking_part:
                if shipper.name in absent:
                    continue
                try:
                    one = measure(shipper, lines)
                except NotToBeHad as why:
                    absent[shipper.name] = str(why)
                    continue
                runs.setdefault(shipper.name, []).append(one)
                said = f"{one.rate:,.0f} lines/s, {one.resident / 2**20:.0f} MiB"
                print(f"  round {number + 1}: {shipper.name}: {said}", flush=True)
    return [*table(taking_part, runs, absent), "", *marks(runs)]


def measure(shipper: Shipper, lines: Path) -> Run:
    """One run of a shipper over ``lines``; raises ``NotToBeHad``."""
    with tempfile.TemporaryDirectory() as name, sink() as (http, tcp):
        log = Path(name, "app.log")
        with lines.open("rb") as source:
            log.write_bytes(b"".join(source.readline() for _ in range(FIRST)))
            command = shipper.prepare(Path(name), http, tcp)
            with started(command, Path(name, "output")) as process:
                wait_for(FIRST, http, process, shipper.name)
                time.sleep(1.0)
                before = cpu(process)
                with log.open("ab") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                wait_for(LINES, http, process, shipper.name)
                return Run(cpu(process) - before, resident(process))


@contextlib.contextmanager
def sink() -> Iterator[tuple[int, int]]:
    """HTTP and TCP port of a running ``bench.sink``, on the first core."""
    command = [sys.executable, "-m", "bench.sink"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as running:
        os.sched_setaffinity(running.pid, {min(os.sched_getaffinity(0))})
        assert running.stdout is not None
        http, tcp = running.stdout.readline().split()
        try:
            yield int(http), int(tcp)
        finally:
            running.kill()


@contextlib.contextmanager
def started(command: shippers.Command, output: Path) -> Iterator[psutil.Process]:
    """A shipper on the last core."""
    with output.open("w") as said:
        running = subprocess.Popen(
            command.arguments,
            env=dict(command.environment),
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
        )
    process = psutil.Process(running.pid)
    os.sched_setaffinity(running.pid, {max(os.sched_getaffinity(0))})
    try:
        yield process
    finally:
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                one.kill()
        running.wait()


def wait_for(records: int, http: int, process: psutil.Process, name: str) -> None:
    end = time.monotonic() + PATIENCE
    while (seen := arrived(http)) < records:
        if time.monotonic() > end or process.status() == psutil.STATUS_ZOMBIE:
            raise NotToBeHad(f"{name} delivered {seen:,} of {records:,} lines here")
        time.sleep(0.1)


def arrived(http: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/", timeout=30) as answer:
        return int(answer.read())


def cpu(process: psutil.Process) -> float:
    """Of the tree, those that ended included."""
    tree = [process, *process.children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:4]) for one in tree))


def resident(process: psutil.Process) -> int:
    tree = [process, *process.children(recursive=True)]
    status = (Path(f"/proc/{one.pid}/status").read_text() for one in tree)
    return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in status) * 1024


def table(
    taking_part: Sequence[Shipper], runs: dict[str, list[Run]], absent: dict[str, str]
) -> list[str]:
    lines = [
        f"{LINES - FIRST:,} JSON lines (pino and structlog, 320 bytes each), rounds in turn.",
        "",
        "| shipper | what it does | lines per CPU second | spread | RSS | ours is |",
        "|---|---|--:|---|--:|--:|",
    ]
    for shipper in taking_part:
        found = runs.get(shipper.name)
        if not found:
            why = absent.get(shipper.name, "not run")
            lines.append(f"| {shipper.name} | {shipper.does} | - | not run: {why} | | |")
            continue
        rates = [one.rate for one in found]
        memory = statistics.median(one.resident for one in found) / 2**20
        ours = "" if shipper.name == OURS else f"{_ratio(runs, shipper.name):.2f}x"
        lines.append(
            f"| {shipper.name} | {shipper.does} | {statistics.median(rates):,.0f} "
            f"| {min(rates):,.0f} to {max(rates):,.0f} | {memory:.0f} MiB | {ours} |"
        )
    return lines


def marks(runs: dict[str, list[Run]]) -> list[str]:
    """A line for each number that was measured."""
    lines = ["| | against | mark | measured | spread over rounds |", "|---|---|--:|--:|---|"]
    for number, what, peer, mark in MARKS:
        if OURS in runs and peer in runs:
            pairs = [a.rate / b.rate for a, b in zip(runs[OURS], runs[peer], strict=False)]
            lines.append(_mark(f"{number} {what}", peer, f"≥ {mark}x", pairs))
    if OURS in runs and "Collector" in runs:
        both = zip(runs[OURS], runs["Collector"], strict=False)
        shares = [a.resident / b.resident for a, b in both]
        lines.append(_mark("P2 RSS", "Collector", "≤ 0.7x", shares))
    if OURS in runs and WITHOUT_RULES in runs:
        both = zip(runs[OURS], runs[WITHOUT_RULES], strict=False)
        lines.append(_mark("P5 CPU", WITHOUT_RULES, "≤ 1.2x", [a.cpu / b.cpu for a, b in both]))
    return lines


def _mark(what: str, peer: str, mark: str, ratios: Sequence[float]) -> str:
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"| {what} | {peer} | {mark} | {statistics.median(ratios):.2f}x | {spread} |"


def _ratio(runs: dict[str, list[Run]], peer: str) -> float:
    pairs = zip(runs.get(OURS, ()), runs[peer], strict=False)
    return statistics.median([a.rate / b.rate for a, b in pairs] or [float("nan")])
