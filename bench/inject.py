"""A probe put into a running Node: a hundred tries of each row of what can go wrong.

A try holds when the target is alive and well afterwards, its inspector closed, and the reason said
where nothing was put in; the rows are those of the tests (tests/injecting.py). What is done is kept
by version of Node and row, so that a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tickbird import inject
from tickbird.paths import cache_home

from . import loop_services

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import injecting

TAKES = "5 min for each Node: 100 tries of every fault of an attach"
RESUMABLE = True
TRIES = 100
AT_ONCE = 4


def run(short: bool, seconds: float) -> list[str]:
    """A table of rows; ``short``: few tries; what is not begun after ``seconds`` is left out."""
    tries = 5 if short else TRIES
    end = time.monotonic() + seconds
    lines = ["| Node | row | held | seconds each |", "|---|---|---|---|"]
    left = 0
    for version, node in nodes().items():
        for row in injecting.ROWS:
            if (lack := injecting.lacks(node, row)) is not None:
                lines.append(f"| {version} | {row} | not tried: needs {lack} | |")
                continue
            if (found := cell(version, node, row, tries, end)) is None:
                left += 1
                continue
            lines.append(f"| {version} | {row} | {found[0]} of {tries} | {found[1]:.1f} |")
            print(lines[-1], flush=True)
    if left:
        lines += ["", f"{left} rows are not measured yet: the bench goes on with them next time."]
    return lines


def nodes() -> dict[str, str]:
    """Path by version of every Node at hand, the machine's own first."""
    paths = [one.command[0] for one in loop_services.runtimes().values() if one.kind == "node"]
    paths.sort(key=lambda path: path != shutil.which("node"))
    return {
        subprocess.check_output([path, "-p", "process.versions.node"], text=True).strip(): path
        for path in paths
    }


def cell(version: str, node: str, row: str, tries: int, end: float) -> tuple[int, float] | None:
    """How many tries held, and seconds for each; from the cache where it is there. None when it is
    not and ``end`` has come."""
    kept = cache_home() / "bench" / "inject" / f"{version}-{row}-{tries}-{code()}.json"
    if kept.is_file():
        held, seconds = json.loads(kept.read_text())
        return int(held), float(seconds)
    if time.monotonic() > end:
        return None
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        outcomes = pool.starmap(attempt, [(node, row)] * tries, chunksize=1)
    for problem in filter(None, outcomes):
        print(f"{version} {row}: {problem}", flush=True)
    found = outcomes.count(None), (time.monotonic() - began) * AT_ONCE / tries
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def code() -> str:
    """What changes whenever the code under test does: old results are not believed then."""
    root = Path(inject.__file__).parent
    files = sorted([*root.glob("*.py"), *(root.parent / "runtimes/node").glob("*.cjs")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def attempt(node: str, row: str) -> str | None:
    """One try; what went wrong, None when it held."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TICKBIRD_STATE_DIR"] = folder
        stand = injecting.Stand(node, Path(folder))
        try:
            injecting.ROWS[row](stand)
        except (AssertionError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            stand.close()
    return None
