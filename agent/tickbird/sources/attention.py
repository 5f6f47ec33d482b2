"""Which of a target's log files to look at now, and when to look for files again.

A file that is read to its end gets a watch, once, and is left alone until that fires. Where the
kernel gives none, the file is looked at every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .changes import Changes
from .logtail import Tail

SLOW = 10.0
"""Seconds between two looks for files where the kernel tells of changes: it does not tell of all
(hard links, memory maps, file systems that are laid over others)."""
BRISK = 1.0
"""The same where it does not tell, and while files are about to be done with."""
NEWS = 0.2
"""The same when a folder has changed."""
ALONG = 0.75
SHARE = 100
"""Times what a look costs that pass until the next, so that a huge tree takes no more of the CPU
than a small one."""


class Attention:
    def __init__(self, changes: Changes | None) -> None:
        self._changes = changes
        self._awake: dict[Tail, None] = {}
        self._watches: dict[int, Tail] = {}
        self._refused: set[Tail] = set()
        """Those that the kernel does not tell of."""
        self._folders: set[int] = set()
        self._blind = True
        """Whether there is a folder without a watch."""
        self._last = self._cost = 0.0
        self.news = True
        """Whether to look for files as soon as may be."""
        self.brisk = False
        """Whether some files are about to be done with."""

    def wake(self, tail: Tail) -> None:
        """Have ``tail`` looked at, and again until it was found at rest."""
        self._awake[tail] = None

    def drop(self, tail: Tail) -> None:
        """It was closed."""
        self._awake.pop(tail, None)
        self._refused.discard(tail)

    def awake(self) -> Iterator[Tail]:
        """Those to be looked at; each goes behind the others, so that all have their turn."""
        for tail in list(self._awake):
            if tail in self._awake:
                del self._awake[tail]
                self._awake[tail] = None
                yield tail

    def any_awake(self) -> bool:
        return bool(self._awake)

    def rests(self, tail: Tail) -> bool:
        """Whether there is nothing to read in ``tail``; then it may be left alone from now on. One
        that is parked has to be opened to get its watch, so it is read once more."""
        if not tail.drained() or (tail.parked and self._changes and tail not in self._refused):
            return False
        if not tail.parked:
            watch = self._changes.watch_file_once(tail.file) if self._changes else None
            if watch is None:
                self._refused.add(tail)
                return True
            self._refused.discard(tail)
            self._watches[watch] = tail
            if not tail.drained():
                return False  # written to before the watch stood
        self._awake.pop(tail, None)
        return True

    def watch_folders(self, folders: Iterable[str]) -> None:
        """Be told of names that come and go there. To be called before they are looked for."""
        watches = [self._changes.watch_folder(f) if self._changes else None for f in folders]
        self._folders = {watch for watch in watches if watch is not None}
        self._blind = None in watches

    def hear(self, fired: set[int] | None) -> None:
        """Take note of watches that fired, of whomsoever; None: it may have been any."""
        if fired is None or not fired.isdisjoint(self._folders):
            self.news = True
        for watch in self._watches.keys() & fired if fired is not None else list(self._watches):
            tail = self._watches.pop(watch)
            if not tail.closed:
                tail.note(None)
                self.wake(tail)

    def looked(self, began: float, ended: float) -> None:
        """Files were looked for between these monotonic times."""
        self._last, self._cost = ended, ended - began
        self.news = False

    def next_look(self, along: bool = False) -> float:
        """Monotonic time at which to look for files again; sooner if others are looked for, so
        that one waking serves many."""
        pause = NEWS if self.news else BRISK if self._blind or self.brisk else SLOW
        return self._last + max(pause, SHARE * self._cost) * (ALONG if along else 1)
