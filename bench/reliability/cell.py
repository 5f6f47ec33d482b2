"""One cell: a shipper through a schedule of faults that a seed decides, and what came of it."""

from __future__ import annotations

import bisect
import contextlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct

from tickbird.stack import ask

from .shippers import Place, Shipper, start
from .sink import CORRUPT
from .writer import Writer


@dataclass(frozen=True, slots=True)
class Profile:
    """``rate`` is lines a second; ``outage``, ``slow`` and ``patience`` are seconds: the time
    without a sink, the time with a slow one, and how long nothing may arrive before the end."""

    lines: int
    rate: float
    rotations: int
    kills: int
    outage: float
    slow: float
    patience: float


class Result(Struct):
    """Counts are lines. ``ledger`` says what a shipper with books claims, None without;
    ``unbalanced`` counts the looks at which they did not add up."""

    lost: int
    corrupt: int
    reordered: int
    twice: int
    memory: int
    cpu: float
    recovery: float | None
    seconds: float
    ledger: dict[str, Any] | None = None
    unbalanced: int = 0
    looks: int = 0


class Cell:
    def __init__(self, shipper: Shipper, profile: Profile, seed: int, folder: Path) -> None:
        self._shipper = shipper
        self._profile = profile
        self._chance = random.Random(seed)
        self._place = Place(folder, folder / "app.log", _free_port())
        self._arrived = folder / "arrived"
        self._arrived.touch()
        self._memory = 0
        self._cpu: Counter[int] = Counter()
        self._looks = self._unbalanced = 0
        self._recovery: float | None = None
        self._ended = threading.Event()
        self._busy = threading.Lock()

    def run(self) -> Result:
        began = time.monotonic()
        profile, place = self._profile, self._place
        sink = [sys.executable, "-m", "bench.reliability", "sink", self._shipper.protocol]
        self._sink = subprocess.Popen(
            [*sink, str(place.port), str(self._arrived)], stdin=subprocess.PIPE, text=True
        )
        writer = Writer(place.log, profile.lines, profile.rate, {})
        writer._events |= self._schedule(writer)
        _until_open(place.port)
        self._process = start(self._shipper, place)
        try:
            time.sleep(2)
            threading.Thread(target=self._watch, daemon=True).start()
            writer.start()
            writer.join()
            with self._busy:
                self._wait(profile.lines)
            self._ended.set()
            return self._judge(writer.generations, time.monotonic() - began)
        finally:
            self._ended.set()
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            self._process.kill()
            self._process.wait()
            self._sink.kill()
            self._sink.wait()

    def _schedule(self, writer: Writer) -> dict[int, Callable[[], None]]:
        """Faults by the number of a line: the same for every shipper with one seed."""
        profile, chance = self._profile, self._chance
        down = int(profile.lines * 0.3)
        kinds = [writer.rename, writer.copy_and_truncate]
        events: list[Callable[[], None]] = [self._kill] * profile.kills
        events += [chance.choice(kinds) for _ in range(profile.rotations)]
        chance.shuffle(events)
        places = chance.sample(range(profile.lines // 50, profile.lines * 49 // 50), len(events))
        planned = dict(zip(places, events, strict=True))
        planned[down] = self._later("down", "up", profile.outage)
        planned[down // 2] = self._later(f"slow {0.6 / profile.rate}", "slow 0", profile.slow)
        return planned

    def _later(self, now: str, then: str, seconds: float) -> Callable[[], None]:
        def begin() -> None:
            self._busy.acquire()
            self._order(now)
            threading.Timer(seconds, end).start()

        def end() -> None:
            before = self._arrived.stat().st_size
            self._order(then)
            self._busy.release()
            if then == "up":
                back = time.monotonic()
                while self._arrived.stat().st_size == before and not self._ended.is_set():
                    time.sleep(0.05)
                self._recovery = time.monotonic() - back

        return begin

    def _order(self, words: str) -> None:
        assert self._sink.stdin is not None
        self._sink.stdin.write(f"{words}\n")
        self._sink.stdin.flush()

    def _kill(self) -> None:
        """SIGKILL, and another start a second later; the writer goes on meanwhile."""
        self._process.kill()
        self._process.wait()

        def again() -> None:
            self._process = start(self._shipper, self._place)

        threading.Timer(1.0, again).start()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            pid = self._process.pid
            with contextlib.suppress(OSError, IndexError, ValueError):
                status = Path(f"/proc/{pid}/status").read_text()
                self._memory = max(self._memory, int(status.partition("VmHWM:")[2].split()[0]))
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                self._cpu[pid] = int(stat[11]) + int(stat[12])
            if self._shipper.name == "tickbird":
                logs = self._books()
                if logs is not None:
                    self._looks += 1
                    self._unbalanced += not balanced(logs)

    def _books(self) -> dict[str, Any] | None:
        said = (self._place.folder / "said.log").read_text()
        urls = re.findall(r"page (http://\S+),", said)
        with contextlib.suppress(ask.Unreachable, IndexError, KeyError):
            report = ask.document(f"{urls[-1]}/api/v1/health", timeout=5.0)
            logs: dict[str, Any] | None = report["targets"][0]["logs"]
            return logs
        return None

    def _wait(self, lines: int) -> None:
        """Until every line is there, or nothing has come for long."""
        size, changed = -1, time.monotonic()
        while time.monotonic() - changed < self._profile.patience:
            if (now := self._arrived.stat().st_size) != size:
                size, changed = now, time.monotonic()
                if now >= 4 * lines and len(set(self._numbers())) >= lines:
                    time.sleep(3)  # for its books, and for what comes twice
                    return
            time.sleep(1)

    def _numbers(self) -> array[int]:
        return array("I", self._arrived.read_bytes())

    def _judge(self, generations: list[int], seconds: float) -> Result:
        numbers = self._numbers()
        whole = [number for number in numbers if number != CORRUPT]
        there = set(whole)
        return Result(
            lost=self._profile.lines - len(there),
            corrupt=len(numbers) - len(whole),
            reordered=reordered(whole, generations),
            twice=len(whole) - len(there),
            memory=self._memory * 1024,
            cpu=sum(self._cpu.values()) / 100,
            recovery=self._recovery,
            seconds=seconds,
            ledger=self._books() if self._shipper.name == "tickbird" else None,
            unbalanced=self._unbalanced,
            looks=self._looks,
        )


def balanced(logs: dict[str, Any]) -> bool:
    final = logs["delivered"] + sum(logs["refused"].values()) + sum(logs["dropped"].values())
    return bool(logs["read"] == final + logs["queued"])


def reordered(numbers: list[int], generations: list[int]) -> int:
    """Lines that came for the first time after a later one of their generation."""
    latest: dict[int, int] = {}
    seen: set[int] = set()
    count = 0
    for number in numbers:
        if number in seen:
            continue
        seen.add(number)
        generation = bisect.bisect_right(generations, number)
        count += number < latest.get(generation, 0)
        latest[generation] = max(number, latest.get(generation, 0))
    return count


def run(shipper: Shipper, profile: Profile, seed: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        (Path(folder) / "run").mkdir(mode=0o700)
        return Cell(shipper, profile, seed, Path(folder)).run()


def _until_open(port: int) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)


def _free_port() -> int:
    """Below the range of outgoing connections, one of which could take it in an outage."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
