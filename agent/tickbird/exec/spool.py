"""The service's output on disk, in segments that the agent reads and removes.

The size of all segments together is bounded. At the bound, or when the disk is full, whole lines
are left out and counted, and a marker line says so as soon as there is room again.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

from ..paths import private_folder

SEGMENT = 8 * 1024 * 1024
_LOOK_AGAIN = 0.5
_SEGMENT_NAME = re.compile(r"(?:stdout|stderr)-(\d{6,})\.log")


class Spool:
    """The folder of one service's segments. ``limit`` bytes hold for both streams together."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = private_folder(folder)
        self.limit = limit
        self._size = 0
        self._looked = -1.0
        self._lock = threading.Lock()  # the two streams have a thread each

    @property
    def segment(self) -> int:
        """Bytes at which a stream goes on in its next segment."""
        return min(SEGMENT, max(1, self.limit // 4))

    def take(self, wanted: int, spare: int = 0) -> bool:
        """Whether ``wanted`` more bytes fit with ``spare`` left over; counts them as used if so.
        The agent removes segments meanwhile, so when they seem not to fit the folder is looked at
        again."""
        with self._lock:
            now = time.monotonic()
            full = self._size + wanted + spare > self.limit
            if self._looked < 0 or (full and now - self._looked > _LOOK_AGAIN):
                self._size, self._looked = self._measure(), now
            if self._size + wanted + spare > self.limit:
                return False
            self._size += wanted
            return True

    def next_number(self, stream: str) -> int:
        """One more than the highest segment that an earlier run has left."""
        numbers = [
            int(found[1])
            for name in os.listdir(self.folder)  # noqa: PTH208 - names only
            if name.startswith(f"{stream}-") and (found := _SEGMENT_NAME.fullmatch(name))
        ]
        return max(numbers, default=0) + 1

    def _measure(self) -> int:
        try:
            with os.scandir(self.folder) as entries:
                return sum(_size_of(entry) for entry in entries)
        except OSError:
            return self.limit  # where nothing can be seen, nothing can be kept


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0  # the agent removed it between the two calls


class Stream:
    """One stream (``stdout`` or ``stderr``) of a spool; used by one thread.

    ``not_spooled`` counts the lines left out since the start.
    """

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool = spool
        self._name = name
        self._number = spool.next_number(name)
        self._file = -1
        self._written = 0
        self._mid_line = False
        self._skipping = False
        self._reported = 0
        self.not_spooled = 0

    def write(self, data: bytes) -> None:
        """Keep ``data``, or count it as not kept; never raises for a disk's sake."""
        if self._skipping:
            data = self._resume(data)
        while data:
            part, data = self._cut(data)
            if unwritten := self._append(part):
                self._skipping = True
                self.not_spooled += (unwritten + data).count(b"\n")
                return

    def close(self) -> None:
        """Say what was left out if there is room now, and let go of the file."""
        if self._skipping:
            self._mark()
        self._shut()

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """What goes into this segment, up to the end of a line, and what into the next. A line
        longer than a segment is cut, since a bound that a line can break is none."""
        free = self._spool.segment - self._written
        if len(data) <= free:
            return data, b""
        end = data.rfind(b"\n", 0, max(free, 0)) + 1 or data.find(b"\n") + 1
        if end and end <= free + self._spool.segment:
            return data[:end], data[end:]
        hard = free + self._spool.segment
        return data[:hard], data[hard:]

    def _append(self, data: bytes, spare: int = 0) -> bytes:
        """Returns what could not be written."""
        if not self._spool.take(len(data), spare):
            return data
        try:
            if self._file < 0:
                self._open()
            while data:
                count = os.write(self._file, data)
                self._written += count
                self._mid_line = data[count - 1] != 10
                data = data[count:]
        except OSError:
            return data
        segment = self._spool.segment
        if self._written >= (2 * segment if self._mid_line else segment):
            self._shut()
        return b""

    def _open(self) -> None:
        path = self._spool.folder / f"{self._name}-{self._number:06}.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._number += 1
        self._written = 0
        self._mid_line = False

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._written = 0

    def _resume(self, data: bytes) -> bytes:
        """What is left of ``data`` to keep: from the next whole line on, once there is room for
        the marker; nothing before that."""
        end = data.find(b"\n") + 1
        if not end:
            return b""
        self.not_spooled += 1
        # Room for a few lines only would mean a marker after every few lines.
        if self._mark(spare=self._spool.segment):
            self._skipping = False
            return data[end:]
        self.not_spooled += data.count(b"\n", end)
        return b""

    def _mark(self, spare: int = 0) -> bool:
        lines = self.not_spooled - self._reported
        text = f"tickbird: {lines} lines of {self._name} were not kept: the spool was full"
        marker = json.dumps({"level": "warn", "message": text, "tickbird.not_spooled": lines})
        torn = b"\n" if self._mid_line else b""
        if self._append(torn + marker.encode() + b"\n", spare):
            return False
        self._reported = self.not_spooled
        return True
