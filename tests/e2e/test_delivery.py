"""Every line reaches a receiver that is not of this project, with its attributes flat, through
kills, rotations and an outage."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import programs
from live import Agent, free_port
from running import until

pytestmark = [pytest.mark.e2e, pytest.mark.backends]

LINES = 24_000
RATE = 2_400
"""Lines a second."""


class Receiver:
    """The real Collector, that writes what it takes into a file; ``stop`` lets it end its work."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._program = programs()["otelcol"].program
        self._file = folder / "received.json"
        self._config = folder / "otelcol.yaml"
        self._config.write_text(
            f"receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{self.port}'}}}}}}}}\n"
            f"exporters: {{file: {{path: '{self._file}', append: true}}}}\n"
            "service:\n  telemetry: {metrics: {level: none}}\n"
            "  pipelines: {logs: {receivers: [otlp], exporters: [file]}}\n"
        )
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--config", self._config], stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def records(self) -> list[dict[str, Any]]:
        """Attributes of every record, in order of arrival; a line that is being written is left
        for the next look."""
        text = self._file.read_text() if self._file.exists() else ""
        found = []
        for request in text.splitlines(keepends=True):
            for resource in json.loads(request)["resourceLogs"] if request.endswith("\n") else ():
                for scope in resource["scopeLogs"]:
                    found += [attributes(record) for record in scope["logRecords"]]
        return found


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    pairs = {one["key"]: one["value"] for one in record["attributes"]}
    return pairs | {"body": record["body"].get("stringValue")}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    yield made
    made.stop()


class Writer(threading.Thread):
    """A service's numbered lines, in a file that is rotated by both ways now and then."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._rotations = sorted(chance.sample(range(LINES), 6))
        self._ways = [chance.choice((self._rename, self._copy)) for _ in self._rotations]
        self.written = 0
        path.touch()

    def run(self) -> None:
        began = time.monotonic()
        while self.written < LINES:
            due = min(LINES, int((time.monotonic() - began) * RATE))
            if self._rotations and self._rotations[0] <= due:
                due = self._rotations.pop(0)
                self._write(due)
                self._age(self._ways.pop())
            self._write(due)
            time.sleep(0.01)

    def _write(self, due: int) -> None:
        with self._path.open("a") as file:
            for number in range(self.written, due):
                line = {"level": "info", "seq": number, "msg": f"line {number}", "user": {"id": 7}}
                file.write(json.dumps(line) + "\n")
        self.written = max(due, self.written)

    def _age(self, way: Any) -> None:
        for age in range(6, 0, -1):
            old = self._path.with_name(f"{self._path.name}.{age}")
            if old.exists():
                old.rename(self._path.with_name(f"{self._path.name}.{age + 1}"))
        way(self._path.with_name(f"{self._path.name}.1"))

    def _rename(self, to: Path) -> None:
        self._path.rename(to)
        self._path.touch()

    def _copy(self, to: Path) -> None:
        shutil.copyfile(self._path, to)
        with self._path.open("r+") as file:
            file.truncate(0)


def test_row_54_kills_rotations_and_an_outage_cost_no_line_at_a_receiver_of_others(
    tmp_path: Path, receiver: Receiver
) -> None:
    chance = random.Random(5)
    logs = tmp_path / "logs"
    logs.mkdir()
    writer = Writer(logs / "gen.log", chance)
    settings = {
        "collector": {"endpoint": f"http://127.0.0.1:{receiver.port}"},
        "targets": [{"name": "gen", "logs": [f"{logs}/*.log"]}],
    }
    agent = Agent(tmp_path, settings).ready()
    try:
        writer.start()
        for number in range(5):
            time.sleep(chance.uniform(0.2, 1.5))
            agent.kill()
            if number == 2:
                receiver.stop()
            agent = Agent(tmp_path, settings).ready()
        time.sleep(1)
        receiver.start()
        writer.join()
        wanted = set(range(LINES))
        until(lambda: wanted <= sequence(receiver.records()).keys(), "every line", 90)
        until(lambda: books(agent)["queued"] == 0, "the last answer to be noted")
        totals = books(agent)
    finally:
        agent.end()
    receiver.stop()
    records = receiver.records()
    arrived = sequence(records)
    assert arrived.keys() == wanted
    assert {json.dumps(one["user.id"]) for one in records} == {'{"intValue": "7"}'}
    assert all(one["body"] == f"line {one['seq']['intValue']}" for one in records)
    twice = arrived.total() - LINES
    assert twice <= 6 * 1000, "more was repeated than was under way at five kills and an outage"
    assert totals["read"] == totals["delivered"] == LINES
    assert totals["refused"] == totals["dropped"] == {}
    assert twice <= totals["redelivered"] + 1000  # what the outage repeats is no kill's
    assert in_order(records)


def sequence(records: list[dict[str, Any]]) -> Counter[int]:
    """How often each number arrived; a record without it is a failure."""
    return Counter(int(one["seq"]["intValue"]) for one in records)


def books(agent: Agent) -> dict[str, Any]:
    logs: dict[str, Any] = agent.health()["targets"][0]["logs"]
    return logs


def in_order(records: list[dict[str, Any]]) -> bool:
    """Whether first arrivals of one generation come in the order of their offsets."""
    last: dict[str, int] = {}
    seen: set[int] = set()
    for one in records:
        number, offset = int(one["seq"]["intValue"]), int(one["tickbird.log.offset"]["intValue"])
        generation = one["tickbird.log.generation"]["stringValue"]
        if number in seen:
            continue
        seen.add(number)
        if offset < last.get(generation, -1):
            return False
        last[generation] = offset
    return True
