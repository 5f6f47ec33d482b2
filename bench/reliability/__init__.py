"""R1: numbered lines through rotations, kills, a slow sink and an outage, for this agent and for
peers in their default and their most durable setup.

A cell (shipper, setup, seed) is one process and one result on disk, so a bench that was broken off
goes on with what is missing. Nothing here saturates a core, so cells run side by side.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tickbird
from tickbird.paths import cache_home

from .cell import Profile, Result
from .shippers import Shipper, shippers

TAKES = "40 min, resumable; --short 8 min: nothing lost or reordered, books exact (R1)"
RESUMABLE = True
FULL = Profile(
    lines=1_000_000, rate=1_100, rotations=20, kills=5, outage=600, slow=60, patience=240
)
SHORT = Profile(lines=100_000, rate=1_500, rotations=5, kills=2, outage=30, slow=10, patience=40)
SEEDS = (1, 2, 3)
TOGETHER = 5
MEMORY = 64 * 2**20


def run(short: bool = False, seconds: float = float("inf")) -> list[str]:
    """``short``: 100,000 lines and an outage of 30 s. No cell is begun after ``seconds``."""
    profile, end = SHORT if short else FULL, time.monotonic() + seconds
    cells = [
        (shipper, seed)
        for shipper in shippers()
        for seed in (SEEDS if shipper.name == "tickbird" else SEEDS[:1])
    ]
    with ThreadPoolExecutor(TOGETHER) as pool:
        results = list(pool.map(lambda cell: result_of(*cell, profile, end), cells))
    return table(profile, cells, results)


def result_of(shipper: Shipper, seed: int, profile: Profile, end: float) -> Result | str:
    """From disk where it was run before with the same code and setup, else by running it; a text
    says why there is none."""
    if (why := shipper.missing()) is not None:
        return why
    name, values = f"{shipper.name}/{shipper.setup}", dataclasses.asdict(profile)
    ours = shipper.name == "tickbird"
    code = digest(Path(tickbird.__file__).parent if ours else Path(__file__).parent)
    key = hashlib.sha256(json.dumps([name, seed, values, code]).encode()).hexdigest()[:16]
    kept = cache_home() / "bench" / "reliability" / f"{name.replace('/', '-')}-{seed}-{key}.json"
    if not kept.exists() and time.monotonic() > end:
        return "the time was up; run it again to go on"
    if not kept.exists():
        command = [sys.executable, "-m", "bench.reliability", "cell", name, str(seed)]
        done = subprocess.run(
            [*command, json.dumps(values)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return f"it failed: {done.stderr.strip().splitlines()[-1:]}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout)
        print(f"  {name}, seed {seed}: {done.stdout.strip()}", flush=True)
    return Result(**json.loads(kept.read_text()))


def digest(folder: Path) -> str:
    """Of all code below ``folder``."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def table(
    profile: Profile, cells: list[tuple[Shipper, int]], results: list[Result | str]
) -> list[str]:
    lines = [
        f"{profile.lines:,} lines at {profile.rate:,.0f}/s, {profile.rotations} rotations (rename "
        f"or copy and truncate, by chance), {profile.kills} SIGKILLs, {profile.outage:.0f} s "
        f"without a sink, {profile.slow:.0f} s with a slow one. Recovery: from the sink's return "
        "to the first line. Books: how often they did not add up when asked for, and the end.",
        "",
        "| shipper | setup | seed | lost | corrupt | reordered | twice | memory | CPU | recovery "
        "| books |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for (shipper, seed), result in zip(cells, results, strict=True):
        head = f"| {shipper.name} | {shipper.setup} | {seed} |"
        lines.append(f"{head} {_row(profile, result)} |")
    lines += ["", "Mark: 0 lost, 0 corrupt, 0 reordered, ≤ 0.5 % twice, books exact, ≤ 64 MiB."]
    return lines


def _row(profile: Profile, result: Result | str) -> str:
    if isinstance(result, str):
        return f"not run: {result} " + "| " * 7
    twice = f"{result.twice:,} ({result.twice / profile.lines:.2%})"
    recovery = f"{result.recovery:.1f} s" if result.recovery is not None else "never"
    memory, cpu = f"{result.memory / 2**20:.0f} MiB", f"{result.cpu:.0f} s"
    counts = f"{result.lost:,} | {result.corrupt:,} | {result.reordered:,} | {twice}"
    return f"{counts} | {memory} | {cpu} | {recovery} | {_books(profile, result)}"


def _books(profile: Profile, result: Result) -> str:
    if result.ledger is None:
        return "none" if not result.looks else "no answer at the end"
    logs = result.ledger
    exact = logs["read"] == logs["delivered"] == profile.lines and logs["queued"] == 0
    end = "exact" if exact else f"read {logs['read']:,}, delivered {logs['delivered']:,}"
    again = f"{logs['redelivered']:,} called repeats"
    return f"{result.unbalanced} of {result.looks} looks; {end}; {again}"
