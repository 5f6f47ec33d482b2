"""P6: CPU per process sampled, ours (with encoding) beside psutil and process-exporter.

Targets hold 20 descriptors, 4 threads and 4 MB each. Every round measures each way once, in turn.
1,000 processes would need some 8 GB of memory and two minutes: ``run(counts=(1000,))``.
process-exporter takes part when it is installed (Debian: prometheus-process-exporter); its figure
includes its answer over HTTP, as ours includes the OTLP request.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from tickbird.linux import proc
from tickbird.sinks.otlp.metrics import MetricsEncoder
from tickbird.sources import process
from tickbird.store import Store
from tickbird.testing import context, target

TAKES = "20 s: CPU per process sampled, beside psutil and process-exporter (P6)"
ROUNDS = 5
MARK = "tickbird-bench-target"
EXPORTER = "prometheus-process-exporter"
Way = Callable[[], float]
"""Samples every process once and returns the CPU seconds it took."""


@contextlib.contextmanager
def targets(count: int) -> Iterator[list[int]]:
    """``count`` processes, forked from one small parent so that they start at once."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
    code += f"from bench import sampling; sampling.hold({count})"
    parent = subprocess.Popen([sys.executable, "-c", code, MARK], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(count)]
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        parent.wait()


def hold(count: int) -> None:
    """Body of the targets' parent: forks them, prints their pids, waits until they are killed."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            kept = [bytearray(os.urandom(1)) * (4 << 20), *map(open, [os.devnull] * 17)]
            for _ in range(3):
                threading.Thread(target=threading.Event().wait, daemon=True).start()
            threading.Event().wait()
            del kept
        print(pid, flush=True)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def ours(pids: list[int], encode: bool) -> Way:
    settings, store, encoder = context(), Store(), MetricsEncoder()
    watched = [target(f"t{pid}", pid) for pid in pids]
    opened = [process.open_source(one, settings) for one in watched]

    def sample() -> float:
        began = time.process_time()
        for one, source in zip(watched, opened, strict=True):
            assert source is not None
            samples = source.read()
            if encode:
                store.update(one, "process", samples, time.time())
        if encode:
            assert sum(len(body) for body, _ in encoder.encode(store.series())) > 0
        return time.process_time() - began

    return sample


def by_psutil(pids: list[int]) -> Way:
    watched = [psutil.Process(pid) for pid in pids]

    def sample() -> float:
        began = time.process_time()
        for one in watched:
            with one.oneshot():
                one.cpu_times()
                one.memory_info()
                one.num_threads()
                one.num_fds()
                one.io_counters()
                one.num_ctx_switches()
        return time.process_time() - began

    return sample


@contextlib.contextmanager
def exporter(mark: str) -> Iterator[tuple[int, Way]]:
    """The pid of a process-exporter (without threads and smaps, one group for each process that
    has ``mark`` among its arguments), and what asks it."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        config = Path(folder) / "config.yml"
        config.write_text(f'process_names: [{{name: "{{{{.PID}}}}", cmdline: ["{mark}"]}}]\n')
        command = [EXPORTER, "-config.path", str(config), "-web.listen-address", address]
        flags = ["-threads=false", "-gather-smaps=false"]
        with subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL) as running:
            try:
                yield running.pid, scrape(running.pid, f"http://{address}/metrics")
            finally:
                running.terminate()


def scrape(pid: int, url: str) -> Way:
    def used() -> float:
        stat = proc.parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
        return stat.user + stat.system

    def sample() -> float:
        for _ in range(100):
            began = used()
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(url).read()
                return used() - began
            time.sleep(0.05)
        raise SystemExit(f"{EXPORTER} does not answer")

    return sample


def measure(count: int, rounds: int) -> dict[str, list[float]]:
    """Way → µs of CPU per process and sample, one figure a round; a warm-up is thrown away."""
    with contextlib.ExitStack() as stack:
        pids = stack.enter_context(targets(count))
        ways: dict[str, Way] = {
            "tickbird, reading and OTLP": ours(pids, encode=True),
            "tickbird, reading alone": ours(pids, encode=False),
            "psutil, 8 fields": by_psutil(pids),
        }
        if shutil.which(EXPORTER):
            _, ways["process-exporter"] = stack.enter_context(exporter(MARK))
        # enough repeats for the 10 ms ticks that the kernel counts other processes' CPU in
        repeats = max(3, 300 // count)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                spent = sum(way() for _ in range(repeats)) / repeats / count * 1e6
                if number:
                    found[name].append(spent)
        return found


def table(count: int, found: dict[str, list[float]]) -> Iterator[str]:
    first = statistics.median(next(iter(found.values())))
    yield f"| {count} processes | µs CPU per process and sample | spread | ours / this |"
    yield "|---|--:|---|--:|"
    for name, values in found.items():
        middle = statistics.median(values)
        spread = f"{min(values):.0f} to {max(values):.0f}"
        yield f"| {name} | {middle:.0f} | {spread} | {first / middle:.2f} |"


def run(counts: Sequence[int] = (10, 100)) -> list[str]:
    lines = [f"psutil {psutil.__version__}"]
    if not shutil.which(EXPORTER):
        lines.append(f"Without process-exporter: {EXPORTER} is not installed.")
    for count in counts:
        lines += ["", *table(count, measure(count, ROUNDS))]
    return lines
