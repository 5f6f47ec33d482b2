"""Sleeping until a log file changes, at no cost while none does.

Where the kernel does not tell (no inotify, its limits used up, a network file system) a watch is
refused, and whoever asked looks by itself again and again.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

from ..linux.inotify import Inotify

TOGETHER = 0.2
"""Seconds between two wakings by changes: a busy file is read in gulps."""


class Changes:
    """``wait`` and the watches belong to one thread at a time; ``wake`` may come from any."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        with contextlib.suppress(OSError):
            self._inotify = Inotify()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._open = True
        self._lock = threading.Lock()
        self._last = 0.0

    def watch_file_once(self, descriptor: int) -> int | None:
        """The number of a watch that fires at the next change of an open file; None: look
        yourself."""
        with contextlib.suppress(OSError):
            if self._inotify is not None:
                return self._inotify.watch_file_once(descriptor)
        return None

    def watch_folder(self, path: str) -> int | None:
        """The number of a watch that fires whenever names change in a folder; None: look
        yourself."""
        with contextlib.suppress(OSError):
            if self._inotify is not None:
                return self._inotify.watch_folder(path)
        return None

    def told(self) -> set[int] | None:
        """The watches that fired since the last call; None: it may have been any of them."""
        return self._inotify.told() if self._inotify is not None else set()

    def wait(self, seconds: float) -> None:
        """Sleep until a watch fires, ``wake`` is called or ``seconds`` have passed; changes wake
        it no sooner than ``TOGETHER`` after the last time."""
        end = time.monotonic() + seconds
        pause = min(seconds, self._last + TOGETHER - time.monotonic())
        if not self._woken(pause, changes=False):
            self._woken(end - time.monotonic(), changes=True)
            self._last = time.monotonic()

    def wake(self) -> None:
        """End ``wait``, now or when it is next called."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._open:
                os.write(self._ring, b"!")

    def close(self) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            os.close(self._ring)
        os.close(self._bell)
        if self._inotify is not None:
            self._inotify.close()

    def _woken(self, seconds: float, changes: bool) -> bool:
        if seconds <= 0:
            return False
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if changes and self._inotify is not None:
            poll.register(self._inotify.descriptor, select.POLLIN)
        woken = any(descriptor == self._bell for descriptor, _ in poll.poll(seconds * 1000))
        if woken:
            os.read(self._bell, 4096)
        return woken
