"""The log files of one target: finds them, follows rotation, says what cannot be read.

The file itself is the queue. A generation that was rotated away stays open until it is drained;
what was rotated while nobody looked is found again among the siblings of its path.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..clock import Clock
from .logtail import FileId, Line, Mark, Tail, file_id
from .rotation import TRIES, find, places

LINGER = 10.0
"""Seconds without data after which a drained file that was rotated away or deleted is closed: a
writer may still hold it."""
_SEGMENT = re.compile(r"(?P<stream>.+)-(?P<number>\d+)\.log")


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
    ) -> None:
        self.patterns = tuple(patterns)
        self.tails: list[Tail] = []
        """Open ones and those with something queued; of one source, the older first."""
        self.flushed: list[tuple[Tail, Line]] = []
        """Unfinished last lines of files that were closed: the caller takes them from here."""
        self.spool = spool
        self._clock = clock
        self._at_end = start_at == "end"
        self._first = True
        self._marks = list(marks)
        self._seen = {mark.source for mark in self._marks}
        self._exclude = [path.resolve() for path in exclude]
        self._own_output = set(_own_output())
        self._problems: dict[str, str] = {}
        self._lost: list[str] = []

    @property
    def problems(self) -> list[str]:
        """A line for each file or pattern that cannot be read now, and for lines known lost."""
        return [*self._problems.values(), *self._lost]

    def marks(self) -> list[Mark]:
        """What a checkpoint has to keep, oldest first."""
        return [tail.mark() for tail in self.tails] + self._marks

    def readable(self) -> Iterator[Tail]:
        """The tails with something to read now: of one source, only the oldest such."""
        busy = set()
        for tail in list(self.tails):
            if tail.source in busy or tail.drained():
                continue
            yield tail
            if not tail.drained():
                busy.add(tail.source)

    def scan(self) -> None:
        """Look for new, rotated, rewritten and deleted files. Never raises."""
        found = self._find()
        self._note_rewritten()
        known = {tail.file_id for tail in self.tails}
        self._resume(set(found.values()), known)
        for identity, path in found.items():
            if identity not in known:
                self._begin(path, known)
        self._first = False
        self._follow(found)
        self._end_drained()

    def over(self) -> list[Tail]:
        """Tails that are closed and wholly settled; they stay in ``marks`` until forgotten."""
        return [tail for tail in self.tails if tail.closed and tail.settled()]

    def forget(self, over: Sequence[Tail]) -> list[str]:
        """Let go of tails; returns the sources that have no file any more."""
        self.tails = [tail for tail in self.tails if tail not in over]
        return sorted({tail.source for tail in over} - {tail.source for tail in self.tails})

    def cannot_read(self, tail: Tail, error: OSError) -> None:
        """Note that reading ``tail`` failed; it is tried again."""
        self._problem(tail.path, _reason(error))

    def close(self) -> None:
        for tail in self.tails:
            tail.close()

    def _find(self) -> dict[FileId, str]:
        """Path by identity of every regular file that matches."""
        found: dict[FileId, str] = {}
        self._problems.clear()
        known = {(tail.file_id, tail.path) for tail in self.tails}
        for pattern in self.patterns:
            there = False
            for path in _matching(pattern):
                try:
                    status = os.stat(path)  # noqa: PTH116 - every second, for every file
                except OSError:
                    continue  # it went away between the two looks
                there = True
                if not stat.S_ISREG(status.st_mode):
                    continue
                identity = file_id(status)
                if (identity, path) in known or not self._excluded(path, status):
                    found.setdefault(identity, path)
            if not there and (why := _why_nothing(pattern)):
                self._problem(pattern, why)
        if self.spool:
            return dict(sorted(found.items(), key=lambda item: item[1]))
        return found

    def _excluded(self, path: str, status: os.stat_result) -> bool:
        if file_id(status) in self._own_output:
            return True
        resolved = Path(path).resolve()
        return any(resolved.is_relative_to(folder) for folder in self._exclude)

    def _note_rewritten(self) -> None:
        """Where a file was cut or overwritten, let its generation go on in the copy that the
        rotation made, and let the path begin anew."""
        for tail in self.tails:
            try:
                rewritten = tail.rewritten()
            except OSError as error:
                self._problem(tail.path, _reason(error))
                continue
            if not rewritten:
                continue
            tail.gone = True
            copy = find(tail.mark(), offset=tail.position)
            try:
                if copy is not None:
                    tail.continue_in(copy.path, copy.file_id)
                    continue
            except OSError:
                pass  # the copy went away again
            self._finish(tail)
            tail.file_id = FileId(0, 0)  # the same inode is another generation now

    def _resume(self, paths: set[str], known: set[FileId]) -> None:
        """Take up the generations of the checkpoint, wherever they are now."""
        marks, self._marks = self._marks, []
        for mark in marks:
            if not any(_matches(mark.path, pattern) for pattern in self.patterns):
                continue
            if self._resumed(mark, known):
                continue
            if mark.path in paths and not self.spool:
                self._lost.append(
                    f"{mark.path} was rotated while no agent ran, and its former content is not "
                    "beside it; what to do: keep the newest rotated file uncompressed"
                )

    def _resumed(self, mark: Mark, known: set[FileId]) -> bool:
        """False when the generation is nowhere; one that cannot be opened now is kept in mind."""
        for _ in range(TRIES):
            place = find(mark)
            if place is None:
                return False
            try:
                tail = self._open(place.path, mark.source, known, mark, expected=place.file_id)
            except FileNotFoundError:
                continue  # it was moved on between the two calls
            except OSError as error:
                self._problem(place.path, _reason(error))
                break
            if tail is not None:
                tail.path = mark.path
            return True
        self._marks.append(mark)
        return True

    def _begin(self, path: str, known: set[FileId]) -> None:
        """Open a new file, and before it in order those that came and went at its path since the
        last look. They are looked for while the new one is held: nothing can slip in between."""
        source = self._source(path)
        before = [t for t in self.tails if t.source == source and not t.closed]
        at_end = self._first and self._at_end and source not in self._seen
        try:
            tail = self._open(path, source, known, at_end=at_end)
        except OSError as error:
            self._problem(path, _reason(error))
            return
        if tail is None or not before or self.spool:
            return
        since = before[-1].stat().st_mtime_ns
        self.tails.remove(tail)
        for _ in range(TRIES):
            missed = [p for p in places(path) if p.modified >= since and p.file_id not in known]
            if not missed:
                break
            with contextlib.suppress(OSError):  # moved on: the next look finds it
                oldest = missed[-1]
                found = self._open(oldest.path, source, known, expected=oldest.file_id)
                if found is not None:
                    found.path = path
        self.tails.append(tail)

    def _open(
        self,
        path: str,
        source: str,
        known: set[FileId],
        mark: Mark | None = None,
        *,
        expected: FileId | None = None,
        at_end: bool = False,
    ) -> Tail | None:
        """None when the file is open already, under another name. Raises ``OSError``."""
        tail = Tail(path, source, mark, expected=expected, at_end=at_end)
        if tail.file_id in known:
            tail.close()
            return None
        known.add(tail.file_id)
        tail.last_data = self._clock.monotonic()
        self.tails.append(tail)
        return tail

    def _follow(self, found: dict[FileId, str]) -> None:
        for tail in self.tails:
            path = found.get(tail.file_id)
            if tail.closed or (path is None and tail.gone):
                continue
            if path is None:
                tail.last_data = self._clock.monotonic()
            else:
                tail.path = path
            tail.gone = path is None

    def _end_drained(self) -> None:
        for tail in self.tails:
            if not tail.closed and self._is_over(tail):
                self._finish(tail)

    def _is_over(self, tail: Tail) -> bool:
        if self.spool:
            newer = any(t.source == tail.source and t.path > tail.path for t in self.tails)
            return newer and tail.drained()
        idle = self._clock.monotonic() - tail.last_data > LINGER
        if not (tail.gone and idle and tail.drained()):
            return False
        # A writer that has no new file yet still writes to the old one, under its new name.
        later = self.tails[self.tails.index(tail) + 1 :]
        succeeded = any(t.source == tail.source and t.position > 0 for t in later)
        return succeeded or tail.stat().st_nlink == 0

    def _finish(self, tail: Tail) -> None:
        self.flushed += [(tail, line) for line in tail.flush()]
        tail.close()

    def _source(self, path: str) -> str:
        segment = _SEGMENT.fullmatch(path) if self.spool else None
        return segment["stream"] if segment else path

    def _problem(self, what: str, why: str) -> None:
        self._problems[what] = f"cannot read {what}: {why}"


def _own_output() -> Iterator[FileId]:
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield file_id(status)


def _matching(pattern: str) -> list[str]:
    # Not Path.glob: that one takes no absolute pattern.
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    return [pattern]


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or fnmatch.fnmatchcase(path, pattern)


def _why_nothing(pattern: str) -> str | None:
    folder = Path(re.split(r"[*?\[]", pattern, maxsplit=1)[0] or ".")
    folder = folder if pattern.startswith(f"{folder}/") else folder.parent
    if not folder.is_dir():
        return f"there is no folder {folder}; what to do: correct the path, or make the folder"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"no permission to list {folder}; what to do: give this user read permission"
    return None


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied; what to do: give this user read permission"
    return (error.strerror or str(error)).lower()
