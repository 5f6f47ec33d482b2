"""The log files of one target: finds them, follows rotation, says what cannot be read.

The file itself is the queue. A generation that was rotated away stays open until it is drained;
what was rotated while nobody looked is found again among the siblings of its path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..clock import Clock
from .attention import Attention
from .changes import Changes
from .descriptors import Descriptors
from .generations import Generations
from .identity import Mark
from .lines import Line
from .logpaths import Found, LogPaths, reason
from .logtail import Tail

LINGER = 10.0
"""Seconds without data after which a drained file that was rotated away or deleted is closed: a
writer may still hold it."""
UNFINISHED = 30.0
"""Seconds without data after which a last line without an end is taken as it is."""
DELETED = 1024 * 1024 * 1024
"""Bytes that deleted files of a target may keep from being freed, for being unread."""
_MIB = 1024 * 1024


class Tailer:
    """``scan`` brings ``tails`` up to date; reading them is the caller's. ``spool``: the files are
    segments ``STREAM-NUMBER.log`` of the supervisor's spool, and removed once done with."""

    def __init__(
        self,
        patterns: Sequence[str],
        clock: Clock,
        *,
        start_at: str = "beginning",
        marks: Iterable[Mark] = (),
        exclude: Sequence[Path] = (),
        spool: bool = False,
        changes: Changes | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        """``changes``: tells which files to look at; without it, all are, every time.
        ``descriptors``: shared with the tailers of other targets."""
        self.flushed: list[tuple[Tail, Line]] = []
        """Last lines that nobody will finish: the caller takes them from here."""
        self.spool = spool
        self.attention = Attention(changes)
        self._clock = clock
        self._descriptors = descriptors or Descriptors()
        self._paths = LogPaths(patterns, exclude, self._descriptors.unpack is not None)
        self._generations = Generations(self._paths, self._descriptors, marks, spool)
        self._at_end = start_at == "end"
        """Until the first look: lines that are there already are not wanted."""
        self._given_up: list[str] = []

    @property
    def patterns(self) -> tuple[str, ...]:
        return self._paths.patterns

    @patterns.setter
    def patterns(self, patterns: tuple[str, ...]) -> None:
        if patterns != self._paths.patterns:
            self._paths.patterns = patterns
            self.attention.news = True

    @property
    def tails(self) -> list[Tail]:
        """Those that are read and those with something queued; of one source, the older first."""
        return self._generations.all()

    @property
    def problems(self) -> list[str]:
        """A line for each file or pattern that cannot be read now, and for lines known lost."""
        return [*self._paths.problems.values(), *self._generations.lost, *self._given_up]

    def marks(self) -> list[Mark]:
        """What a checkpoint has to keep, oldest first."""
        return [tail.mark() for tail in self.tails] + self._generations.marks

    def readable(self) -> Iterator[Tail]:
        """The tails with something to read now: of one source, only the oldest such."""
        for tail in self.attention.awake():
            if any(not t.closed and not t.drained() for t in self._generations.older(tail)):
                continue
            if tail.changed or tail.size() < tail.position:
                self.attention.news = True
            elif not self.attention.rests(tail):
                try:
                    self._descriptors.take(tail)
                except OSError as error:
                    self.cannot_read(tail, error)
                else:
                    yield tail
                    if not tail.closed and not tail.parked:
                        self.attention.rests(tail)

    def scan(self) -> None:
        """Look for new, rotated, rewritten and deleted files. Never raises."""
        began = self._clock.monotonic()
        self._watch_folders()
        found = self._paths.find()
        for tail in self.tails:
            if not tail.closed:
                self._check(tail, found.get(tail.file_id))
        self._take_up(self._generations.resume(found))
        self._take_up(self._generations.begin(found, self._at_end))
        self._at_end = False
        for tail in self.tails:
            if not tail.closed and self._is_over(tail):
                self._finish(tail)
        self._bound_deleted()
        self.attention.brisk = any(
            tail.closed or tail.gone or (self.spool and self._generations.newer(tail))
            for tail in self.tails
        )
        self.attention.looked(began, self._clock.monotonic())

    def over(self) -> list[Tail]:
        """Tails that are closed and wholly settled; they stay in ``marks`` until forgotten."""
        return [tail for tail in self.tails if tail.closed and tail.settled()]

    def forget(self, over: Sequence[Tail]) -> list[str]:
        """Let go of tails; returns the sources that have no file any more."""
        return sorted(tail.source for tail in over if self._generations.forget(tail))

    def cannot_read(self, tail: Tail, error: OSError) -> None:
        """Note that reading ``tail`` failed; it is tried again, by its path."""
        if not tail.parked and tail.parkable():
            tail.park()  # the handle of a network file system may be stale
        if isinstance(error, FileNotFoundError):
            self.attention.news = True
        else:
            self._paths.problem(tail.path, reason(error))

    def close(self) -> None:
        for tail in self.tails:
            tail.close()
            self._descriptors.drop(tail)

    def _watch_folders(self) -> None:
        real = {os.path.dirname(tail.real) for tail in self.tails if tail.real}  # noqa: PTH120
        self.attention.watch_folders(self._paths.folders() | real)

    def _check(self, tail: Tail, there: Found | None) -> None:
        """Bring ``tail`` up to date with where and what its file is."""
        try:
            if there is not None:
                tail.path, tail.gone = there.path, False
            elif not self._follow(tail):
                self._finish(tail)
                return
            status = there.status if there else tail.stat()
            if tail.empty_since not in (None, status.st_mtime_ns):
                self._generations.doubt(tail, status)
            if tail.doubtful(status):
                self._descriptors.take(tail)
                if tail.rewritten(status):
                    self._begin_anew(tail)
                    return
            tail.note(status)
        except OSError as error:
            self.cannot_read(tail, error)
            return
        if tail.packed or status.st_size != tail.position:
            self.attention.wake(tail)
        self._say_oddities(tail)
        if tail.unfinished() and self._idle(tail) > UNFINISHED and tail.drained():
            self.flushed += [(tail, line) for line in tail.flush()]

    def _follow(self, tail: Tail) -> bool:
        """Have an open file, though it is at no watched path; False when it is nowhere."""
        if not tail.gone:
            tail.gone = True
            tail.last_data = self._clock.monotonic()
        return not tail.parked or self._generations.refind(tail)

    def _begin_anew(self, tail: Tail) -> None:
        """The file was cut or overwritten: its generation goes on in the copy that the rotation
        made, and its path is of another one."""
        tail.gone = True
        tail.last_data = self._clock.monotonic()
        if self._generations.refind(tail):
            self.attention.wake(tail)
        else:
            self._finish(tail)
            self._generations.renounce(tail)

    def _take_up(self, tails: Iterable[Tail]) -> None:
        for tail in tails:
            tail.last_data = self._clock.monotonic()
            self.attention.wake(tail)

    def _idle(self, tail: Tail) -> float:
        return self._clock.monotonic() - tail.last_data

    def _is_over(self, tail: Tail) -> bool:
        if self.spool:
            return bool(self._generations.newer(tail)) and tail.drained()
        if not (tail.gone and self._idle(tail) > LINGER and tail.drained()):
            return False
        # A writer that has no new file yet still writes to the old one, under its new name.
        succeeded = any(newer.position > 0 for newer in self._generations.newer(tail))
        return succeeded or tail.stat().st_nlink == 0 or not self._paths.match(tail.source)

    def _finish(self, tail: Tail) -> None:
        self.flushed += [(tail, line) for line in tail.flush()]
        deleted = not tail.parked and tail.stat().st_nlink == 0
        tail.close()
        self.attention.drop(tail)
        self._descriptors.drop(tail)
        if deleted:
            self._generations.renounce(tail)

    def _bound_deleted(self) -> None:
        """Give up the oldest of the deleted files that hold too much of the disk."""
        held = 0
        for tail in reversed([t for t in self.tails if t.gone and not t.closed]):
            unread = tail.size() - tail.position
            if unread <= 0 or tail.stat().st_nlink:
                continue
            held += tail.size()
            if held > DELETED:
                self._given_up.append(
                    f"{tail.path} was deleted while {unread} bytes of it were unread, which are "
                    f"lost: deleted files may keep {DELETED // _MIB} MiB of the disk"
                )
                self._finish(tail)
            elif unread >= _MIB:
                self._paths.problems[f"deleted {tail.generation}"] = (
                    f"{tail.path} was deleted; it stays on disk until {unread // _MIB} MiB that "
                    "are unread have been delivered"
                )

    def _say_oddities(self, tail: Tail) -> None:
        if tail.skipped:
            self._paths.problems[f"hole {tail.generation}"] = (
                f"{tail.path} had {tail.skipped} NUL bytes, which were left out: its writer went "
                "on behind a truncation; what to do: have it open the file for appending"
            )
        if tail.wide:
            self._paths.problems[f"wide {tail.generation}"] = (
                f"{tail.path} is UTF-16, which cannot be read as lines of text; what to do: have "
                "it written as UTF-8"
            )
