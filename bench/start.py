"""P8: from starting ``tickbird run`` to its first sample of ten services.

The agent says how many targets it watches right after the first sample of every one, so what is
measured is an upper bound. The bare interpreter stands beside it: that part is not ours.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import stage

TAKES = "20 s: from starting `tickbird run` to its first sample (P8)"
ROUNDS = 15
MARK = 0.300


def run() -> list[str]:
    with tempfile.TemporaryDirectory() as name, stage.services(10, "tickbird-bench") as pids:
        config = stage.configure(Path(name), pids)
        ways: dict[str, Callable[[], float]] = {
            "tickbird run, to the first sample of 10 targets": lambda: first_sample(config),
            "imports alone": lambda: interpreter(config, "import tickbird.cli.lean"),
            "the bare interpreter in the same environment": lambda: interpreter(config, "pass"),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 1):
            for way, measure in ways.items():
                spent = measure()
                if number:  # the first round compiles and fills the page cache
                    found[way].append(spent)
    return table(found)


def first_sample(config: Path) -> float:
    """Seconds until the agent says that it watches."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tickbird", "run", "-c", str(config)]
    with subprocess.Popen(
        command, env=stage.environment(config.parent), stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if "watching 10 targets" in line:
                spent = time.monotonic() - began
                running.terminate()
                running.stderr.read()
                return spent
    raise SystemExit("the agent ended instead of watching:\n" + "".join(said))


def interpreter(config: Path, code: str) -> float:
    """Seconds that Python takes to start, run ``code`` and end."""
    began = time.monotonic()
    environment = stage.environment(config.parent)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.monotonic() - began


def table(found: dict[str, list[float]]) -> list[str]:
    lines = [f"| {ROUNDS} rounds in turn | median | spread | mark |", "|---|--:|---|--:|"]
    for number, (way, values) in enumerate(found.items()):
        spread = f"{min(values) * 1000:.0f} to {max(values) * 1000:.0f} ms"
        mark = f"≤ {MARK * 1000:.0f} ms" if number == 0 else ""
        lines.append(f"| {way} | {statistics.median(values) * 1000:.0f} ms | {spread} | {mark} |")
    return lines
