"""The log path asleep: what wakes it, and that nothing else has to."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailing import append, rename_rotation
from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.ledger import Ledger
from tickbird.model import Target
from tickbird.pipeline import LogPipeline
from tickbird.sources import attention
from tickbird.state import State

LINE = '{"msg": "no line of several"}\n'
SHOP = Target("shop", "shop", None, "node", attributes={"service.name": "shop"})


class Reading:
    """The log path without a Collector, and the thread that runs it as the agent does."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.config = config.parse(f"state_dir: {folder}/state\n{settings}", "test")
        self.state = State(self.config.folder)
        self.ledger = Ledger()
        self.pipeline = LogPipeline(self.config, SystemClock(), self.state, self.ledger, None, None)
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.pipeline.wake()
        if self._thread.ident:
            self._thread.join(20)
        assert not self._thread.is_alive()
        self.pipeline.close()
        self.state.close()

    def lines(self) -> int:
        return self.ledger.totals("shop").read

    def _run(self) -> None:
        while not self._stop.is_set():
            self.rounds += 1
            if self.pipeline.poll() == 0:
                self.pipeline.wait()


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Callable[..., Reading]]:
    made: list[Reading] = []

    def make(settings: str = "") -> Reading:
        made.append(Reading(tmp_path, settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_a_sleeping_reader_is_woken_by_lines_rotations_targets_and_the_end(
    tmp_path: Path, reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SLOW", 3600.0)  # so that nothing is found by looking again
    here = reading()
    here.start()
    log = tmp_path / "app.log"
    append(log, LINE)
    here.pipeline.watch(SHOP, [str(log)])
    until(lambda: here.lines() == 1)
    for number in range(2, 6):
        append(log, LINE)
        until(lambda number=number: here.lines() == number)
    rename_rotation(log)
    append(log, LINE)
    until(lambda: here.lines() == 6)
    append(log, LINE)
    until(lambda: here.lines() == 7)


def test_an_idle_reader_sleeps(tmp_path: Path, reading: Callable[..., Reading]) -> None:
    here = reading()
    for number in range(10):
        append(tmp_path / f"{number}.log", LINE)
    here.pipeline.watch(SHOP, [str(tmp_path / "*.log")])
    here.start()
    until(lambda: here.lines() == 10)
    time.sleep(1.5)  # its batches have left by now
    before = here.rounds
    time.sleep(1)
    assert here.rounds - before <= 2


@pytest.mark.parametrize(("settings", "lines"), [("", 1), ("logs: {compressed: true}", 2)])
def test_row_35_compressed_files_are_read_where_the_configuration_asks(
    tmp_path: Path, reading: Callable[..., Reading], settings: str, lines: int
) -> None:
    log = tmp_path / "app.log"
    with gzip.open(log.with_name("app.log.1.gz"), "wt") as packed:
        packed.write("packed\n")
    append(log, "a\n")
    here = reading(settings)
    here.pipeline.watch(SHOP, [str(tmp_path / "app.log*")])
    here.pipeline.drain(Deadline(SystemClock(), 20))
    assert here.lines() == lines
