"""Rows 39, 40, 53 and 54 of the fault catalogue, on a process that is really killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fixtures.logs
from fixtures.logs.collector import OK, Answer, FakeCollector

pytestmark = pytest.mark.e2e
ROTATED = 2_000
"""Lines in a file."""
READER = Path(next(iter(fixtures.logs.__path__))) / "reader.py"


class Agent:
    """The log path as a process; ``stop`` and ``kill`` end it."""

    def __init__(self, folder: Path, collector: FakeCollector) -> None:
        settings = folder / "tickbird.yaml"
        settings.write_text(
            f"state_dir: {folder}/state\ncollector: {{endpoint: '{collector.url}', timeout: 30s}}\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, READER, settings, f"{folder}/app.log"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> Agent:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> dict[str, object]:
        self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        return json.loads(out)  # type: ignore[no-any-return]


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    fake = FakeCollector()
    yield fake
    fake.close()


@pytest.fixture
def agents(tmp_path: Path, collector: FakeCollector) -> Iterator[Callable[[], Agent]]:
    started: list[Agent] = []

    def start() -> Agent:
        started.append(Agent(tmp_path, collector))
        return started[-1]

    yield start
    for agent in started:
        if agent.process.poll() is None:
            agent.kill()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def line(number: int) -> str:
    text = f"{number} {'x' * (number % 90)}"
    return f"{text} {zlib.crc32(text.encode()):08x}"


class Writer:
    """Lines in order into ``app.log``, which is renamed away now and then; on a thread of its own
    until ``finish``, or ``count`` lines at once."""

    def __init__(self, folder: Path, rotate_every: int = 100_000) -> None:
        self._folder = folder
        self._rotate_every = rotate_every
        self._rotated = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written = 0

    def write(self, count: int) -> None:
        with (self._folder / "app.log").open("a") as file:
            file.writelines(line(self.written + number) + "\n" for number in range(count))
        self.written += count
        if self.written >= self._rotate_every * (self._rotated + 1):
            self._rotate()

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.written

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.write(50)

    def _rotate(self) -> None:
        for age in range(self._rotated, 0, -1):
            name = self._folder / f"app.log.{age}"
            name.rename(self._folder / f"app.log.{age + 1}")
        (self._folder / "app.log").rename(self._folder / "app.log.1")
        self._rotated += 1


def numbers(lines: list[str]) -> list[int]:
    found = []
    for one in lines:
        text, _, crc = one.rpartition(" ")
        assert zlib.crc32(text.encode()) == int(crc, 16), f"corrupt: {one}"
        found.append(int(text.split()[0]))
    return found


def first_arrivals(found: list[int]) -> list[int]:
    return list(dict.fromkeys(found))


def test_row_54_kills_rotations_and_an_outage_lose_nothing_and_the_ledger_is_exact(
    tmp_path: Path, collector: FakeCollector, agents: Callable[[], Agent]
) -> None:
    chance, writer = random.Random(7), Writer(tmp_path, rotate_every=ROTATED)
    writer.start()
    for _ in range(4):
        agent = agents().ready()
        seen = len(collector.requests)
        until(lambda seen=seen: len(collector.requests) > seen + 2)
        time.sleep(chance.uniform(0, 0.3))
        agent.kill()
    collector.behave = lambda lines: Answer(503)
    agent = agents().ready()
    down = len(collector.requests)
    until(lambda: len(collector.requests) > down + 5)
    total = writer.finish()
    collector.behave = lambda lines: OK
    until(lambda: len(set(collector.accepted)) == total)
    totals = agent.stop()
    found = numbers(collector.accepted)
    # Ordered within a file: what waits for more of a trace may be overtaken by the next file.
    assert sorted(first_arrivals(found), key=lambda n: n // ROTATED) == list(range(total))
    assert totals["balanced"]
    assert totals["read"] == totals["delivered"] == total
    assert totals["queued"] == 0
    twice = sum(count > 1 for count in Counter(found).values())
    assert twice <= totals["redelivered"] < total  # type: ignore[operator]


def test_row_39_a_second_agent_on_one_state_folder_is_refused_until_the_first_is_dead(
    tmp_path: Path, agents: Callable[[], Agent]
) -> None:
    first = agents().ready()
    second = agents().process
    _, error = second.communicate(timeout=30)
    assert second.returncode == 73
    assert f"pid {first.process.pid}" in error
    first.kill()
    agents().ready().stop()


def test_row_53_sigterm_ends_in_time_with_a_collector_that_never_answers_and_nothing_is_lost(
    tmp_path: Path, collector: FakeCollector, agents: Callable[[], Agent]
) -> None:
    collector.behave = lambda lines: Answer(action="hang")
    Writer(tmp_path).write(3000)
    agent = agents().ready()
    until(lambda: collector.requests)
    start = time.monotonic()
    totals = agent.stop()
    assert time.monotonic() - start < 5
    assert totals["balanced"]
    assert totals["delivered"] == 0
    collector.behave = lambda lines: OK
    collector.released.set()
    again = agents().ready()
    until(lambda: len(collector.accepted) >= 3000)
    totals = again.stop()
    assert numbers(collector.accepted) == list(range(3000))
    assert totals["read"] == totals["delivered"] == 3000


def test_row_52_an_answer_lost_on_the_way_repeats_at_most_one_batch(
    tmp_path: Path, collector: FakeCollector, agents: Callable[[], Agent]
) -> None:
    collector.behave = lambda lines: Answer(action="reset") if len(collector.requests) == 3 else OK
    Writer(tmp_path).write(5000)
    agent = agents().ready()
    until(lambda: len(collector.accepted) >= 5000)
    agent.stop()
    arrived = numbers([one for request in collector.requests for one in request])
    assert first_arrivals(arrived) == list(range(5000))
    assert len(arrived) - 5000 == len(collector.requests[2])
