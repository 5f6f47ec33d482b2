"""How many log files are held open at once, over all targets."""

from __future__ import annotations

import errno
import resource
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .identity import FileId, Opened
from .logtail import Tail
from .packed import open_log

T = TypeVar("T")

MOST = 256
"""Files open at once, where the process may have four times as many descriptors."""

GROWTH = 64
"""Files to open without a shortage before one more is held than after the last."""


class Descriptors:
    """Those that were read last keep theirs. One that is at none of the watched paths any more is
    never parked: nobody could find it again."""

    def __init__(self, unpack: Path | None = None) -> None:
        """``unpack``: the folder for the content of compressed files; None: they are not read."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = MOST if soft == resource.RLIM_INFINITY else max(1, min(MOST, soft // 4))
        self.unpack = unpack
        self._wanted = 0
        """The limit before descriptors ran short, if they did."""
        self._opened = 0
        """Files since the limit was changed."""
        self._held: OrderedDict[Tail, None] = OrderedDict()

    def open(self, path: str, expected: FileId | None = None) -> Opened:
        """Raises ``OSError``."""
        opened = self._with_room(lambda: open_log(path, expected, self.unpack))
        self._recover()
        return opened

    def take(self, tail: Tail) -> None:
        """Let ``tail`` have its descriptor; the one that was used least recently may lose its own.
        Raises ``OSError``."""
        if tail.parked:
            self._with_room(tail.unpark)
            self._recover()
        self._held[tail] = None
        self._held.move_to_end(tail)
        self._trim(keep=tail)

    def drop(self, tail: Tail) -> None:
        """It was closed."""
        self._held.pop(tail, None)

    def _with_room(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._wanted = max(self._wanted, self.limit)
        self.limit, self._opened = max(1, len(self._held) // 2), 0
        self._trim()
        return do()

    def _recover(self) -> None:
        """A file was opened: whoever took the descriptors may have given them back."""
        self._opened += 1
        if self.limit < self._wanted and self._opened >= GROWTH:
            self.limit, self._opened = self.limit + 1, 0

    def _trim(self, keep: Tail | None = None) -> None:
        """Park down to some less than the limit, so that this is not done for every file."""
        if len(self._held) <= self.limit:
            return
        for drained in (True, False):
            for tail in list(self._held):
                if len(self._held) <= self.limit * 3 // 4:
                    return
                if tail.parked or tail.closed:
                    del self._held[tail]
                elif tail is not keep and tail.drained() >= drained and tail.parkable():
                    tail.park()
                    del self._held[tail]
