"""For tests, ours and those of who writes a source or a check: a clock that stands still until it
is told to move, and what a source needs to be opened."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import config
from .clock import Clock, SystemClock
from .errors import CannotCreate
from .linux import proc, tracepoints, tracesetup
from .model import Identity, Item, Target
from .sources import Context, Source


class ManualClock:
    """Both clocks move only by ``advance``; ``wait`` moves them instead of sleeping."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._monotonic = 1000.0
        self._time = time

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._monotonic += seconds
        self._time += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator would."""
        self._time += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.advance(max(0.0, seconds))
        return event.is_set()


def identity_of(pid: int) -> Identity:
    """The identity of a living process (Linux). Raises FileNotFoundError when there is none."""
    stat = proc.parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    boot = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime")
    )
    return Identity(pid, stat.start_ticks, boot + stat.start_ticks / proc.TICKS)


def target(
    name: str = "test", pid: int | None = None, runtime: str = "node", ordinal: int | None = None
) -> Target:
    """A target; with ``pid`` that of a living process."""
    key = name if ordinal is None else f"{name}/{ordinal}"
    identity = None if pid is None else identity_of(pid)
    return Target(key, name, identity, runtime, ordinal, {"service.name": name})


def context(text: str = "", clock: Clock | None = None) -> Context:
    """What a source gets; ``text`` is a configuration, its first target being the source's."""
    parsed = config.parse(text, "test") if text else config.default()
    spec = parsed.targets[0] if parsed.targets else None
    return Context(parsed, spec, clock or SystemClock())


def read_until(
    source: Source, enough: Callable[[list[Item]], object], limit: float = 30.0
) -> list[Item]:
    """Read ``source`` every 50 ms until ``enough(items)`` is true of all that it gave; raises
    AssertionError after ``limit`` seconds."""
    items: list[Item] = []
    end = time.monotonic() + limit
    while not enough(items):
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s; so far: {items}")
        time.sleep(0.05)
        items += source.read()
    return items


def tracepoint_ids() -> str | None:
    """The value of ``TICKBIRD_TRACEPOINT_IDS`` on this host; None for who may not know it."""
    if given := os.environ.get(tracepoints.IDS_VARIABLE):
        return given
    try:
        ids, _ = tracesetup.read_ids()
    except CannotCreate:
        return None
    return ",".join(f"{name}={number}" for name, number in ids.items())
