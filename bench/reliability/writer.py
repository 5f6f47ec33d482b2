"""Numbered lines with a checksum into a file that is rotated: what is to arrive."""

from __future__ import annotations

import json
import shutil
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

TICK = 0.02
"""Seconds between two writes."""


def line(number: int) -> bytes:
    text = f"{number:08} {'x' * (100 + number % 150)}"
    record = {"level": "info", "msg": f"{text} {zlib.crc32(text.encode()):08x}"}
    return json.dumps(record).encode() + b"\n"


class Writer(threading.Thread):
    """Writes ``lines`` lines at ``rate`` a second; ``events`` are called before the line of their
    number is written, from this thread, so a copy and truncate meets no line in between."""

    def __init__(
        self, path: Path, lines: int, rate: float, events: dict[int, Callable[[], None]]
    ) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._lines = lines
        self._rate = rate
        self._events = events
        self._rotated = 0
        self.generations = [0]
        """The number of the first line of each generation."""
        self.written = 0
        path.touch()

    def run(self) -> None:
        began = time.monotonic()
        while self.written < self._lines:
            due = min(self._lines, int((time.monotonic() - began) * self._rate))
            with self._path.open("ab") as file:
                while self.written < due and self.written not in self._events:
                    file.write(line(self.written))
                    self.written += 1
            if event := self._events.pop(self.written, None):
                event()
            else:
                time.sleep(TICK)

    def rename(self) -> None:
        self._make_room()
        self._path.rename(self._aged(1))
        self._path.touch()

    def copy_and_truncate(self) -> None:
        self._make_room()
        shutil.copyfile(self._path, self._aged(1))
        with self._path.open("r+b") as file:
            file.truncate(0)

    def _make_room(self) -> None:
        for age in range(self._rotated, 0, -1):
            self._aged(age).rename(self._aged(age + 1))
        self._rotated += 1
        self.generations.append(self.written)

    def _aged(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")
