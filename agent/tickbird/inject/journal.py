"""What has been begun and not yet been undone: a file for each process whose inspector may be open
because of us. It lies where sockets do, so it is gone with the next boot, as the processes are."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..paths import private_folder, runtime_home

STALE = 600.0
"""Seconds after which a signal will not open an inspector any more."""
_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class Entry:
    """One process that was sent SIGUSR1 at ``at`` (Unix seconds). ``before`` are the inodes of the
    sockets that it had open then: what listens on one of those is none of ours."""

    pid: int
    start_ticks: int
    inner_pid: int
    port: int
    before: tuple[int, ...]
    at: float
    asked: bool = False
    """Whether the probe was handed over: then the inspector closes by itself."""


class Busy(Exception):
    """Another injection is under way for too long."""


class Journal:
    """Use it only within ``turn``: then whoever made an entry that is found has died over it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, entry: Entry) -> None:
        path = self._path(entry)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(entry)))
        draft.replace(path)

    def done(self, entry: Entry) -> None:
        self._path(entry).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                values = json.loads(path.read_text())
                found.append(Entry(**{**values, "before": tuple(values["before"])}))
            except (OSError, ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
        return found

    def _path(self, entry: Entry) -> Path:
        return self._folder / f"{entry.pid}-{entry.start_ticks}.json"


def folder() -> Path:
    """Raises ``CannotCreate``."""
    return private_folder(runtime_home() / "inspectors")


def left_over() -> bool:
    """Whether there is an entry, of an injection under way or of one that died."""
    with contextlib.suppress(OSError):
        return any((runtime_home() / "inspectors").glob("*.json"))
    return False


@contextlib.contextmanager
def turn(seconds: float) -> Iterator[Journal]:
    """One injection at a time, since most inspectors want the same port. Raises ``Busy``."""
    place = folder()
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy from None
                time.sleep(_LOOK)
        yield Journal(place)
    finally:
        os.close(lock)
