"""Reading log files as the log path does, without the rest of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tickbird.sources import logfile
from tickbird.sources.descriptors import Descriptors
from tickbird.sources.lines import Line
from tickbird.sources.logfile import Tailer
from tickbird.sources.logtail import Mark, Tail


class HandClock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


class Reader:
    """Scans, reads all there is and acknowledges it at once."""

    def __init__(self, *patterns: object, marks: list[Mark] | None = None, **options: Any):
        self.patterns = [str(pattern) for pattern in patterns]
        self.options = options
        self.clock = HandClock()
        self.tailer = Tailer(self.patterns, self.clock, marks=marks or (), **options)
        self.lines: list[Line] = []

    def __call__(self) -> list[str]:
        """The text of what is new."""
        new: list[Line] = []
        self.tailer.scan()
        self._flushed(new)
        while self._some(new):
            if self.tailer.attention.news:
                self.tailer.scan()
                self._flushed(new)
        self.tailer.forget(self.tailer.over())
        self.lines += new
        return [line.data.decode(errors="replace") for line in new]

    def _some(self, new: list[Line]) -> list[Tail]:
        read = []
        for tail in self.tailer.readable():
            try:
                lines = tail.read()
            except OSError as error:
                self.tailer.cannot_read(tail, error)
                continue
            tail.last_data = self.clock.now
            tail.acked = tail.begun
            new += lines
            read.append(tail)
        return read

    def _flushed(self, new: list[Line]) -> None:
        for tail, line in self.tailer.flushed:
            new.append(line)
            tail.acked = line.end
        self.tailer.flushed = []

    def linger(self) -> list[str]:
        """What is new when nothing has come for a while."""
        self.clock.now += logfile.LINGER + 1
        return self()

    def stop(self) -> list[Mark]:
        """Let go of the files; returns what the next life goes on from."""
        marks = self.tailer.marks()
        self.tailer.close()
        return marks

    def restarted(self, marks: list[Mark] | None = None) -> Reader:
        """The next life, after this one has stopped; nothing was read meanwhile."""
        return Reader(*self.patterns, marks=self.stop() if marks is None else marks, **self.options)


def few_descriptors(number: int) -> Descriptors:
    descriptors = Descriptors()
    descriptors.limit = number
    return descriptors


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def shift(path: Path) -> None:
    """Make room for ``path``.1 as logrotate does: .1 becomes .2, and so on."""
    age = 1
    while path.with_name(f"{path.name}.{age}").exists():
        age += 1
    for older in range(age - 1, 0, -1):
        path.with_name(f"{path.name}.{older}").rename(path.with_name(f"{path.name}.{older + 1}"))


def rename_rotation(path: Path) -> None:
    shift(path)
    path.rename(path.with_name(f"{path.name}.1"))
