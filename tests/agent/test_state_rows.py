"""Rows of the fault catalogue that what is kept on disk must survive, with the whole log path
around it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.logs.collector import OK, Answer, FakeCollector
from tickbird import config
from tickbird.clock import Deadline, SystemClock
from tickbird.errors import CannotCreate
from tickbird.ledger import Ledger, Totals
from tickbird.model import Target
from tickbird.pipeline import LogPipeline
from tickbird.sinks.otlp.delivery import Backoff, Lane
from tickbird.state import State

CLOCK = SystemClock()
SHOP = Target("shop", "shop", None, "node", attributes={"service.name": "shop"})


class Life:
    """One life of the log path; ``kill`` is what SIGKILL leaves."""

    def __init__(self, folder: Path, collector: FakeCollector) -> None:
        text = f"state_dir: {folder}/state\ncollector: {{endpoint: '{collector.url}'}}"
        settings = config.parse(text, "test")
        assert settings.collector is not None
        self.ledger, self.state, self.stop = Ledger(), State(settings.folder), threading.Event()
        backoff = Backoff(0.01, 0.02, 0.02)
        self.lane = Lane(settings.collector, "logs", CLOCK, 1 << 20, backoff)
        self.pipeline = LogPipeline(settings, CLOCK, self.state, self.ledger, self.lane, None)
        threading.Thread(target=self.lane.run, args=(self.stop,), daemon=True).start()
        self.pipeline.watch(SHOP, [f"{folder}/app.log"])

    def totals(self) -> Totals:
        return self.ledger.totals("shop")

    def drain(self) -> Totals:
        self.pipeline.drain(Deadline(CLOCK, 20))
        assert self.ledger.balanced()
        return self.totals()

    def poll_until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            if self.pipeline.poll() == 0:
                time.sleep(0.01)

    def end(self) -> None:
        self.stop.set()
        self.lane.drain(Deadline(CLOCK, 1))
        self.pipeline.close()
        self.state.close()

    def kill(self) -> None:
        self.stop.set()
        self.lane.drain(Deadline(CLOCK, 0))
        self.state.close()


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def write(path: Path, *lines: object) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def numbers(collector: FakeCollector) -> list[int]:
    return [int(line) for line in collector.accepted]


def test_row_28_a_full_disk_stops_no_delivery_is_told_and_mends_by_itself(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    write(log, *range(10))
    life.drain()
    full = os.open("/dev/full", os.O_WRONLY)
    good = os.dup(life.state._journal)
    os.dup2(full, life.state._journal)
    (life.state.folder / "checkpoint.new").symlink_to("/dev/full")
    write(log, *range(10, 20))
    life.drain()
    (problem,) = life.pipeline.problems
    assert "No space left" in problem
    assert "what to do: make room there" in problem
    os.dup2(good, life.state._journal)
    (life.state.folder / "checkpoint.new").unlink()
    os.close(full)
    os.close(good)
    write(log, *range(20, 30))
    life.drain()
    assert life.pipeline.problems == []
    life.kill()
    again = Life(tmp_path, collector)
    assert again.drain().read == 30
    assert numbers(collector) == list(range(30))
    again.end()


def test_row_29_a_file_system_that_takes_no_folder_is_refused_with_a_remedy() -> None:
    with pytest.raises(CannotCreate) as caught:
        State(Path("/proc/tickbird"))
    assert "state_dir" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0" * 300,
        b'{"version": 99}\n0',
        None,
    ],
)
def test_row_36_whatever_befalls_the_checkpoints_no_line_is_skipped(
    tmp_path: Path, log: Path, collector: FakeCollector, damage: bytes | None
) -> None:
    life = Life(tmp_path, collector)
    write(log, *range(10))
    life.drain()
    life.end()
    write(log, *range(10, 20))
    for name in ("checkpoint", "checkpoint.previous", "journal", "journal.previous"):
        path = life.state.folder / name
        if path.exists():
            path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    again = Life(tmp_path, collector)
    totals = again.drain()
    assert sorted(set(numbers(collector))) == list(range(20))
    assert totals.read == totals.delivered
    assert any("was set aside" in one for one in again.pipeline.problems)
    again.end()


def test_row_36_the_state_of_another_host_skips_nothing_here(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    there = Life(other, FakeCollector())
    write(other / "app.log", *range(500, 600))
    there.drain()
    there.end()
    shutil.copytree(other / "state", tmp_path / "state")
    write(log, *range(20))
    here = Life(tmp_path, collector)
    here.drain()
    assert numbers(collector) == list(range(20))
    here.end()


def test_row_38_a_place_beyond_the_end_of_its_file_means_another_file(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    write(log, *range(100))
    life.drain()
    life.end()
    log.write_text("".join(f"{number}\n" for number in range(5)))  # what a power loss left of it
    again = Life(tmp_path, collector)
    again.drain()
    assert numbers(collector) == [*range(100), *range(5)]
    again.end()


def test_row_54_a_kill_at_any_moment_repeats_only_what_was_under_way(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    total = 0
    for number in range(8):
        life = Life(tmp_path, collector)
        write(log, *range(total, total + 700))
        total += 700
        seen = len(collector.requests)
        life.poll_until(lambda seen=seen: len(collector.requests) > seen)
        if number % 2:
            settled = total
            life.poll_until(lambda life=life, settled=settled: life.totals().delivered == settled)
        life.kill()
    again = Life(tmp_path, collector)
    totals = again.drain()
    found = numbers(collector)
    assert list(dict.fromkeys(found)) == list(range(total))
    assert totals.read == totals.delivered == total
    assert len(found) - total <= totals.redelivered <= 4 * 700
    again.end()


def test_row_55_a_loss_of_power_repeats_what_came_after_the_checkpoint_and_loses_nothing(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    life = Life(tmp_path, collector)
    write(log, *range(10))
    life.drain()
    life.end()
    life = Life(tmp_path, collector)
    write(log, *range(10, 20))
    life.drain()
    life.kill()
    for name in ("journal", "journal.previous"):  # they are not synced
        (life.state.folder / name).unlink(missing_ok=True)
    again = Life(tmp_path, collector)
    totals = again.drain()
    assert numbers(collector) == [*range(20), *range(10, 20)]
    assert totals.read == totals.delivered == 20
    again.end()


def test_what_is_refused_by_chance_and_killed_is_in_the_books_once(
    tmp_path: Path, log: Path, collector: FakeCollector
) -> None:
    collector.behave = lambda lines: Answer(400) if "13" in lines else OK
    for number in range(4):
        life = Life(tmp_path, collector)
        write(log, *range(number * 10, number * 10 + 10))
        life.drain()
        life.kill()
    again = Life(tmp_path, collector)
    totals = again.drain()
    assert totals.refused == {"bad_request": 1}
    assert totals.delivered == 39
    assert totals.read == 40
    again.end()
